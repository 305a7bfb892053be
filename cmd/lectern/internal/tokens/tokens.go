// Package tokens reads the tokens that HTTP requests show, and says whether one does.
package tokens

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"os"
	"strings"
)

// shortest is the least that a token must have, and fileMax the most that a file of
// them may, in bytes.
const (
	shortest = 16
	fileMax  = 16 << 10
)

// Read reads a file of tokens, one in each line, without the space around them: at
// least one. There may be several, so that one can be replaced while both hold.
func Read(path string) (list []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > fileMax {
		return nil, fmt.Errorf("%s has more than %d bytes: it is no file of tokens", path, fileMax)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case len(line) < shortest:
			return nil, fmt.Errorf("%s has a token of less than %d bytes, which anybody may guess: write random ones to it, as with `openssl rand -hex 32`", path, shortest)
		default:
			list = append(list, line)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no token: write a random one to each line, as with `openssl rand -hex 32`", path)
	}
	return list, nil
}

// Shown says whether the Authorization of a request shows one of the tokens ("Bearer
// TOKEN"). How long that takes tells nothing of them.
func Shown(authorization string, list []string) bool {
	shown, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok {
		return false
	}
	got, found := sha256.Sum256([]byte(shown)), 0
	for _, token := range list {
		want := sha256.Sum256([]byte(token))
		found |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return found == 1
}
