package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// leftover is what a process left that had sealed these rows.
func leftover(s storage.Store, spool *testSpool, rows []storage.Row) GathererOptions {
	if len(rows) > 0 {
		seal := &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: rows, Books: []storage.Book{{Counts: storage.Counts{storage.Sent: 1, storage.Shed: 1}}}}
		if err := spool.Seal(seal, func(uint64) {}); err != nil {
			panic(err)
		}
	}
	r := spool.reopen()
	return GathererOptions{
		Spool: spool.Spool, Store: s, FlushInterval: time.Hour, RowsWaitingMax: 1000, Recovered: r,
		Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
	}
}

func minutesOf(rows ...storage.Row) *storage.Minutes {
	m := storage.NewMinutes()
	m.Add(rows)
	return m
}

// What the store will not take is not given up: it is tried again when somebody
// says so, and the end of the context alone ends that.
func TestLeftoverIsParkedUntilRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, spool := &shelf{last: 7}, newTestSpool(t, 7)
		s.answer = func(*storage.Block) (storage.Answer, error) { return storage.Never, errors.New("no such table") }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		left := leftover(s, spool, []storage.Row{{Content: 1, Opens: 3}})
		go func() { ended <- ShipLeftover(ctx, left) }()
		time.Sleep(time.Hour)
		spool.Unpark()
		time.Sleep(time.Hour)
		select {
		case err := <-ended:
			t.Fatalf("it ended with a block that is not stored: %v", err)
		default:
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}

		again := leftover(s, spool, nil)
		go func() { ended <- ShipLeftover(t.Context(), again) }()
		time.Sleep(time.Hour)
		s.mu.Lock()
		s.answer = nil
		s.mu.Unlock()
		spool.Unpark()
		if err := <-ended; err != nil || spool.Blocks() != 0 {
			t.Errorf("%d blocks are left: %v", spool.Blocks(), err)
		}
		if sums, _ := s.contents(t); sums[rowKey{content: 1}].Opens != 3 {
			t.Errorf("stored is %v", sums)
		}
	})
}

// Where the store has seen later numbers than the spool knows of, no block is made
// of what was sealed: it would get the number of another.
func TestLeftoverOfAnOlderCopy(t *testing.T) {
	s, spool := &shelf{last: 7}, newTestSpool(t, 6)
	o := leftover(s, spool, []storage.Row{{Content: 1, Opens: 3}})
	if err := ShipLeftover(t.Context(), o); err == nil || spool.Blocks() != 0 || len(s.blocks) != 0 {
		t.Errorf("%d blocks were made and %d stored: %v", spool.Blocks(), len(s.blocks), err)
	}
}

// Blocks that are there go to the store though there is no room to flush what is
// not in any: that makes room.
func TestLeftoverMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, spool := &shelf{}, newTestSpool(t, 0)
		if err := spool.Flush(minutesOf(storage.Row{Content: 2, Opens: 4}), nil, storage.Window{Start: 1, End: 2}, storage.Mark{Before: storage.All}); err != nil {
			t.Fatal(err)
		}
		o := leftover(s, spool, []storage.Row{{Content: 1, Opens: 3}})
		spool.disk.Fail(func(o vfstest.Op) error { // without room for another segment while there is one
			if o.What == "create" && spool.Blocks() > 0 {
				return vfstest.ErrFull
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := ShipLeftover(ctx, o); err != nil {
			t.Fatal(err)
		}
		if sums, _ := s.contents(t); sums[rowKey{content: 1}].Opens != 3 || sums[rowKey{content: 2}].Opens != 4 {
			t.Errorf("stored is %v", sums)
		}
	})
}

// The rows that were recovered are released when they are in blocks, also while
// the store is away.
func TestRecoveredRowsAreLetGo(t *testing.T) {
	for name, work := range map[string]func(context.Context, GathererOptions){
		"Gatherer":     func(ctx context.Context, o GathererOptions) { g := NewGatherer(o); <-ctx.Done(); _ = g.Close(ctx) },
		"ShipLeftover": func(ctx context.Context, o GathererOptions) { _ = ShipLeftover(ctx, o) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			gone, ended := make(chan struct{}), make(chan struct{})
			rows := make([]storage.Row, 1000)
			for i := range rows {
				rows[i] = storage.Row{Content: uint64(i), Opens: 1}
			}
			o := leftover(&shelf{away: storage.ErrAway}, newTestSpool(t, 0), rows)
			o.FlushInterval = time.Millisecond
			kept := o.Recovered // as the daemon does, for the sources
			runtime.AddCleanup(&kept.Books[0], func(struct{}) { close(gone) }, struct{}{})
			go func() {
				defer close(ended)
				work(ctx, o)
			}()
			for end, there := time.Now().Add(30*time.Second), true; there; {
				runtime.GC()
				select {
				case <-gone:
					there = false
				case <-time.After(time.Millisecond):
					if time.Now().After(end) {
						t.Error("the rows are still there")
						there = false
					}
				}
			}
			cancel()
			<-ended
			if kept.Rows != nil {
				t.Error("the rows are in what was recovered")
			}
		})
	}
}
