package pipeline

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
)

const dayMillis = 24 * 60 * 60 * 1000

// Whatever days events are of, what is flushed together has at most so many beside
// those around today; no event is lost over it, those that were moved are clamped in
// the books, and the rows of today and of days that were open keep their minutes.
func TestDaysOfAWindow(t *testing.T) {
	const daysMax, today = 10, 20_000
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		store := &shelf{}
		g := NewGatherer(GathererOptions{
			Spool: newTestSpool(t, 0).Spool, Store: store, FlushInterval: time.Second, RowsWaitingMax: 1 << 20, DaysMax: daysMax,
			Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
		})
		var sent, clamped uint64
		kept := map[rowKey]uint64{} // of what cannot be too many
		for n := range int64(40) {
			seal := &storage.Seal{Window: storage.Window{Start: today*dayMillis + 1000*n, End: today*dayMillis + 1000*n + 1000}}
			book := storage.Book{Stream: 3}
			for range rng.IntN(50) {
				day := uint32(today - 1 + rng.IntN(3))
				if rng.IntN(2) == 0 {
					day = uint32(rng.IntN(30_000))
				}
				r := storage.Row{Stream: 3, Minute: day*storage.SecondsPerDay + 7200, Content: rng.Uint64N(5), Opens: 1, Reads: 2, First: 7, Last: 8}
				if day >= today-1 && day <= today+1 {
					kept[rowKey{3, r.Minute, r.Content, 0}] += r.Events()
				}
				seal.Rows = append(seal.Rows, r)
				book.Counts[storage.Sent], book.Counts[storage.Accepted] = book.Counts[storage.Sent]+3, book.Counts[storage.Accepted]+3
			}
			before := slices.Clone(seal.Rows)
			sent += book.Counts[storage.Sent]
			seal.Books = []storage.Book{book}
			if err := sealOne(g, seal); err != nil {
				t.Fatal(err)
			}
			var moved uint64
			for i := range before {
				r := &seal.Rows[i]
				if *r == before[i] {
					continue
				}
				moved += 3
				if int64(r.Minute) != seal.Window.End/60_000*60 || r.First != seal.Window.End || r.Last != seal.Window.End || r.Events() != 3 {
					t.Errorf("%+v became %+v", before[i], *r)
				}
			}
			if seal.Books[0].Counts[storage.Clamped] != moved {
				t.Errorf("%d events moved, %d clamped", moved, seal.Books[0].Counts[storage.Clamped])
			}
			clamped += moved
			time.Sleep(300 * time.Millisecond)
			synctest.Wait()
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if clamped == 0 || g.meters.clamped.Get() != clamped {
			t.Errorf("%d events were clamped, the metric says %d", clamped, g.meters.clamped.Get())
		}
		var stored uint64
		window, days := storage.Window{}, 0
		for _, b := range store.blocks {
			if b.Window != window {
				window, days = b.Window, 0
			}
			if b.Day < today-1 || b.Day > today+1 {
				days++
			}
			if days > daysMax {
				t.Errorf("%d days in one window", days)
			}
			for i := range b.Rows.Len() {
				r := b.Rows.Row(i)
				stored += r.Events()
				k := rowKey{3, r.Minute, r.Content, 0}
				if n, ok := kept[k]; ok {
					kept[k] = n - r.Events()
				}
			}
		}
		if stored != sent {
			t.Errorf("%d events were stored, %d accepted", stored, sent)
		}
		for k, n := range kept {
			if n != 0 {
				t.Errorf("%+v lacks %d events", k, n)
			}
		}
	})
}

// The days that wait are open after a flush that failed, and not after one that did
// not.
func TestDaysAfterAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := newTestSpool(t, 0)
		g := newTestGatherer(&shelf{}, spool, 1<<20)
		g.days.max = 1
		seal := func(day uint32) (kept bool) {
			s := &storage.Seal{Window: storage.Window{Start: 9, End: 20_000 * dayMillis}, Rows: []storage.Row{{Minute: day * storage.SecondsPerDay, Opens: 1}}, Books: []storage.Book{{Counts: storage.Counts{storage.Accepted: 1}}}}
			if err := sealOne(g, s); err != nil {
				t.Fatal(err)
			}
			return s.Rows[0].Day() == day
		}
		if !seal(1) || seal(2) || !seal(1) {
			t.Error("the first day is not the one that is open")
		}
		spool.set(true)
		if err := g.flush(storage.All); err == nil {
			t.Fatal("flushed")
		}
		spool.set(false)
		if seal(2) || !seal(1) {
			t.Error("what waits is forgotten after a flush that failed")
		}
		if err := g.flushAll(); err != nil {
			t.Fatal(err)
		}
		if !seal(2) || seal(1) {
			t.Error("what is flushed is open all the same")
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
