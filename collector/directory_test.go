package collector

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/lectern/lectern/storage"
)

// TestDirectoryAgainstMap adds, finds and removes in random order, beside a
// plain map.
func TestDirectoryAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 20 {
		var d directory
		d.init([2]uint64{r.Uint64(), r.Uint64() | 1}, new(arena))
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
				*d.add(id) = source{id: id, state: state{end: uint64(step)}, standing: storage.Stranger}
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

// TestGuessesAgainstMap finds sources by guesses, most of which are old: their
// source was forgotten since, and another may be where it was. Beside is a plain
// map.
func TestGuessesAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const ids = 8 * stripes // 0 among them, which is what a free slot has
	s := newSources(&Options{SourcesMax: ids})
	want := map[uint64]uint64{}
	guesses := map[uint64]*source{}
	old := 0
	for step := range uint64(200_000) {
		id := r.Uint64N(ids)
		if r.IntN(16) == 0 {
			id = 0
		}
		st := s.of(id)
		switch r.IntN(4) {
		case 0:
			guesses[id] = st.guess(hashSource(s.seed, id))
		case 1:
			if src := st.known(id); src != nil {
				s.release(src)
				st.remove(src)
				delete(want, id)
			}
		default:
			src := s.find(st, guesses[id], id)
			if src == nil {
				src = s.meet(st, id, 0, 1, address{}, storage.Stranger, 0)
			}
			if src == nil || src.standing == 0 || src.id != id || src.end != want[id] || src != st.known(id) {
				t.Fatalf("step %d: source %d is %+v, want end %d", step, id, src, want[id])
			}
			if guesses[id] != nil && guesses[id] != src {
				old++
			}
			src.end, want[id] = step, step
		}
	}
	if old == 0 {
		t.Error("no guess was wrong")
	}
}

// Guesses are made without a lock while sources come and go: for the race
// detector.
func TestGuessesWhileSourcesChange(t *testing.T) {
	const ids = 100 * stripes
	s := newSources(&Options{SourcesMax: ids})
	var looking sync.WaitGroup
	stop := make(chan struct{})
	looking.Go(func() {
		for id := uint64(0); ; id = (id + 1) % ids {
			hash := hashSource(s.seed, id)
			st := s.ofHash(hash)
			_, _ = st.entry(hash), st.guess(hash)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 10 {
		for id := range uint64(ids) {
			st := s.of(id)
			st.Lock()
			s.meet(st, id, 0, 1, address{}, storage.Stranger, 0)
			st.Unlock()
		}
		for n := range stripes {
			s.forget(n, math.MaxInt64, math.MaxInt64)
		}
	}
	close(stop)
	looking.Wait()
	if n := s.live.Load(); n != 0 {
		t.Errorf("%d live sources, want none", n)
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
	c := &Collector{sources: b.shards[0].sources, clocks: b.cuts.clocks}
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
