package collector

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// TestDirectoryAgainstMap adds, finds and removes in random order, beside a
// plain map.
func TestDirectoryAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 20 {
		var d directory
		d.init([2]uint64{r.Uint64(), r.Uint64() | 1}, new(quarry))
		want := map[uint64]uint64{}
		ids := uint64(1) << (2 + round/2)
		for step := range 20_000 {
			id := r.Uint64N(ids)
			_, there := want[id]
			src := d.known(id)
			if (src != nil) != there || src != nil && (src.id != id || src.end != want[id]) {
				t.Fatalf("round %d: source %d is %+v, want %d (%v)", round, id, src, want[id], there)
			}
			switch {
			case there && r.IntN(2) == 0:
				d.remove(src)
				delete(want, id)
			case !there && r.IntN(2) == 0:
				*d.add(id) = source{id: id, state: state{end: uint64(step)}, used: true}
				want[id] = uint64(step)
			}
			_ = d.entry(hashSource(d.seed, id))
			if src, known := d.guess(hashSource(d.seed, id)), d.known(id); known != nil && src != known {
				t.Fatalf("round %d: source %d is guessed to be %+v, is %+v", round, id, src, known)
			}
		}
		got := map[uint64]uint64{}
		for src := range d.all() {
			got[src.id] = src.end
		}
		if !maps.Equal(got, want) || d.used != len(want) {
			t.Fatalf("round %d: %d sources (%d entries), want %d", round, len(got), d.used, len(want))
		}
	}
}

// A source's window begins where a line of the cache does, so that its bit is
// in one of two.
func TestSourceLines(t *testing.T) {
	var s source
	if size, ring := unsafe.Sizeof(s), unsafe.Offsetof(s.window)+unsafe.Offsetof(s.window.ring); size%64 != 0 || ring%64 != 0 {
		t.Errorf("a source takes %d bytes, its ring begins at %d", size, ring)
	}
}

// TestWorstSources compares the list with a sort of all.
func TestWorstSources(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	b := newBench(1, nil)
	c := &Collector{sources: b.shards[0].sources}
	var all []SourceState
	for id := range uint64(300) {
		lost := r.Uint64N(20)
		b.receive(0, frameOf(uint16(id%3), id, 0, 0, b.now))
		b.receive(0, frameOf(uint16(id%3), id, 2, lost+4, b.now, opens(2)...))
		b.receive(0, frameOf(uint16(id%3), id, 1, 0, b.now, opens(4)...)) // in place of the other order
		x := SourceState{Source: id, Stream: uint16(id % 3), Sent: lost + 6, Lost: lost, Reordered: 4, LastSeen: b.now.UnixMilli()}
		for range r.IntN(3) {
			b.receive(0, frameOf(uint16(id%3), id, 2, lost+4, b.now, opens(2)...))
			x.Duplicate += 2
		}
		all = append(all, x)
	}
	for _, order := range SourceOrders {
		for _, n := range []int{1, 7, 1000} {
			var want []SourceState
			for _, x := range all {
				if x.by(order) > 0 {
					want = append(want, x)
				}
			}
			slices.SortStableFunc(want, func(a, b SourceState) int { return int(b.by(order)) - int(a.by(order)) })
			want = want[:min(n, len(want))]
			if got := c.WorstSources(n, order); !slices.Equal(got, want) {
				t.Errorf("%d by %s:\n got %v\nwant %v", n, order, got, want)
			}
		}
	}
}
