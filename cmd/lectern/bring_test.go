package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
)

// noForgetter is a store whose collectors a test names.
type noForgetter struct{ collectors []uint64 }

func (*noForgetter) Rows(context.Context, storage.Selection) ([]storage.Row, error) { return nil, nil }
func (*noForgetter) Forget(context.Context, storage.Selection, int64) ([]storage.Forgetting, error) {
	return nil, nil
}
func (*noForgetter) Log(context.Context) ([]storage.Forgetting, error) { return nil, nil }
func (n *noForgetter) Collectors(context.Context, time.Time) ([]uint64, error) {
	return n.collectors, nil
}

// Each daemon is asked with the token until it has stored what it has: those of ops.peers
// and those of --daemon. What was not asked and has stored something is named.
func TestBringAsksAllDaemons(t *testing.T) {
	var asked [2]atomic.Int32
	var servers []string
	for i := range asked {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method != http.MethodPost || r.URL.Path != "/flush" || r.Header.Get("Authorization") != "Bearer a-token-of-a-test-only":
				t.Errorf("%s %s with %q", r.Method, r.URL, r.Header.Get("Authorization"))
			case asked[i].Add(1) < 3:
				http.Error(w, "3 blocks wait", http.StatusServiceUnavailable)
			default:
				fmt.Fprintf(w, `{"collector":"%016x"}`, i+1)
			}
		}))
		defer s.Close()
		servers = append(servers, strings.TrimPrefix(s.URL, "http://"))
	}
	o := newForgetOptions("forget")
	o.loaded.Ops.TokenFile = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(o.loaded.Ops.TokenFile, []byte("a-token-of-a-test-only\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.loaded.Ops.Peers, o.daemons = servers[0], servers[1:]
	o.loaded.Spool.Dir = filepath.Join(t.TempDir(), "nobody")
	var errs strings.Builder
	p := process{stderr: &errs, now: time.Now}
	if err := p.bring(t.Context(), o, &noForgetter{[]uint64{1, 2, 0xabc}}); err != nil {
		t.Fatal(err)
	}
	if asked[0].Load() != 3 || asked[1].Load() != 3 {
		t.Errorf("asked %d and %d times, want 3 each", asked[0].Load(), asked[1].Load())
	}
	if !strings.Contains(errs.String(), "1h: 0000000000000abc. ") {
		t.Errorf("said %q, want the collector that was not asked", errs.String())
	}
	asked[1].Store(-1 << 20)
	o.wait = 4 * bringAgain
	if err := p.bring(t.Context(), o, &noForgetter{}); err == nil || !strings.Contains(err.Error(), "3 blocks wait") {
		t.Errorf("a daemon that is not done: %v", err)
	}
}

// What the last answer said is told, and not that there was no time for another one.
func TestUntilSaysWhatWasAnswered(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := until(ctx, func() error {
		if calls++; calls < 3 {
			return fmt.Errorf("%d blocks wait", 3-calls)
		}
		cancel()
		return ctx.Err()
	})
	if err == nil || err.Error() != "1 blocks wait" {
		t.Errorf("it says %v", err)
	}
}
