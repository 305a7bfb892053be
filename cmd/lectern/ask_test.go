package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A daemon is asked with a token, and what is no answer is no figure.
func TestAsk(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			http.Error(w, "who is there?", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path)
	}))
	defer s.Close()
	if body, err := ask(t.Context(), http.MethodPost, s.URL+"/flush", "sesame"); err != nil || string(body) != "POST /flush" {
		t.Errorf("with a token: %q, %v", body, err)
	}
	if _, err := ask(t.Context(), http.MethodPost, s.URL+"/flush", ""); err == nil || err.Error() != "401 Unauthorized: who is there?" {
		t.Errorf("without a token: %v", err)
	}
	if counters, err := (&benchOptions{ops: s.URL}).counters(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("counters of a server that tells none: %v, %v", counters, err)
	}
}
