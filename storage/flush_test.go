package storage

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// A crowd that reads for some minutes, an event every ten seconds each, becomes a
// row a reader and minute, whatever comes late; and the books of what is stored add
// up after each flush.
func TestFlushWholeMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(17 * time.Second) // no flush begins at a minute
		s, spool := &shelf{}, newShelfSpool(0)
		g := NewGatherer(GathererOptions{
			Spool: spool, Store: s, FlushInterval: time.Minute, Settle: 5 * time.Second, RowsWaitingMax: 100_000,
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
			var rows []Row
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
				row := Row{Content: user % 5, User: user, Minute: uint32(at / 60_000 * 60), Reads: 1, First: at, Last: at}
				want[key{user, row.Minute}]++
				rows = append(rows, row)
			}
			n := uint64(len(rows))
			if err := g.Seal(&Seal{Window: Window{start, now.UnixMilli()}, Rows: rows, Books: []Book{{Sent: n, Accepted: n}}}); err != nil {
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
					accepted += b.Books[i].Accepted
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
	m := func(minutes ...uint32) (rows []Row) {
		for _, at := range minutes {
			rows = append(rows, Row{Minute: at, Opens: 1, First: int64(at) * 1000, Last: int64(at) * 1000})
		}
		return rows
	}
	spool := newShelfSpool(0)
	g := &Gatherer{o: GathererOptions{Spool: spool, FlushInterval: time.Minute, RowsWaitingMax: 100, Recovered: Recovered{Mark: Mark{Before: 600}}}}
	g.register(metrics.NewSet())
	g.recover()
	for i, step := range []struct {
		rows         []Row
		before       uint64
		blocks, left int // after it
	}{
		{m(540, 600, 660), 660, 1, 1}, // the minutes before 660
		{m(600, 660), 600, 2, 0},      // back: all
		{m(600, 660), 660, 3, 1},      // and on as before
		{m(660), 660, 3, 1},
		{nil, 720, 4, 0},
	} {
		if err := g.Seal(&Seal{Window: Window{1, 2}, Rows: step.rows}); err != nil {
			t.Fatal(err)
		}
		if err := g.flush(step.before); err != nil {
			t.Fatal(err)
		}
		if len(spool.blocks) != step.blocks || g.waiting() != step.left {
			t.Errorf("step %d: %d blocks, %d rows left", i, len(spool.blocks), g.waiting())
		}
	}
}

// crampedSpool has no room while anything waits to be flushed.
type crampedSpool struct {
	*shelfSpool
	sealed bool
}

func (s *crampedSpool) Room() int {
	if s.sealed {
		return 0
	}
	return 1 << 20
}

func (s *crampedSpool) Seal(seal *Seal) (uint64, error) {
	if s.sealed {
		return 0, errors.New("the spool is full")
	}
	s.sealed = true
	return s.shelfSpool.Seal(seal)
}

func (s *crampedSpool) Freeze(rows *Minutes, books []Book, w Window, m Mark) error {
	s.sealed = false
	return s.shelfSpool.Freeze(rows, books, w, m)
}

// A cut that comes though there is no room, as the last one does, finds some where
// minutes that wait can be flushed.
func TestFlushMakesRoomForTheLastCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, spool := &shelf{}, &crampedSpool{shelfSpool: newShelfSpool(0)}
		g := NewGatherer(GathererOptions{
			Spool: spool, Store: s, FlushInterval: time.Hour, RowsWaitingMax: 1000,
			Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
		})
		for user := range uint64(2) {
			if err := g.Seal(&Seal{Window: Window{1, 2}, Rows: []Row{{Minute: 60, User: user, Opens: 1}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Close(t.Context()); err != nil || len(s.blocks) != 2 {
			t.Errorf("%d blocks are stored: %v", len(s.blocks), err)
		}
	})
}
