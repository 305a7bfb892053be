package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// A block that the store did not take is tried again after retryFirst, then
// twice as long each time up to retryLast, each with half of it at random.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 30 * time.Second
)

// ship brings blocks to the store one after the other. It returns an error only
// when ctx ends.
func (g *Gatherer) ship(ctx context.Context, blocks []*Block) error {
	for i, b := range blocks {
		if err := g.shipOne(ctx, b); err != nil {
			rows := 0
			for _, left := range blocks[i:] {
				rows += left.Rows.Len()
			}
			return fmt.Errorf("%d blocks with %d rows are not stored: %w", len(blocks)-i, rows, err)
		}
		blocks[i] = nil // its memory may go
	}
	return nil
}

// shipOne tries one block until the store has it, or never will.
func (g *Gatherer) shipOne(ctx context.Context, b *Block) error {
	rows := b.Rows.Len()
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		begin := time.Now()
		answer, err := g.o.Store.Store(ctx, b)
		g.meters.elapsed.UpdateDuration(begin)
		if answer == Stored {
			g.stored(b)
			return nil
		}
		if answer == Never {
			g.meters.parked.Inc()
			g.parked = append(g.parked, b)
			g.o.Logger.Error("a block cannot be stored; it is kept in memory and tried once more at shutdown", "block", b.Number, "rows", rows, "error", err)
			return nil
		}
		g.meters.retries.Inc()
		g.o.Logger.Warn("a block is not stored yet; it will be tried again", "block", b.Number, "rows", rows, "again_in", wait, "error", err)
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func (g *Gatherer) stored(b *Block) {
	rows := b.Rows.Len()
	var events uint64
	for i := range rows {
		r := b.Rows.Row(i)
		events += r.Events()
	}
	g.mu.Lock()
	g.held -= rows
	g.mu.Unlock()
	g.away.Add(-1)
	g.meters.blocks.Inc()
	g.meters.rows.Add(rows)
	g.meters.events.Add(int(events))
}

// meters are the metrics of docs/METRICS.md that tell of blocks.
type meters struct {
	blocks, rows, events *metrics.Counter // stored
	retries, parked      *metrics.Counter
	elapsed              *metrics.Summary
}

func (g *Gatherer) register(set *metrics.Set) {
	g.meters = meters{
		blocks:  set.NewCounter("lectern_blocks_stored_total"),
		rows:    set.NewCounter("lectern_rows_stored_total"),
		events:  set.NewCounter("lectern_events_stored_total"),
		retries: set.NewCounter("lectern_block_retries_total"),
		parked:  set.NewCounter("lectern_blocks_parked_total"),
		elapsed: set.NewSummary("lectern_block_store_seconds"),
	}
	set.NewGauge("lectern_blocks_waiting", func() float64 { return float64(g.away.Load()) })
	set.NewGauge("lectern_rows_waiting", func() float64 { return float64(g.o.RowsWaitingMax - g.Room()) })
	set.NewGauge("lectern_rows_waiting_max", func() float64 { return float64(g.o.RowsWaitingMax) })
}
