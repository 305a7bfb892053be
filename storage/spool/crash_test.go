package spool

import (
	"math/rand/v2"
	"testing"

	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// crashSeeds is how often each crash is tried.
var crashSeeds = uint64(2)

// A whole cycle, ended at every one of its operations, and the start after it
// ended at every one of its own.
func TestCrashAnywhere(t *testing.T) {
	for _, script := range []string{
		"sfsfsfmtttt", "sftsft", "ssfssssssssssfst", "sfsfsmtttt", "sfsfmsttt",
	} {
		whole := false // the crash comes behind the script's end
		for crash := 1; !whole; crash++ {
			through := false // the start came to its end
			for start := 1; !through; start++ {
				for power := range 2 * crashSeeds {
					w := runScript(t, script, crash, start, power)
					through = w.counts["started"] > 0
					if t.Failed() {
						t.Fatalf("script %s, crash at step %d, again at step %d of the start, seed %d", script, crash, start, power)
					}
					whole = w.counts["whole"] > 0
				}
			}
		}
	}
}

// Some syncs of the directory fail, or some removals, and then the power goes.
func TestFaultThenPowerLoss(t *testing.T) {
	compactions := 0
	for _, script := range []string{"sfssfsfst", "sfsfmsttts", "sfssfmstttsfs"} {
		for _, kind := range []string{"syncdir", "remove"} {
			for first := range 10 {
				for _, n := range []int{1, 2, 4} {
					whole := false
					for crash := 20; !whole; crash++ {
						for seed := range crashSeeds {
							w := runFaults(t, script, kind, first, n, crash, seed)
							if t.Failed() {
								t.Fatalf("script %s, %d of %s fail from number %d on, power loss at step %d, seed %d", script, n, kind, first, crash, seed)
							}
							whole = w.counts["whole"] > 0
							compactions += w.counts["compact"]
						}
					}
				}
			}
		}
	}
	if compactions == 0 {
		t.Error("no script compacted")
	}
}

func runFaults(t *testing.T, script, kind string, first, n, crash int, seed uint64) *world {
	w := newWorld(t, rand.New(rand.NewPCG(seed, 9)), seed+uint64(crash))
	w.o.SizeMax, w.o.blockRows, w.o.compactAt = 1<<20, 4, 2
	s, r, err := Open(w.o)
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	w.recovered(r)
	seen := 0
	w.disk.Fault = func(o vfstest.Op) error {
		if o.What != kind {
			return nil
		}
		seen++
		if seen > first && seen <= first+n {
			return vfstest.ErrFault
		}
		return nil
	}
	w.disk.CrashAt = crash
	w.play(script)
	w.disk.PowerLoss()
	w.reopen(true)
	w.end()
	return w
}

// play does what a script says until the process dies.
func (w *world) play(script string) {
	for _, what := range script {
		switch what {
		case 's':
			w.seal()
		case 'f':
			w.flush(true)
		case 'm':
			w.compact()
		case 't':
			w.storeOne()
		}
		if w.disk.Steps >= w.disk.CrashAt {
			return
		}
	}
	w.counts["whole"]++
}

// runScript seals (s), flushes (f), compacts (m) and stores (t) until the process
// dies at a step, then starts until it dies at another, by a power loss, then
// starts and compares.
func runScript(t *testing.T, script string, crash, start int, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 9))
	w := newWorld(t, rng, seed)
	w.o.SizeMax, w.o.blockRows, w.o.compactAt = 1<<20, 2, 2
	w.disk.CrashAt = crash
	s, r, err := Open(w.o)
	if err == nil {
		w.s = s
		w.recovered(r)
		w.play(script)
	}
	if seed%2 == 0 {
		w.disk.Kill()
	} else {
		w.disk.PowerLoss()
	}
	w.disk.CrashAt = w.disk.Steps + start
	if s, r, err = Open(w.o); err == nil && w.disk.Steps < w.disk.CrashAt {
		w.counts["started"]++
		w.s = s
		w.recovered(r)
	}
	w.disk.PowerLoss()
	w.reopen(true)
	w.end()
	return w
}
