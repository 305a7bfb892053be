package ops

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// tokenMin is the least that the file of a token must hold, and tokenMax the most.
const (
	tokenMin = 16
	tokenMax = 1024
)

// ReadToken reads the token of who may change something, without the space around it.
func ReadToken(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read ops.token_file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, tokenMax+1))
	if err != nil {
		return nil, fmt.Errorf("read ops.token_file %s: %w", path, err)
	}
	if token := bytes.TrimSpace(b); len(b) <= tokenMax && len(token) >= tokenMin {
		return token, nil
	}
	return nil, fmt.Errorf("ops.token_file %s has to hold a token of %d to %d bytes: write random ones to it, as with `openssl rand -hex 32`", path, tokenMin, tokenMax)
}

// allowed lets through who shows the token. The file is read each time, so a new
// token needs no restart.
func (s *Server) allowed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.options.TokenFile == "" {
			http.Error(w, "nothing is changed from here without a token: put one into a file and name that in ops.token_file", http.StatusForbidden)
			return
		}
		token, err := ReadToken(s.options.TokenFile)
		if err != nil {
			http.Error(w, "the file of ops.token_file cannot be read, or holds no token", http.StatusInternalServerError)
			return
		}
		shown, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !is || subtle.ConstantTimeCompare([]byte(shown), token) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "this needs `Authorization: Bearer TOKEN`, with the token of ops.token_file", http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}
