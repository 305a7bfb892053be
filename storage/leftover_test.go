package storage

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// leftover is what a process left of some seals: rows, through the last of them.
func leftover(s Store, spool *shelfSpool, rows []Row) GathererOptions {
	spool.seals = 1
	return GathererOptions{
		Spool: spool, Store: s, FlushInterval: time.Hour, RowsWaitingMax: 1000,
		Recovered: Recovered{Window: Window{Start: 1, End: 2}, Rows: minutesOf(rows...), Mark: Mark{Through: 1}},
		Metrics:   metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
	}
}

func minutesOf(rows ...Row) *Minutes {
	m := NewMinutes()
	m.Add(rows)
	return m
}

// What the store will not take is not given up: it is tried again when somebody
// says so, and the end of the context alone ends that.
func TestLeftoverIsParkedUntilRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, spool := &shelf{last: 7}, newShelfSpool(7)
		s.answer = func(*Block) (Answer, error) { return Never, errors.New("no such table") }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- ShipLeftover(ctx, leftover(s, spool, []Row{{Content: 1, Opens: 3}})) }()
		time.Sleep(time.Hour)
		spool.unpark()
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
		spool.opened = 8 // as after it is opened again
		spool.unpark()
		go func() { ended <- ShipLeftover(t.Context(), again) }()
		time.Sleep(time.Hour)
		s.mu.Lock()
		s.answer = nil
		s.mu.Unlock()
		spool.unpark()
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
	s, spool := &shelf{last: 7}, newShelfSpool(6)
	o := leftover(s, spool, []Row{{Content: 1, Opens: 3}})
	if err := ShipLeftover(t.Context(), o); err == nil || spool.Blocks() != 0 || len(s.blocks) != 0 {
		t.Errorf("%d blocks were made and %d stored: %v", spool.Blocks(), len(s.blocks), err)
	}
}

// roomy is a spool without room for another block while it has one.
type roomy struct{ *shelfSpool }

func (s roomy) Flush(rows *Minutes, books []Book, w Window, m Mark) error {
	if s.Blocks() > 0 {
		return errors.New("no space left on device")
	}
	return s.shelfSpool.Flush(rows, books, w, m)
}

// Blocks that are there go to the store though there is no room to flush what is
// not in any: that makes room.
func TestLeftoverMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, spool := &shelf{}, newShelfSpool(0)
		o := leftover(s, spool, []Row{{Content: 1, Opens: 3}})
		if err := spool.Flush(minutesOf(Row{Content: 2, Opens: 4}), nil, Window{Start: 1, End: 2}, Mark{Before: All}); err != nil {
			t.Fatal(err)
		}
		o.Spool = roomy{spool}
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

// The rows that were recovered are let go of when they are in blocks, also while
// the store is away.
func TestRecoveredRowsAreLetGo(t *testing.T) {
	for name, work := range map[string]func(context.Context, GathererOptions){
		"Gatherer":     func(ctx context.Context, o GathererOptions) { g := NewGatherer(o); <-ctx.Done(); _ = g.Close(ctx) },
		"ShipLeftover": func(ctx context.Context, o GathererOptions) { _ = ShipLeftover(ctx, o) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			gone, ended := make(chan struct{}), make(chan struct{})
			options := func() GathererOptions {
				rows := make([]Row, 1000)
				for i := range rows {
					rows[i] = Row{Content: uint64(i), Opens: 1}
				}
				o := leftover(&shelf{away: ErrAway}, newShelfSpool(0), rows)
				for _, table := range o.Recovered.Rows.tables {
					runtime.AddCleanup(table, func(struct{}) { close(gone) }, struct{}{})
				}
				o.FlushInterval = time.Millisecond
				return o
			}
			go func() {
				defer close(ended)
				work(ctx, options())
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
		})
	}
}
