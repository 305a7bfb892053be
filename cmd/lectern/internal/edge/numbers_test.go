package edge

import (
	"math/rand/v2"
	"testing"
)

// Numbers as they come from a page that sends again, against a plain set.
func TestNumbersAgainstASet(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		var s numbers
		set := map[uint64]bool{}
		largest := uint64(0)
		for range 2000 {
			n := largest + uint64(rng.IntN(40))
			if back := uint64(rng.IntN(numbersBack)); rng.IntN(2) == 0 && n > back {
				n -= back
			}
			if largest > n+numbersBack {
				continue
			}
			if got := s.fresh(n); got == set[n] {
				t.Fatalf("number %d of %d: fresh %v, taken before %v", n, s.end, got, set[n])
			}
			if s.fresh(n) {
				s.take(n)
			}
			set[n] = true
			largest = max(largest, n+1)
			if s.end != largest || s.taken != uint64(len(set)) || s.missing() != largest-uint64(len(set)) {
				t.Fatalf("%d taken to %d, missing %d; the set has %d to %d", s.taken, s.end, s.missing(), len(set), largest)
			}
		}
	}
}

func TestNumbersTooFarBackWereTaken(t *testing.T) {
	var s numbers
	s.take(numbersBack + 1)
	if s.fresh(1) || !s.fresh(2) {
		t.Errorf("1 fresh %v, 2 fresh %v", s.fresh(1), s.fresh(2))
	}
}
