package collector

import (
	"math/rand/v2"
	"testing"
)

// TestWindowAgainstMap compares the ring with a plain set of all that was seen.
func TestWindowAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 200 {
		var w window
		seen := map[uint64]bool{}
		newest := r.Uint64N(1 << (1 + round%48))
		first := true
		for range 3000 {
			var n uint64
			switch r.IntN(10) {
			case 0: // far ahead
				n = newest + r.Uint64N(3*windowFrames)
			case 1, 2: // behind, perhaps too far
				n = newest - min(newest, r.Uint64N(2*windowFrames))
			case 3: // exactly at an edge
				n = newest - min(newest, windowFrames-1+r.Uint64N(3))
			default:
				n = newest + r.Uint64N(4)
			}
			want := fresh
			switch {
			case first:
			case n <= newest && newest-n >= windowFrames:
				want = stale
			case seen[n]:
				want = duplicate
			}
			if got := w.check(n); got != want {
				t.Fatalf("round %d: check(%d) = %d with newest %d, want %d", round, n, got, newest, want)
			}
			if want == fresh {
				w.commit(n)
				seen[n] = true
				if first || n > newest {
					newest = n
				}
				first = false
			}
			if got, want := w.whole(), !first && uint64(len(seen)) == newest+1; got != want {
				t.Fatalf("round %d: whole says %v with %d of %d seen", round, got, len(seen), newest+1)
			}
		}
	}
}
