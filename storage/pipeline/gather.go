package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
)

// GathererOptions configure a Gatherer.
type GathererOptions struct {
	Spool          *spool.Spool
	Store          storage.Store
	FlushInterval  time.Duration    // between two flushes; from a minute on, of whole minutes
	Settle         time.Duration    // how long after its end a minute is flushed
	RowsWaitingMax int              // rows that may be in memory
	DaysMax        int              // days, beside those around today, that may be flushed together; 0: any number
	Recovered      *spool.Recovered // what the spool had sealed and in no segment; nil: nothing. Its rows and books are the Gatherer's, and taken out of it
	Watcher        storage.Watcher  // follows what is sealed, recovered rows first; nil: nobody does
	Metrics        *metrics.Set
	Logger         *slog.Logger
}

// Gatherer has each cut sealed, adds up the rows of all cuts by minute, has blocks
// made of minutes that are over, and brings the blocks to the store, oldest first,
// each until it is there. One that is unsure holds up none behind it.
type Gatherer struct {
	o GathererOptions

	mu      sync.Mutex // protects the fields below
	rows    *storage.Minutes
	books   map[storage.Account]*storage.Book
	named   int // what the names of books cost
	window  storage.Window
	flushed storage.Window // of the flush before
	days    days           // of rows
	mark    storage.Mark   // Through is the last seal that is in rows and books
	pending *flush         // on its way into blocks, or could not be written yet
	told    uint64         // Through of the last mark that the spool knows

	flushing sync.Mutex // held by whoever flushes

	// The shipper has what follows to itself.
	checked    bool      // the store's numbers fit the spool's,
	refused    bool      // and this, that they do not
	complaint  string    // why blocks wait, as it was last logged
	complained time.Time // when that was
	doubts     doubts
	spare      storage.Columns // memory for the rows of the next block

	unsealed bool // by the last cut, which the log says: the sealing goroutine's

	due     chan struct{}      // enough rows for a block
	stop    context.CancelFunc // begins nothing new: Close has been called
	cancel  context.CancelFunc // and gives up what is under way
	working sync.WaitGroup
	meters  *meters
}

// NewGatherer returns a Gatherer that works until Close.
func NewGatherer(o GathererOptions) *Gatherer {
	ctx, cancel := context.WithCancel(context.Background())
	open, stop := context.WithCancel(ctx)
	g := &Gatherer{o: o, days: days{max: o.DaysMax}, due: make(chan struct{}, 1), stop: stop, cancel: cancel}
	g.register(o.Metrics)
	g.show(o.Metrics)
	g.recover()
	g.working.Go(func() { g.flushEach(open) })
	g.working.Go(func() { g.ship(ctx, open) })
	g.working.Go(func() { g.compact(open) })
	return g
}

// recover takes what was sealed before.
func (g *Gatherer) recover() {
	g.rows, g.books = storage.NewMinutes(), make(map[storage.Account]*storage.Book)
	if r := g.o.Recovered; r != nil {
		g.rows, g.window, g.mark = r.Rows, r.Window, storage.Mark{Through: r.Last, Before: r.Before}
		g.addBooks(r.Books)
		r.Rows, r.Books = nil, nil // where they would stay in memory
	}
	g.days.follow(g.rows)
	if w := g.window; g.o.Watcher != nil {
		w.Start = max(w.Start, int64(g.mark.Before)*1000) // of the minutes before, rows are in segments
		g.rows.Watch(g.o.Watcher, w)
	}
	if g.crowded() { // no cut may come that would say so
		g.wake()
	}
}

// Room is how many more rows may come.
func (g *Gatherer) Room() int {
	return min(g.o.RowsWaitingMax-g.sum((*storage.Minutes).Footprint), g.o.Spool.Room())
}

// MakeRoom has all rows that wait flushed, minutes that go on as well, where it is
// they that leave too little Room. Whoever finds too little calls it: nothing comes then
// that would have it done.
func (g *Gatherer) MakeRoom() {
	if footprint := g.sum((*storage.Minutes).Footprint); footprint > 0 && g.o.RowsWaitingMax-footprint < g.o.Spool.Room() {
		g.wake()
	}
}

// waiting is how many rows are in memory.
func (g *Gatherer) waiting() int { return g.sum((*storage.Minutes).Len) }

// sum adds up what is in memory.
func (g *Gatherer) sum(of func(*storage.Minutes) int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := of(g.rows)
	if g.pending != nil {
		n += of(g.pending.rows)
	}
	return n
}

// namesWaitingMax is how many bytes of names may wait for the end of a minute, by
// storage.NameCost.
const namesWaitingMax = 4 << 20

// crowded says that rows are not to wait for the end of their minute. The caller
// has mu, or is alone.
func (g *Gatherer) crowded() bool {
	return g.rows.Footprint() >= g.o.RowsWaitingMax/4*3 || g.named >= namesWaitingMax || g.o.Spool.Crowded()
}

// wake has what waits flushed soon.
func (g *Gatherer) wake() {
	select {
	case g.due <- struct{}{}:
	default:
	}
}

// Seal makes a cut durable, calls durable, and then adds up what it brought, so that
// whoever waits for the disk does not wait for that. One goroutine calls it and Retry.
// The cut is to stay as it is until Seal returns; after an error, until Retry has
// succeeded, which does what is left.
func (g *Gatherer) Seal(seal *storage.Seal, durable func()) error {
	if len(seal.Rows)+len(seal.Books)+len(seal.Sources)+len(seal.Forgotten) == 0 {
		durable() // nothing happened; the disk may sleep
		g.mu.Lock()
		g.rows.AddCut(seal.Window, nil)
		g.mu.Unlock()
		return nil
	}
	g.mu.Lock()
	moved := g.days.clamp(seal)
	g.mu.Unlock()
	g.meters.clamped.AddInt64(int64(moved))
	if g.o.Spool.Room() < len(seal.Rows) { // the last cut, which is made all the same
		if err := g.flushAll(); err != nil {
			g.o.Logger.Warn("no room could be made for a cut in the spool", "error", err)
		}
	}
	err := g.o.Spool.Seal(seal, func(number uint64) {
		durable()
		g.add(seal, number)
	})
	if g.unsealed = err != nil; g.unsealed {
		g.o.Logger.Error("a cut could not be sealed: nothing of it is acknowledged, and no more is taken until it is", "rows", len(seal.Rows), "error", err)
	}
	return err
}

// Retry tries again what Seal could not do. Without that it does nothing.
func (g *Gatherer) Retry() error {
	err := g.o.Spool.Retry()
	if g.unsealed && err == nil {
		g.unsealed = false
		g.o.Logger.Info("the cut is sealed now")
	}
	return err
}

// add adds the rows and books of a seal to those that wait.
func (g *Gatherer) add(seal *storage.Seal, number uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.window.Start == 0 || seal.Window.Start < g.window.Start { // or the clock was set back
		g.window.Start = seal.Window.Start
	}
	g.window.End, g.window.Config = max(g.window.End, seal.Window.End), seal.Window.Config
	g.rows.AddCut(seal.Window, seal.Rows)
	for i := range seal.Books {
		numberSpans(&seal.Books[i], number)
	}
	g.addBooks(seal.Books)
	g.mark.Through = number
	if g.crowded() {
		g.wake()
	}
}

// addBooks adds books to those that wait. The caller has mu, or is alone.
func (g *Gatherer) addBooks(books []storage.Book) {
	g.named += storage.NamesCost(books)
	for i := range books {
		b := &books[i]
		if mine, ok := g.books[b.Account()]; ok {
			mine.Add(b)
		} else {
			c := b.Clone()
			g.books[b.Account()] = &c
		}
	}
}

// numberSpans says which seal has brought a book's spans. What was recovered says so
// already.
func numberSpans(b *storage.Book, seal uint64) {
	for i := range b.Spans {
		if b.Spans[i].Seal == 0 {
			b.Spans[i].Seal = seal
		}
	}
}

// Close flushes what waits and brings it to the store. What the store does not
// take, or not before ctx ends, stays in the spool for the next start. With an
// error not even that is so: what was sealed is safe, and in the log alone.
func (g *Gatherer) Close(ctx context.Context) error {
	g.stop()
	stop := context.AfterFunc(ctx, g.cancel)
	defer stop()
	g.working.Wait()
	g.cancel()
	err := g.flushAll()
	if err == nil {
		g.shipLast(ctx)
	}
	if closed := g.o.Store.Close(); closed != nil && err == nil {
		err = fmt.Errorf("close the store: %w", closed)
	}
	return err
}

// compact adds up what waits for the store, after each FlushInterval.
func (g *Gatherer) compact(ctx context.Context) {
	tick := time.NewTicker(g.o.FlushInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := g.o.Spool.Compact(ctx); err != nil {
			g.o.Logger.Warn("the blocks that wait for the store could not be merged; it will be tried again", "error", err)
		}
	}
}
