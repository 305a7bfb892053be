package readers

import (
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
)

// Who is there is kept in a plain map. From the first heartbeat on there are
// always as many readers as were asked for, each with a heartbeat every ten
// seconds to the nanosecond, and nobody does anything before an open or behind a
// finish.
func TestPresentAgainstMap(t *testing.T) {
	type reader struct {
		content uint64
		last    time.Duration
		percent uint8
	}
	for _, n := range []uint64{1, 7, 1000} {
		here, left := map[uint64]*reader{}, map[uint64]bool{}
		kinds, opens := map[emit.Kind]int{}, map[uint64]int{}
		var before time.Duration
		events := 0
		for after, e := range NewPresent(n, 100, 3).All() {
			if after < before {
				t.Fatalf("event %d at %v after one at %v", events, after, before)
			}
			if before = after; after > 100*Heartbeat {
				break
			}
			events++
			kinds[e.Kind]++
			percent, known := e.Progress.Percent()
			r := here[e.User]
			if e.Kind == emit.Open {
				if r != nil || left[e.User] || known || e.Dwell != 0 {
					t.Fatalf("event %d: %+v of %+v", events, e, r)
				}
				here[e.User] = &reader{content: e.Content, last: after}
				opens[e.Content]++
				continue
			}
			if r == nil || e.Content != r.content || after-r.last != Heartbeat || e.Dwell != 10_000 ||
				!known || percent <= r.percent || (percent == 100) != (e.Kind == emit.Finish) {
				t.Fatalf("event %d at %v: %+v of %+v", events, after, e, r)
			}
			r.last, r.percent = after, percent
			if e.Kind == emit.Finish {
				delete(here, e.User)
				left[e.User] = true
			}
		}
		// Who left says nothing, and somebody else is there in the same moment.
		for user, r := range here {
			if before-r.last > Heartbeat {
				delete(here, user)
			}
		}
		if uint64(len(here)) != n {
			t.Errorf("%d readers are there at the end, want %d", len(here), n)
		}
		most := 0
		for _, opened := range opens {
			most = max(most, opened)
		}
		if n == 1000 && (kinds[emit.Finish] == 0 || len(left) == 0 || most < 3*kinds[emit.Open]/len(opens) || events < 100_000) {
			t.Errorf("%d events, %v, the most read was opened %d times of %v", events, kinds, most, len(opens))
		}
	}
}

func TestPresentIsDeterministic(t *testing.T) {
	a, b, other := NewPresent(50, 100, 3), NewPresent(50, 100, 3), NewPresent(50, 100, 4)
	differs := false
	for range 10_000 {
		var x, y, z emit.Event
		atX, atY := a.Next(&x), b.Next(&y)
		if other.Next(&z); x != y || atX != atY {
			t.Fatalf("%+v and %+v", x, y)
		}
		differs = differs || x != z
	}
	if !differs {
		t.Error("another seed made the same events")
	}
	var e emit.Event
	if n := testing.AllocsPerRun(10_000, func() { a.Next(&e) }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}
