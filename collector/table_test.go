package collector

import (
	"math/rand/v2"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

type key struct {
	stream        uint16
	minute        uint32 // Unix seconds
	content, user uint64
	variant       uint8
}

func keyOf(r *storage.Row) key { return key{r.Stream, r.Minute, r.Content, r.User, r.Variant} }

// tabulate is the oracle: it adds one event to a plain map.
func tabulate(m map[key]storage.Row, e *wire.Event, stream uint16, at int64) {
	k := key{stream, uint32(at / 60_000 * 60), e.Content, e.User, 0}
	if e.Kind == wire.KindImpression || e.Kind == wire.KindClick {
		k.variant = uint8(max(e.Dwell, 1))
	}
	r, ok := m[k]
	if !ok {
		r = storage.Row{Stream: stream, Minute: k.minute, Content: e.Content, User: e.User, Variant: k.variant, First: at, Last: at}
	}
	switch e.Kind {
	case wire.KindOpen:
		r.Opens++
	case wire.KindRead:
		r.Reads++
	case wire.KindFinish:
		r.Finishes++
	case wire.KindSave:
		r.Saves++
	case wire.KindShare:
		r.Shares++
	case wire.KindImpression:
		r.Impressions++
	case wire.KindClick:
		r.Clicks++
	}
	if k.variant == 0 {
		r.Dwell += uint64(e.Dwell)
	}
	resumed := r.Last - int64(r.ResumeLag)
	if e.HasProgress && (r.Resume == 0 || at > resumed || at == resumed && e.Progress+1 > r.Resume) {
		r.Resume, resumed = e.Progress+1, at
	}
	if r.Resume > 0 {
		r.ResumeLag = uint16(max(r.Last, at) - resumed)
	}
	if e.HasProgress && e.Progress > r.Progress {
		r.Progress = e.Progress
	}
	r.First, r.Last = min(r.First, at), max(r.Last, at)
	m[k] = r
}

// sameRows compares rows with the oracle's.
func sameRows(t *testing.T, got []storage.Row, want map[key]storage.Row) {
	t.Helper()
	sum := map[key]storage.Row{}
	for i := range got {
		k := keyOf(&got[i])
		if r, ok := sum[k]; ok {
			r.Add(&got[i])
			sum[k] = r
		} else {
			sum[k] = got[i]
		}
	}
	if len(sum) != len(want) {
		t.Errorf("%d keys, want %d", len(sum), len(want))
	}
	for k, w := range want {
		if g, ok := sum[k]; g != w {
			t.Fatalf("key %v (there: %v)\n got %+v\nwant %+v", k, ok, g, w)
		}
	}
}

func randomEvent(r *rand.Rand, ids uint64) wire.Event {
	e := wire.Event{
		Content: r.Uint64N(ids), User: r.Uint64N(ids), At: r.Uint32N(100_000), Dwell: r.Uint32N(20_000),
		Kind: wire.Kind(r.IntN(wire.Kinds)),
	}
	switch {
	case e.Kind == wire.KindImpression || e.Kind == wire.KindClick:
		e.Dwell %= wire.VariantMax + 1
	case r.IntN(2) == 0:
		e.Progress, e.HasProgress = uint8(r.IntN(101)), true
	}
	return e
}

func TestTableAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	table := newTable(4096)
	for range 20 { // the table is used again after each emptying
		want := map[key]storage.Row{}
		for table.free() > 0 {
			e := randomEvent(r, 60)
			if r.IntN(10) == 0 {
				e.Content, e.User = 0, 0
			}
			stream, minute, offset := uint16(r.IntN(3)), 29_000_000+r.Uint32N(3), uint16(r.IntN(60_000))
			table.count([]wire.Event{e}, []moment{periodOf(minute, stream).at(offset)})
			tabulate(want, &e, stream, int64(minute)*60_000+int64(offset))
		}
		if len(want) != table.limit {
			t.Errorf("full with %d keys, want %d", len(want), table.limit)
		}
		sameRows(t, table.appendRows(nil), want)
		if table.free() != table.limit {
			t.Error("not empty after its rows were taken")
		}
	}
}

// A table grows with its keys, without losing one, and is as small again when few
// come for a while.
func TestTableGrowsAndShrinks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const most = 8 * slotsFirst
	table := newTable(most)
	want := map[key]storage.Row{}
	events, moments := make([]wire.Event, 1000), make([]moment, 1000)
	for table.free() >= len(events) {
		for i := range events {
			events[i] = randomEvent(r, 1<<10)
			minute, offset := 29_000_000+r.Uint32N(2), uint16(r.IntN(60_000))
			moments[i] = periodOf(minute, 1).at(offset)
			tabulate(want, &events[i], 1, int64(minute)*60_000+int64(offset))
		}
		table.count(events, moments)
	}
	if len(table.slots) != most || table.used != len(want) {
		t.Fatalf("%d keys of %d in %d slots", table.used, len(want), len(table.slots))
	}
	sameRows(t, table.appendRows(nil), want)
	for windows := 0; len(table.slots) > slotsFirst; windows++ {
		if windows > 3*shrinkAfter {
			t.Fatalf("%d slots after %d windows of a few keys", len(table.slots), windows)
		}
		want := map[key]storage.Row{}
		for i := range events[:50] {
			tabulate(want, &events[i], 1, 29_000_000*60_000)
			moments[i] = periodOf(29_000_000, 1).at(0)
		}
		table.count(events[:50], moments[:50])
		sameRows(t, table.appendRows(nil), want)
	}
	if table.free() != most/8*7 {
		t.Errorf("%d keys are free", table.free())
	}
}

// TestCountNearAgainstMap has a small table full again and again, so that what
// was in its slots before is found by whoever looks there.
func TestCountNearAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	table := newTable(64)
	const offset, most = 10_000, 20_000
	counted := 0
	for range 200 {
		// Other keys share a group and a tag each time.
		table.seed = [3]uint64{r.Uint64(), r.Uint64(), r.Uint64() | 1}
		want := map[key]storage.Row{}
		for table.free() > 0 {
			minute, stream := 29_000_000+r.Uint32N(2), uint16(r.IntN(2))
			p, start := periodOf(minute, stream), int64(minute)*60_000+offset
			events := make([]wire.Event, 1+r.IntN(30))
			for i := range events {
				events[i] = randomEvent(r, 6)
				events[i].At %= most + 10
			}
			for len(events) > 0 && table.free() > 0 {
				n := table.countNear(events, p, offset, most)
				for i := range n {
					tabulate(want, &events[i], stream, start+int64(events[i].At))
				}
				counted += n
				if events = events[n:]; len(events) == 0 {
					break
				}
				if e := &events[0]; e.At <= most {
					table.count(events[:1], []moment{p.at(uint16(offset + e.At))})
					tabulate(want, e, stream, start+int64(e.At))
				}
				events = events[1:]
			}
		}
		sameRows(t, table.appendRows(nil), want)
	}
	if counted == 0 {
		t.Error("no event was counted")
	}
}

// Keys of many minutes and streams that collide in one process, where whoever
// runs it can read its seed, do not collide in another.
func TestChosenKeysDoNotCollide(t *testing.T) {
	mine, theirs := newTable(64), newTable(64)
	const keys = 10_000
	var hashes [2]map[uint64]bool
	hashes[0], hashes[1] = map[uint64]bool{}, map[uint64]bool{}
	for i := range uint32(keys) {
		p := periodOf(29_000_000+i/100, uint16(i%100))
		e := wire.Event{Content: 1, User: mine.salt(p, 0)}
		hashes[0][mine.hash(&e, p)], hashes[1][theirs.hash(&e, p)] = true, true
	}
	if len(hashes[0]) != 1 || len(hashes[1]) < keys-1 {
		t.Errorf("%d keys have %d hashes where they were chosen, want 1, and %d elsewhere, want as many as keys", keys, len(hashes[0]), len(hashes[1]))
	}
}

func TestTableCountDoesNotAllocate(t *testing.T) {
	table := newTable(4096)
	e := wire.Event{Content: 1}
	if n := testing.AllocsPerRun(1000, func() {
		e.User = (e.User + 1) % 3000
		table.count([]wire.Event{e}, []moment{periodOf(29_000_000, 1).at(5)})
	}); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}
