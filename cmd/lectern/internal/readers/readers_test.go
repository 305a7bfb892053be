package readers

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/emit"
)

// take returns the first n events of a crowd.
func take(c *Crowd, n int) []emit.Event {
	events := make([]emit.Event, n)
	for i := range events {
		c.Next(&events[i])
	}
	return events
}

func TestCrowdIsDeterministic(t *testing.T) {
	a := take(New(1e6, 5000, 300, 42), 100_000)
	b := take(New(1e6, 5000, 300, 42), 100_000)
	if !slices.Equal(a, b) {
		t.Error("the same seed made other events")
	}
	if slices.Equal(a, take(New(1e6, 5000, 300, 43), 100_000)) {
		t.Error("another seed made the same events")
	}
}

func TestCrowdReadsBelievably(t *testing.T) {
	type pair struct{ content, user uint64 }
	const n = 1_000_000
	kinds := make(map[emit.Kind]int)
	progress := make(map[pair]uint8) // of visits that are going on
	// So many users that hardly two visits are of one user and one content.
	for i, e := range take(New(n, 1<<40, 1000, 7), n) {
		kinds[e.Kind]++
		at := pair{e.Content, e.User}
		before, visiting := progress[at]
		percent, known := e.Progress.Percent()
		switch e.Kind {
		case emit.Open:
			if e.Dwell != 0 || known {
				t.Fatalf("event %d: %+v", i, e)
			}
			progress[at] = 0
			continue
		case emit.Read, emit.Finish:
			if !known || percent <= before || (percent == 100) != (e.Kind == emit.Finish) {
				t.Fatalf("event %d: %+v after a progress of %d", i, e, before)
			}
			if e.Dwell < 11_000 || e.Dwell > 19_000 {
				t.Fatalf("event %d: a heartbeat after %d ms", i, e.Dwell)
			}
		case emit.Save, emit.Share:
			if before != 100 || e.Dwell == 0 {
				t.Fatalf("event %d: %+v after a progress of %d", i, e, before)
			}
		}
		if !visiting {
			t.Fatalf("event %d: %+v of a visit that was never opened", i, e)
		}
		progress[at] = percent
		if e.Kind == emit.Save || e.Kind == emit.Share {
			delete(progress, at)
		}
	}
	for kind, share := range map[emit.Kind][2]float64{
		emit.Open: {0.2, 0.5}, emit.Read: {0.3, 0.7}, emit.Finish: {0.05, 0.25},
		emit.Save: {0.002, 0.02}, emit.Share: {0.001, 0.02},
	} {
		if got := float64(kinds[kind]) / n; got < share[0] || got > share[1] {
			t.Errorf("%v: %.4f of all events, want %v", kind, got, share)
		}
	}
	if kinds[emit.Save] <= kinds[emit.Share] {
		t.Errorf("%d saved and %d shared", kinds[emit.Save], kinds[emit.Share])
	}
}

func TestCrowdReadsByZipf(t *testing.T) {
	const contents, n = 2000, 2_000_000
	opens := make(map[uint64]int)
	total := 0
	for _, e := range take(New(n, 1e6, contents, 11), n) {
		if e.Kind == emit.Open {
			opens[e.Content]++
			total++
		}
	}
	// What the law itself gives each rank.
	sum := 0.0
	for rank := range contents {
		sum += math.Pow(popularityHead+float64(rank), -popularity)
	}
	ranked := slices.SortedFunc(maps.Keys(opens), func(a, b uint64) int { return cmp.Compare(opens[b], opens[a]) })
	for _, rank := range []uint64{0, 1, 2, 10, 100} {
		want := float64(total) * math.Pow(popularityHead+float64(rank), -popularity) / sum
		got := float64(opens[xxhash.Sum64String("/content/"+strconv.FormatUint(rank, 10))])
		if math.Abs(got-want) > 6*math.Sqrt(want) {
			t.Errorf("rank %d was opened %v times, want some %.0f", rank, got, want)
		}
	}
	if len(ranked) != contents || ranked[0] != xxhash.Sum64String("/content/0") {
		t.Errorf("%d pieces of content were opened, %x most", len(ranked), ranked[0])
	}
}

func TestCrowdKeepsToItsNumbers(t *testing.T) {
	for _, test := range []struct{ events, users, contents int }{
		{1, 1, 1}, {1000, 1, 1}, {1000, 1, 50}, {1000, 50, 1}, {100_000, 500, 20},
	} {
		contents, users, kinds := make(map[uint64]bool), make(map[uint64]bool), make(map[emit.Kind]int)
		for _, e := range take(New(uint64(test.events), uint64(test.users), uint64(test.contents), 5), test.events) {
			contents[e.Content], users[e.User] = true, true
			kinds[e.Kind]++
		}
		if len(contents) > test.contents || len(users) > test.users {
			t.Errorf("%+v: %d contents, %d users", test, len(contents), len(users))
		}
		if test.events >= 100_000 && (len(contents) != test.contents || len(users) != test.users) {
			t.Errorf("%+v: only %d contents, %d users", test, len(contents), len(users))
		}
		if test.events >= 1000 && (kinds[emit.Read] == 0 || kinds[emit.Finish] == 0 || kinds[emit.Open] > test.events*7/10) {
			t.Errorf("%+v: kinds %v", test, kinds)
		}
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	c := New(1e6, 1e6, 1000, 1)
	var e emit.Event
	c.Next(&e)
	if n := testing.AllocsPerRun(10_000, func() { c.Next(&e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNext(b *testing.B) {
	c := New(1<<40, 1e6, 10_000, 1)
	var e emit.Event
	b.ReportAllocs()
	for b.Loop() {
		c.Next(&e)
	}
}
