package live

import (
	"math/rand/v2"
	"testing"

	"github.com/lectern/lectern/storage"
)

// More readers come than there is room for, minute after minute. Their events are dated
// ahead, and rows leave early, so that those who are not known are met in the order of
// their hashes: nobody is far from his place for that, and nobody has to be looked for
// among all.
func TestCrowdThatComesInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 0))
	r := follow(Options{ReadersMax: 100_000, ContentsMax: 10_000})
	end := start
	rows := make([]storage.Row, 3000)
	for range 900 {
		w := storage.Window{Start: end, End: end + 1000}
		end += 1000
		for i := range rows {
			at := w.Start + 60_000 + random.Int64N(1000)
			rows[i] = storage.Row{
				Stream: 1, Content: 1 + random.Uint64N(5000), User: 1 + random.Uint64N(50_000), Opens: 1,
				First: at, Last: at, Minute: uint32(at / 60_000 * 60),
			}
		}
		r.minutes.AddCut(w, rows)
		r.minutes.Take(storage.All).Free()
	}
	run, longest, far := 0, 0, 0
	for i := range r.table.slots {
		s := &r.table.slots[i]
		if run++; s.print == 0 {
			run = 0
		} else {
			far = max(far, r.table.fromHome(i, s.print))
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
