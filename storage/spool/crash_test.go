package spool

import (
	"math/rand/v2"
	"testing"
)

// A whole cycle, ended at every one of its operations, and the start after it
// ended at every one of its own.
func TestCrashAnywhere(t *testing.T) {
	for _, script := range []string{
		"sfsfm", "sfsfsfmtttt", "sftsft", "ssfssssssssssfst", "sfsftsfmtttst", "sfsfmttt",
	} {
		whole := false // the crash comes behind the script's end
		for crash := 1; !whole; crash++ {
			for start := 1; start < 24; start++ {
				for power := range uint64(4) {
					w := runScript(t, script, crash, start, power)
					if t.Failed() {
						t.Fatalf("script %s, crash at step %d, again at step %d of the start, seed %d", script, crash, start, power)
					}
					whole = w.counts["whole"] > 0
				}
			}
		}
	}
}

// runScript seals (s), freezes (f), merges (m) and stores (t) until the process
// dies at a step, then starts until it dies at another, by a power loss, then
// starts and compares.
func runScript(t *testing.T, script string, crash, start int, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 9))
	w := newWorld(t, rng, seed)
	w.o.SizeMax, w.o.blockRows, w.o.mergeAt = 1<<20, 2, 2
	w.disk.crashAt = crash
	s, r, err := Open(w.o)
	if err == nil {
		w.s = s
		w.recovered(r)
		for _, what := range script {
			switch what {
			case 's':
				w.seal()
			case 'f':
				w.freeze()
			case 'm':
				w.merge()
			case 't':
				w.storeOne()
			}
			if w.disk.steps >= crash {
				break
			}
		}
	}
	if w.disk.steps < crash {
		w.counts["whole"]++
	}
	if seed%2 == 0 {
		w.disk.kill()
	} else {
		w.disk.powerLoss()
	}
	w.disk.crashAt = w.disk.steps + start
	if s, r, err = Open(w.o); err == nil && w.disk.steps < w.disk.crashAt {
		w.s = s
		w.recovered(r)
	}
	w.disk.powerLoss()
	w.reopen(true)
	w.end()
	return w
}
