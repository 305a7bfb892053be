package ops

import (
	"net/http"

	"github.com/lectern/lectern/cmd/lectern/internal/tokens"
)

// allowed lets through who shows a token. The file is read each time, so a new one
// needs no restart.
func (s *Server) allowed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.options.TokenFile == "" {
			http.Error(w, "nothing is changed from here without a token: put one into a file and name that in ops.token_file", http.StatusForbidden)
			return
		}
		list, err := tokens.Read(s.options.TokenFile)
		if err != nil {
			http.Error(w, "the file of ops.token_file cannot be read, or holds no token", http.StatusInternalServerError)
			return
		}
		if !tokens.Shown(r.Header.Get("Authorization"), list) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "this needs `Authorization: Bearer TOKEN`, with a token of ops.token_file", http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}
