package collector

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
)

// What was received before the call is sealed when Cut returns, and where the disk takes
// nothing it does not return.
func TestCutSealsWhatCame(t *testing.T) {
	r := start(t, func(o *Options) { o.CutInterval = time.Hour })
	accepted := func() uint64 {
		b := r.book(1)
		return b.Counts[storage.Accepted]
	}
	var frames uint64
	take := func() {
		t.Helper()
		if err := r.Take(frameOf(1, 1, frames, frames*10, epoch, opens(10)...)); err != nil {
			t.Fatal(err)
		}
		frames++
	}
	for range 50 {
		take()
		if err := r.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := accepted(); got != frames*10 {
			t.Fatalf("%d events are sealed behind the cut, want %d", got, frames*10)
		}
	}
	fails := func(yes bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fails = yes
	}
	fails(true)
	take()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Cut(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the disk takes nothing, and Cut says %v", err)
	}
	fails(false)
	if err := r.Cut(t.Context()); err != nil || accepted() != frames*10 {
		t.Errorf("%d events are sealed, want %d: %v", accepted(), frames*10, err)
	}
}
