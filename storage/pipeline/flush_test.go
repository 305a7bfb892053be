package pipeline

import (
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
)

// A crowd that reads for some minutes, an event every ten seconds each, becomes a
// row a reader and minute, whatever comes late; and the books of what is stored add
// up after each flush.
func TestFlushWholeMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(17 * time.Second) // no flush begins at a minute
		s, spool := &shelf{}, newTestSpool(t, 0)
		g := NewGatherer(GathererOptions{
			Spool: spool.Spool, Store: s, FlushInterval: time.Minute, Settle: 5 * time.Second, RowsWaitingMax: 100_000,
			Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
		})
		const readers, seconds = 200, 300
		r := rand.New(rand.NewPCG(1, 1))
		type key struct {
			user   uint64
			minute uint32
		}
		want, late := map[key]uint32{}, 0
		start := time.Now().UnixMilli()
		for second := range seconds {
			var rows []storage.Row
			now := time.Now()
			for user := range uint64(readers) {
				if int(user)%10 != second%10 {
					continue
				}
				at := now.UnixMilli() - r.Int64N(4000) // on its way for up to four seconds
				if user == 7 && second > 200 {
					at -= 120_000 // hours behind, as it were
					late++
				}
				row := storage.Row{Content: user % 5, User: user, Minute: uint32(at / 60_000 * 60), Reads: 1, First: at, Last: at}
				want[key{user, row.Minute}]++
				rows = append(rows, row)
			}
			n := uint64(len(rows))
			if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: start, End: now.UnixMilli()}, Rows: rows, Books: []storage.Book{{Counts: storage.Counts{storage.Sent: n, storage.Accepted: n}}}}); err != nil {
				t.Fatal(err)
			}
			start = now.UnixMilli()
			time.Sleep(time.Second)
			synctest.Wait()
			var stored, accepted uint64
			s.mu.Lock()
			for _, b := range s.blocks {
				for i := range b.Rows.Len() {
					row := b.Rows.Row(i)
					stored += row.Events()
				}
				for i := range b.Books {
					accepted += b.Books[i].Counts[storage.Accepted]
					if !b.Books[i].Balanced() {
						t.Fatalf("the books of block %d: %+v", b.Number, b.Books[i])
					}
				}
			}
			blocks := len(s.blocks)
			s.mu.Unlock()
			if stored != accepted {
				t.Fatalf("second %d: the stored rows are %d events, their books say %d", second, stored, accepted)
			}
			if second == 60 && blocks == 0 {
				t.Fatal("nothing is stored after a minute")
			}
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows, got := map[key]int{}, map[key]uint32{}
		for _, b := range s.blocks {
			for i := range b.Rows.Len() {
				row := b.Rows.Row(i)
				rows[key{row.User, row.Minute}]++
				got[key{row.User, row.Minute}] += row.Reads
			}
		}
		for k, n := range want {
			if got[k] != n {
				t.Errorf("%+v has %d reads, want %d", k, got[k], n)
			}
			if rows[k] != 1 && k.user != 7 {
				t.Errorf("%+v has %d rows", k, rows[k])
			}
		}
		if late == 0 || len(got) != len(want) {
			t.Errorf("%d late events, %d keys for %d", late, len(got), len(want))
		}
	})
}

// When the clock is set back no row waits for it, and none is in two blocks.
func TestFlushAfterAWrongClock(t *testing.T) {
	m := func(minutes ...uint32) (rows []storage.Row) {
		for _, at := range minutes {
			rows = append(rows, storage.Row{Minute: at, Opens: 1, First: int64(at) * 1000, Last: int64(at) * 1000})
		}
		return rows
	}
	spool := newTestSpool(t, 0)
	g := &Gatherer{o: GathererOptions{Spool: spool.Spool, FlushInterval: time.Minute, RowsWaitingMax: 100, Recovered: recovered(storage.NewMinutes(), 600)}}
	g.register(metrics.NewSet())
	g.recover()
	for i, step := range []struct {
		rows         []storage.Row
		before       uint64
		blocks, left int // after it
	}{
		{m(540, 600, 660), 660, 1, 1}, // the minutes before 660
		{m(600, 660), 600, 2, 0},      // back: all
		{m(600, 660), 660, 3, 1},      // and on as before
		{m(660), 660, 3, 1},
		{nil, 720, 4, 0},
	} {
		if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: step.rows}); err != nil {
			t.Fatal(err)
		}
		if err := g.flush(step.before); err != nil {
			t.Fatal(err)
		}
		if len(spool.blocks()) != step.blocks || g.waiting() != step.left {
			t.Errorf("step %d: %d blocks, %d rows left", i, len(spool.blocks()), g.waiting())
		}
	}
}

// A cut that comes though there is no room, as the last one does, finds some where
// minutes that wait can be flushed.
func TestFlushMakesRoomForTheLastCut(t *testing.T) {
	small := openTestSpool(t, spool.Options{SizeMax: 32 << 10, LogSize: 8 << 10})
	g := newHandGatherer(small, 1<<20, nil)
	rows := make([]storage.Row, 40) // of the same keys each time
	for i := range rows {
		rows[i] = storage.Row{Minute: 60, User: uint64(i), Opens: 1, First: 60_000, Last: 60_000}
	}
	cut := &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: rows}
	for seals := 0; small.Room() >= len(rows); seals++ {
		if err := sealOne(g, cut); err != nil || seals > 1000 {
			t.Fatalf("seal %d: %v", seals, err)
		}
	}
	if small.Blocks() > 0 {
		t.Fatal("something is flushed already")
	}
	if err := sealOne(g, cut); err != nil || small.Blocks() != 1 || g.waiting() != len(rows) {
		t.Errorf("%v: %d blocks, %d rows wait", err, small.Blocks(), g.waiting())
	}
}

// newHandGatherer returns one that flushes when it is told to.
func newHandGatherer(s *testSpool, most int, r *spool.Recovered) *Gatherer {
	g := &Gatherer{
		o:   GathererOptions{Spool: s.Spool, FlushInterval: time.Minute, RowsWaitingMax: most, Recovered: r, Logger: slog.New(slog.DiscardHandler)},
		due: make(chan struct{}, 1),
	}
	g.register(metrics.NewSet())
	g.recover()
	return g
}

// What came late was sent by a book that is stored already. Whatever part of a
// stream it is, the books of what is stored add up, and say of each minute's events
// what its rows do.
func TestFlushOfLateFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		spool := newTestSpool(t, 0)
		g := newHandGatherer(spool, 1000, nil)
		var lost, sent, accepted uint64
		for step := range 12 {
			now := uint32(600 + 60*step)
			var rows []storage.Row
			n := r.Uint64N(6)
			for range n {
				at := now - 60*r.Uint32N(3)
				rows = append(rows, storage.Row{Stream: 1, Minute: at, User: r.Uint64N(4), Reads: 1, First: int64(at) * 1000, Last: int64(at) * 1000})
			}
			late := min(n, r.Uint64N(1+lost)) // of those, what an earlier book called lost
			gone := r.Uint64N(5)
			lost += gone - late
			sent, accepted = sent+n-late+gone, accepted+n
			book := storage.Book{Stream: 1, Counts: storage.Counts{storage.Sent: n - late + gone, storage.Accepted: n, storage.Lost: gone, storage.Found: late}}
			if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: int64(step + 1), End: int64(step + 2)}, Rows: rows, Books: []storage.Book{book}}); err != nil {
				t.Fatal(err)
			}
			before := uint64(now)
			if step == 11 {
				before = storage.All
			}
			if err := g.flush(before); err != nil {
				t.Fatal(err)
			}
			var stored, books uint64
			for _, b := range spool.blocks() {
				for i := range b.Rows.Len() {
					row := b.Rows.Row(i)
					stored += row.Events()
				}
				for i := range b.Books {
					books += b.Books[i].Counts[storage.Accepted]
					if k := &b.Books[i]; !k.Balanced() || int64(k.Counts[storage.Sent]) < 0 || int64(k.Counts[storage.Accepted]) < 0 {
						t.Fatalf("round %d step %d: %+v", round, step, *k)
					}
				}
			}
			if stored != books {
				t.Fatalf("round %d step %d: the stored rows are %d events, their books say %d", round, step, stored, books)
			}
			if step == 11 && (books != accepted || g.waiting() > 0) {
				t.Fatalf("round %d: %d events are accepted, %d were", round, books, accepted)
			}
		}
	}
}

// The rows of a minute that ends in silence are of the window in which they came.
func TestFlushWindowInSilence(t *testing.T) {
	spool := newTestSpool(t, 0)
	g := newHandGatherer(spool, 1000, nil)
	seal := &storage.Seal{Window: storage.Window{Start: 600_000, End: 601_000}, Rows: []storage.Row{{Minute: 540, Opens: 1}, {Minute: 600, Opens: 1}}}
	if err := sealOne(g, seal); err != nil {
		t.Fatal(err)
	}
	for _, before := range []uint64{600, 660, 720} {
		if err := g.flush(before); err != nil {
			t.Fatal(err)
		}
	}
	if len(spool.blocks()) != 2 {
		t.Fatalf("%d blocks", len(spool.blocks()))
	}
	for _, b := range spool.blocks() {
		if b.Window != seal.Window {
			t.Errorf("block %d is of %+v, its rows came in %+v", b.Number, b.Window, seal.Window)
		}
	}
}

// Rows that leave no room leave memory soon, also where no cut can come any more
// that would find out: at a start, after a flush that failed, and when a cut is too
// large for what is left.
func TestFlushMakesRoom(t *testing.T) {
	rows := func(n int) (rows []storage.Row) {
		for i := range n {
			at := time.Now().Unix() / 60 * 60
			rows = append(rows, storage.Row{Minute: uint32(at), User: uint64(i), Opens: 1, First: at * 1000, Last: at * 1000})
		}
		return rows
	}
	const most = 1000
	for what, leave := range map[string]func(g *Gatherer, spool *testSpool){
		"at a start": func(*Gatherer, *testSpool) {},
		"after a failed flush": func(g *Gatherer, spool *testSpool) {
			spool.set(true)
			g.MakeRoom()
			synctest.Wait()
			spool.set(false)
			if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: rows(most)[:most/10*8]}); err != nil {
				panic(err)
			}
		},
		"a large cut": func(g *Gatherer, spool *testSpool) {
			if g.Room() < most/2 {
				g.MakeRoom()
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Second)
			spool, waits := newTestSpool(t, 0), storage.NewMinutes()
			waits.Add(rows(map[string]int{"at a start": most, "after a failed flush": most / 10, "a large cut": most / 10 * 7}[what]))
			g := NewGatherer(GathererOptions{
				Spool: spool.Spool, Store: &shelf{}, FlushInterval: time.Hour, RowsWaitingMax: most, Recovered: recovered(waits, 0),
				Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
			})
			leave(g, spool)
			time.Sleep(2 * flushRest)
			synctest.Wait()
			if room := g.Room(); room != most {
				t.Errorf("%s: room for %d rows, and the next flush is in an hour", what, room)
			}
			if err := g.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A flush that fails is not tried, nor logged, without end.
func TestFlushRestsAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := newTestSpool(t, 0)
		set := metrics.NewSet()
		g := NewGatherer(GathererOptions{
			Spool: spool.Spool, Store: &shelf{}, FlushInterval: time.Hour, RowsWaitingMax: 1000, Metrics: set, Logger: slog.New(slog.DiscardHandler),
		})
		if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Opens: 1}}}); err != nil {
			t.Fatal(err)
		}
		spool.set(true)
		for range 1000 {
			g.MakeRoom()
			time.Sleep(10 * time.Millisecond)
		}
		if n := g.meters.flushFailures.Get(); n < 5 || n > 11 {
			t.Errorf("%d flushes failed in ten seconds", n)
		}
		spool.set(false)
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// Whatever the clock says, a flush is of minutes that a mark can name.
func TestFlushBeforeAnyTime(t *testing.T) {
	g := newHandGatherer(newTestSpool(t, 0), 1000, nil)
	g.o.Settle = time.Minute
	for _, now := range []time.Time{time.Unix(0, 0), time.Unix(59, 0), time.Unix(-1e6, 0)} {
		if before := g.over(now); before != 0 {
			t.Errorf("at %v the minutes before %d are over", now.UTC(), before)
		}
		if wait := g.untilFlush(now); wait <= 0 || wait > 2*time.Minute {
			t.Errorf("at %v the next flush is in %v", now.UTC(), wait)
		}
	}
}
