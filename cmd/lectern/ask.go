package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// askMax is how much of an answer is read, in bytes.
	askMax = 64 << 20
	// askShown is how much is shown of one that is not what was asked for.
	askShown = 1000
)

// ask asks the operations server of a daemon, with a token where there is one, and
// returns what it answers. Any answer but 200 is an error.
func ask(ctx context.Context, method, url, token string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, askMax))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", answer.Status, printable(strings.TrimSpace(string(body[:min(len(body), askShown)]))))
	}
	return body, nil
}
