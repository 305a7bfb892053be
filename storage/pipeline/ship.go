package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
)

// A block that the store did not take is tried again after retryFirst, then
// twice as long each time up to retryLast, each with half of it at random.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 30 * time.Second
)

// ship brings blocks to the store, the oldest first, until open ends. The one that is on
// its way then is given up when ctx ends.
func (g *Gatherer) ship(ctx, open context.Context) {
	wait := retryFirst
	for {
		done, err := g.shipNext(ctx)
		if !done {
			g.spare = storage.Columns{} // for as long as nothing is shipped
		}
		var again <-chan time.Time
		switch {
		case err != nil:
			again = time.After(wait/2 + rand.N(wait/2))
			wait = min(2*wait, retryLast)
		case done:
			wait = retryFirst
			if open.Err() != nil {
				return
			}
			continue
		default:
			again = g.doubts.due()
		}
		select {
		case <-again:
		case <-g.wait(err):
		case <-open.Done():
			return
		}
	}
}

// wait is the spool's sign that there is something new: of no interest while the
// store takes nothing of what there was.
func (g *Gatherer) wait(err error) <-chan struct{} {
	if err != nil && !errors.Is(err, errUnsure) {
		return nil
	}
	return g.o.Spool.Wait()
}

// shipLast brings what waits to the store, for as long as that takes it.
func (g *Gatherer) shipLast(ctx context.Context) {
	for ctx.Err() == nil {
		done, err := g.shipNext(ctx)
		switch {
		case errors.Is(err, errUnsure):
		case err != nil:
			g.o.Logger.Warn("the store does not take what waits; it stays in the spool for the next start", "error", err)
			return
		case !done:
			return
		}
	}
}

// errUnsure says that it is one block that the store did not answer for, and that
// others may be taken.
var errUnsure = errors.New("it is not sure whether the store has the block")

// shipNext tries one block once: the oldest that is not in doubt, else the oldest
// of those that are and that it is time to ask for. It says whether there was one
// that is done with for now, and returns why it is not.
func (g *Gatherer) shipNext(ctx context.Context) (done bool, err error) {
	b, ok, err := g.o.Spool.Next(g.doubts.has, g.spare)
	if !ok && err == nil {
		b, ok, err = g.o.Spool.Next(g.doubts.early, g.spare)
	}
	if err != nil {
		g.o.Logger.Error("the spool cannot give its oldest block; it will be tried again", "error", err)
		return false, err
	}
	if !ok {
		return false, nil
	}
	g.spare = b.Rows
	if err := g.checkStore(ctx); err != nil {
		return false, err
	}
	begin := time.Now()
	answer, err := g.o.Store.Store(ctx, b)
	g.meters.elapsed.UpdateDuration(begin)
	switch answer {
	case storage.Stored:
		g.stored(b)
		g.doubts.settle(b.Number)
		if err := g.o.Spool.Stored(b.Number); err != nil {
			g.o.Logger.Warn("a stored block could not be removed from the spool; after a restart it is stored again, which changes nothing", "block", b.Number, "error", err)
		}
		g.complaint = ""
		return true, nil
	case storage.Never:
		g.meters.parked.Inc()
		g.doubts.settle(b.Number)
		g.o.Logger.Error("a block cannot be stored; it stays in the spool and is tried again after POST /retry to the operations address, or at the next start", "block", b.Number, "rows", b.Rows.Len(), "error", err)
		g.o.Spool.Park(b.Number)
		return true, nil
	case storage.Unsure:
		g.meters.retries.Inc()
		if g.doubts.add(b.Number) {
			g.o.Logger.Warn("it is not sure whether the store has a block; it will be asked again, and others go on", "block", b.Number, "rows", b.Rows.Len(), "error", err)
		}
		if errors.Is(err, storage.ErrAway) {
			return false, errors.Join(errUnsure, err)
		}
		return true, nil // the block has a pace of its own
	}
	g.meters.retries.Inc()
	g.complain("a block is not stored yet; it will be tried again", err, "block", b.Number, "rows", b.Rows.Len())
	return false, err
}

// complainAgain is how long nothing more is said of the same trouble.
const complainAgain = time.Minute

// complain logs why blocks wait: a new reason at once, the same one again when it
// has been some time. One that wants a person is an error.
func (g *Gatherer) complain(text string, err error, about ...any) {
	if why := err.Error(); why != g.complaint || time.Since(g.complained) >= complainAgain {
		g.complaint, g.complained = why, time.Now()
		level := slog.LevelWarn
		if errors.Is(err, storage.ErrBarred) {
			level = slog.LevelError
		}
		g.o.Logger.Log(context.Background(), level, text, append(about, "error", err)...)
	}
}

// checkStore sees to it that no block goes to a store that has seen its number
// before, from a spool of which this one is an older copy. A store that is away
// at the start is asked at the first contact.
func (g *Gatherer) checkStore(ctx context.Context) error {
	if g.checked {
		return nil
	}
	last, err := g.o.Store.LastNumber(ctx)
	if err != nil {
		g.complain("the store cannot be asked for its last block; nothing goes to it before that, and it will be tried again", err)
		return err
	}
	if err := g.o.Spool.CheckStore(last); err != nil {
		g.refuse(true)
		g.o.Logger.Error("this spool may not store its blocks; they stay in it", "error", err)
		return err
	}
	g.refuse(false)
	g.checked = true
	return nil
}

// refuse counts the spool among those that may not store, or takes it off.
func (g *Gatherer) refuse(refused bool) {
	switch {
	case refused && !g.refused:
		g.meters.refused.Inc()
	case !refused && g.refused:
		g.meters.refused.Dec()
	}
	g.refused = refused
}

func (g *Gatherer) stored(b *storage.Block) {
	g.meters.blocks.Inc()
	g.meters.rows.Add(b.Rows.Len())
	g.meters.events.Add(int(b.Rows.Events()))
}

// meters are the metrics of docs/METRICS.md that tell of blocks.
type meters struct {
	blocks, rows, events                  *metrics.Counter // stored
	retries, parked, early, flushFailures *metrics.Counter
	elapsed                               *metrics.PrometheusHistogram
	clamped                               *metrics.Counter // events of a day too many
	refused                               *metrics.Gauge   // spools that are older copies, as the store knows
	unsure                                *metrics.Gauge   // blocks in doubt
}

// storeBuckets are the bounds of lectern_block_store_seconds: from a small file on
// a fast disk to a block of half a million rows for a server that struggles.
var storeBuckets = []float64{1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}

func (g *Gatherer) register(set *metrics.Set) {
	// The leftovers of other processes count with what is our own: an alarm looks
	// at all of it.
	g.meters = &meters{
		blocks:        set.GetOrCreateCounter("lectern_blocks_stored_total"),
		rows:          set.GetOrCreateCounter("lectern_rows_stored_total"),
		events:        set.GetOrCreateCounter("lectern_events_stored_total"),
		retries:       set.GetOrCreateCounter("lectern_block_retries_total"),
		parked:        set.GetOrCreateCounter("lectern_blocks_parked_total"),
		early:         set.GetOrCreateCounter("lectern_flushes_early_total"),
		flushFailures: set.GetOrCreateCounter("lectern_block_write_failures_total"),
		clamped:       set.GetOrCreateCounter("lectern_events_day_clamped_total"),
		elapsed:       set.GetOrCreatePrometheusHistogramExt("lectern_block_store_seconds", storeBuckets),
		refused:       set.GetOrCreateGauge("lectern_spools_behind_store", nil),
		unsure:        set.GetOrCreateGauge("lectern_blocks_unsure", nil),
	}
	g.doubts.count = g.meters.unsure
}

// show registers what only the Gatherer of this process's own cuts has.
func (g *Gatherer) show(set *metrics.Set) {
	set.NewGauge("lectern_rows_waiting", func() float64 { return float64(g.waiting()) })
	set.NewGauge("lectern_rows_waiting_max", func() float64 { return float64(g.o.RowsWaitingMax) })
	set.NewGauge("lectern_blocks_unsure_oldest_seconds", func() float64 { return g.doubts.age().Seconds() })
}
