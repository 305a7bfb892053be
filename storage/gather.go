package storage

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Spool keeps what was sealed until a store has it. The package storage/spool is
// one; its methods say more.
type Spool interface {
	// Seal makes a cut durable. With an error and a number above 0 it keeps
	// the seal for Retry.
	Seal(*Seal) (number uint64, err error)
	// Retry writes the seal that an earlier Seal could not.
	Retry() error
	// Room is how many rows another seal may bring.
	Room() int
	// Freeze turns what the seals up to through brought into blocks.
	Freeze(rows []Row, books []Book, w Window, through uint64) error
	// Merge adds up runs that wait for the store.
	Merge(ctx context.Context) error
	// Next is the oldest block that waits and that pass does not pass over, if
	// there is one. A nil pass passes over none.
	Next(pass func(number uint64) bool) (*Block, bool, error)
	// CheckStore compares with the last number that the store has seen of this
	// collector, before this process has stored anything.
	CheckStore(last uint64) error
	// Stored lets go of a block, and Park passes it over until the next start.
	Stored(number uint64) error
	Park(number uint64)
	// Blocks is how many blocks are not stored, parked ones included.
	Blocks() int
	// Wait gets a token when Next may have something new.
	Wait() <-chan struct{}
}

// GathererOptions configure a Gatherer.
type GathererOptions struct {
	Spool          Spool
	Store          Store
	FlushInterval  time.Duration // the longest that rows wait before they are frozen
	RowsWaitingMax int           // rows that may be in memory
	Recovered      Seal          // what was sealed before and never frozen; its rows are the Gatherer's
	Through        uint64        // number of the last of these seals
	Metrics        *metrics.Set
	Logger         *slog.Logger
}

// Gatherer has each cut sealed, adds the rows of several cuts up, has blocks made
// of them, and brings the blocks to the store, oldest first, each until it is
// there. One that is unsure holds up none behind it.
type Gatherer struct {
	o GathererOptions

	mu       sync.Mutex // protects the fields below
	rows     []Row
	freezing int // rows that are no longer in rows, and not known to be in blocks
	books    map[uint16]*Book
	window   Window
	through  uint64 // the last seal that is in them

	// The shipper has what follows to itself.
	checked    bool      // the store's numbers fit the spool's,
	refused    bool      // and this, that they do not
	complaint  string    // why blocks wait, as it was last logged
	complained time.Time // when that was
	doubts     doubts

	held   *Seal  // a cut that could not be sealed; the caller of Seal and Retry has it to itself
	number uint64 // of held, if the spool has it

	due     chan struct{} // enough rows for a block
	closed  chan struct{} // Close has been called
	cancel  context.CancelFunc
	working sync.WaitGroup
	meters  *meters
}

// NewGatherer returns a Gatherer that works until Close.
func NewGatherer(o GathererOptions) *Gatherer {
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gatherer{
		o: o, books: make(map[uint16]*Book),
		due: make(chan struct{}, 1), closed: make(chan struct{}), cancel: cancel,
	}
	g.register(o.Metrics)
	g.show(o.Metrics)
	g.recover()
	g.working.Go(func() { g.freezeAll(ctx) })
	g.working.Go(func() { g.ship(ctx) })
	g.working.Go(func() { g.merge(ctx) })
	return g
}

// recover takes what was sealed before, and keeps no second copy of it.
func (g *Gatherer) recover() {
	g.take(&g.o.Recovered, g.o.Through)
	g.o.Recovered = Seal{}
}

// Room is how many more rows may come.
func (g *Gatherer) Room() int {
	return min(g.o.RowsWaitingMax-g.waiting(), g.o.Spool.Room())
}

// waiting is how many rows are in memory.
func (g *Gatherer) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.rows) + g.freezing
}

// Seal makes a cut durable and takes its rows and books. One goroutine calls it
// and Retry. After an error the cut is kept, and Retry is to be called until it
// succeeds.
func (g *Gatherer) Seal(seal *Seal) error {
	if len(seal.Rows)+len(seal.Books)+len(seal.Sources)+len(seal.Forgotten) == 0 {
		return nil // nothing happened; the disk may sleep
	}
	number, err := g.o.Spool.Seal(seal)
	if err != nil {
		g.o.Logger.Error("a cut could not be sealed: nothing of it is acknowledged, and no more is taken until it is", "rows", len(seal.Rows), "error", err)
		c := *seal
		c.Rows, c.Books = slices.Clone(seal.Rows), cloneBooks(seal.Books)
		g.held, g.number = &c, number
		return err
	}
	g.take(seal, number)
	return nil
}

// Retry tries again what Seal could not do. Without that it does nothing.
func (g *Gatherer) Retry() error {
	if g.held == nil {
		return nil
	}
	var err error
	if g.number > 0 {
		err = g.o.Spool.Retry()
	} else {
		g.number, err = g.o.Spool.Seal(g.held)
	}
	if err != nil {
		return err
	}
	g.o.Logger.Info("the cut is sealed now")
	g.take(g.held, g.number)
	g.held = nil
	return nil
}

// take adds a sealed cut to what waits.
func (g *Gatherer) take(seal *Seal, number uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.window.Start == 0 || seal.Window.Start < g.window.Start { // or the clock was set back
		g.window.Start = seal.Window.Start
	}
	g.window.End = max(g.window.End, seal.Window.End)
	g.rows = append(g.rows, seal.Rows...)
	for i := range seal.Books {
		b := &seal.Books[i]
		if mine, ok := g.books[b.Stream]; ok {
			mine.Add(b)
		} else {
			c := *b
			c.Refused = slices.Clone(b.Refused)
			g.books[b.Stream] = &c
		}
	}
	g.through = number
	if len(g.rows) >= BlockRowsMax {
		select {
		case g.due <- struct{}{}:
		default:
		}
	}
}

func cloneBooks(books []Book) []Book {
	out := slices.Clone(books)
	for i := range out {
		out[i].Refused = slices.Clone(out[i].Refused)
	}
	return out
}

// Close freezes what waits and brings it to the store. What the store does not
// take, or not before ctx ends, stays in the spool for the next start. With an
// error not even that is so: what was sealed is safe, and in the log alone.
func (g *Gatherer) Close(ctx context.Context) error {
	close(g.closed)
	stop := context.AfterFunc(ctx, g.cancel)
	defer stop()
	g.working.Wait()
	g.cancel()
	err := g.freeze()
	if err == nil {
		g.shipLast(ctx)
	}
	if closed := g.o.Store.Close(); closed != nil && err == nil {
		err = fmt.Errorf("close the store: %w", closed)
	}
	return err
}

// freezeAll freezes what waits every FlushInterval, or when it is enough.
func (g *Gatherer) freezeAll(ctx context.Context) {
	tick := time.NewTicker(g.o.FlushInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-g.due:
		case <-g.closed:
			return
		case <-ctx.Done():
			return
		}
		if err := g.freeze(); err != nil {
			g.meters.freezeFailures.Inc()
			g.o.Logger.Error("the rows that wait could not be written as blocks; they stay in the log and in memory, and it will be tried again", "error", err)
		}
	}
}

// freeze makes blocks of all that waits.
func (g *Gatherer) freeze() error {
	g.mu.Lock()
	rows, window, books, through := g.rows, g.window, g.books, g.through
	g.rows, g.books, g.freezing = nil, make(map[uint16]*Book), len(rows)
	if len(rows) == 0 && len(books) == 0 {
		g.mu.Unlock()
		return nil
	}
	g.window = Window{Start: window.End} // its end is that of what comes, whatever the clock said before
	g.mu.Unlock()
	rows = mergeRows(rows)
	if err := g.o.Spool.Freeze(rows, sortedBooks(books), window, through); err != nil {
		g.putBack(rows, books, window)
		return err
	}
	g.mu.Lock()
	g.freezing = 0
	g.mu.Unlock()
	return nil
}

func sortedBooks(books map[uint16]*Book) []Book {
	out := make([]Book, 0, len(books))
	for _, b := range books {
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b Book) int { return int(a.Stream) - int(b.Stream) })
	return out
}

// putBack takes back what could not be frozen, before what came meanwhile.
func (g *Gatherer) putBack(rows []Row, books map[uint16]*Book, w Window) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rows, g.freezing = append(rows, g.rows...), 0
	for stream, b := range g.books {
		if mine, ok := books[stream]; ok {
			mine.Add(b)
		} else {
			books[stream] = b
		}
	}
	g.books = books
	g.window = Window{Start: min(w.Start, g.window.Start), End: max(w.End, g.window.End)}
}

// merge adds up what waits for the store, after each FlushInterval.
func (g *Gatherer) merge(ctx context.Context) {
	tick := time.NewTicker(g.o.FlushInterval)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-g.closed:
		case <-ctx.Done():
		}
		cancel()
	}()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := g.o.Spool.Merge(ctx); err != nil {
			g.o.Logger.Warn("the blocks that wait for the store could not be merged; it will be tried again", "error", err)
		}
	}
}

// byKey sorts rows by their key. With a function of two rows, as slices has it,
// each comparison would copy both.
type byKey []Row

func (b byKey) Len() int           { return len(b) }
func (b byKey) Less(i, j int) bool { return CompareKeys(&b[i], &b[j]) < 0 }
func (b byKey) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

// mergeRows sorts rows by key and adds up those of the same key, in place.
func mergeRows(rows []Row) []Row {
	sort.Sort(byKey(rows))
	n := 0
	for i := range rows {
		if n > 0 && CompareKeys(&rows[n-1], &rows[i]) == 0 && rows[n-1].fits(&rows[i]) {
			rows[n-1].Add(&rows[i])
			continue
		}
		rows[n] = rows[i]
		n++
	}
	return rows[:n]
}
