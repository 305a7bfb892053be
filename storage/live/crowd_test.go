package live

import (
	"math/rand/v2"
	"testing"

	"github.com/lectern/lectern/storage"
)

// More readers come than there is room for, minute after minute, and rows leave early, so
// that those who are not known are met in the order of their hashes: nobody is far from
// his place for that, and nobody has to be looked for among all.
func TestCrowdThatComesInOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := New(Options{ReadersMax: 100_000, ContentsMax: 10_000})
	m := storage.NewMinutes()
	end := int64(1_700_000_000_000)
	m.Watch(r, storage.Window{Start: end, End: end})
	rows := make([]storage.Row, 3000)
	for range 900 {
		w := storage.Window{Start: end, End: end + 1000}
		end += 1000
		for i := range rows {
			at := w.Start + random.Int64N(1000)
			rows[i] = storage.Row{
				Stream: 1, Content: 1 + random.Uint64N(5000), User: 1 + random.Uint64N(50_000), Opens: 1,
				First: at, Last: at, Minute: uint32(at / 60_000 * 60),
			}
		}
		m.AddCut(w, rows)
		m.Take(storage.All).Free()
	}
	run, longest, far := 0, 0, 0
	for i := range r.table.slots {
		s := &r.table.slots[i]
		if run++; s.print == 0 {
			run = 0
		} else {
			far = max(far, (i-int(s.print>>r.table.shift))&(len(r.table.slots)-1))
		}
		longest = max(longest, run)
	}
	t.Logf("%d of %d slots are used, up to %d without a gap, up to %d from home", r.table.used, len(r.table.slots), longest, far)
	if r.readers() < 50_000 {
		t.Errorf("only %d readers are known", r.readers())
	}
	if far > farMax {
		t.Errorf("a reader is %d slots from home, want at most %d", far, farMax)
	}
}
