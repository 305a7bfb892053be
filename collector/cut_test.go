package collector

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/storage"
)

// Cuts come when they are due, however long the sink had to do with the one before; one
// for which that is too late is left out, and those behind it are where they were.
func TestCutsKeepTheirSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(1, nil)
		began, stop := time.Now(), make(chan struct{})
		var at []time.Duration
		takes := []time.Duration{0, 300, 900, 0, 2500, 100, 0}
		b.ear.taken = func(*storage.Seal) {
			at = append(at, time.Since(began))
			time.Sleep(takes[len(at)-1] * time.Millisecond)
			if len(at) == len(takes) {
				close(stop)
			}
		}
		b.cuts.run(time.Second, stop)
		var want []time.Duration
		for _, ms := range []time.Duration{1000, 2000, 3000, 4000, 5000, 7500, 8000} {
			want = append(want, ms*time.Millisecond)
		}
		if !slices.Equal(at, want) {
			t.Errorf("cuts at %v, want %v", at, want)
		}
	})
}
