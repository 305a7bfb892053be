package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/emit"
)

// presentEmitter keeps when each event came, and how late.
type presentEmitter struct {
	emitNowhere
	late  []time.Duration
	users map[uint64]bool
}

func (p *presentEmitter) Add(e emit.Event) error {
	p.late = append(p.late, time.Since(time.UnixMilli(e.Time)))
	p.users[e.User] = true
	return nil
}

// A thousand readers at once send about a hundred events a second, when they happen.
func TestEmitPresentHappensNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := presentEmitter{users: map[uint64]bool{}}
		began := time.Now()
		source := newEmitPresent(&emitOptions{events: 10_000, readers: 1000, contents: 50, seed: 1})
		if err := source.run(t.Context(), &out, nil); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if len(out.late) != 10_000 || took < 80*time.Second || took > 100*time.Second || len(out.users) < 1000 {
			t.Errorf("%d events by %d readers in %v", len(out.late), len(out.users), took)
		}
		for i, late := range out.late {
			if late < 0 || late > 2*paceStep {
				t.Fatalf("event %d is sent %v late", i, late)
			}
		}
	})
}
