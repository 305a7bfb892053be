package storage

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// GathererOptions configure a Gatherer.
type GathererOptions struct {
	Store          Store
	Collector      uint64        // who numbers the blocks
	FlushInterval  time.Duration // the longest that rows wait before they are put into blocks
	RowsWaitingMax int           // rows that may be in memory: waiting for a block, or in one not stored yet
	Metrics        *metrics.Set
	Logger         *slog.Logger
}

// Gatherer takes cuts, adds rows of the same key up, makes blocks of them and
// brings the blocks to the store, oldest first, each until it is there.
//
// While the store is slow or away the waiting rows are merged further, so that
// it costs memory by distinct keys and not by time; at RowsWaitingMax no more
// cuts are taken.
type Gatherer struct {
	o GathererOptions

	mu     sync.Mutex // protects the fields below
	rows   []Row      // waiting; the first of them are sorted with no key twice
	merged int        // how many of them are
	books  map[uint16]*Book
	window Window
	held   int // rows that were taken out of rows and are not stored yet

	due    chan struct{} // enough rows for a block
	closed chan struct{} // Close has been called
	done   chan struct{} // everything has been shipped, or given up
	cancel context.CancelFunc
	err    error // why not everything was stored; read after done

	number uint64       // of the last block made
	spare  []Row        // memory of rows for the next turn
	parked []*Block     // those that the store will never take as they are
	away   atomic.Int64 // blocks made and not stored
	meters meters
}

// NewGatherer returns a Gatherer that works until Close.
func NewGatherer(o GathererOptions) *Gatherer {
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gatherer{
		o:     o,
		books: make(map[uint16]*Book),
		due:   make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{}),
		cancel: cancel, number: o.Store.LastNumber(),
	}
	g.register(o.Metrics)
	go g.run(ctx)
	return g
}

// Room is how many more rows may come.
func (g *Gatherer) Room() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.o.RowsWaitingMax - len(g.rows) - g.held
}

// Take takes what a cut brought. The slices are the caller's again afterwards.
func (g *Gatherer) Take(w Window, rows []Row, books []Book) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.window.Start == 0 {
		g.window.Start = w.Start
	}
	g.window.End = w.End
	g.rows = append(g.rows, rows...)
	for i := range books {
		b := &books[i]
		if mine, ok := g.books[b.Stream]; ok {
			mine.Add(b)
		} else {
			c := *b
			c.Refused = slices.Clone(b.Refused)
			g.books[b.Stream] = &c
		}
	}
	if len(g.rows) >= BlockRowsMax {
		select {
		case g.due <- struct{}{}:
		default:
		}
	}
}

// Close stores everything that was taken and lets go of the store. When ctx
// ends first, it returns what could not be stored as an error.
func (g *Gatherer) Close(ctx context.Context) error {
	close(g.closed)
	select {
	case <-g.done:
	case <-ctx.Done():
		g.cancel()
		<-g.done
	}
	g.cancel()
	if err := g.o.Store.Close(); err != nil && g.err == nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return g.err
}

// run makes blocks when it is time, and has them shipped one batch after the
// other. What becomes due while a batch is on its way is merged meanwhile.
func (g *Gatherer) run(ctx context.Context) {
	defer close(g.done)
	tick := time.NewTicker(g.o.FlushInterval)
	defer tick.Stop()
	var shipping chan error // gets the outcome of the batch that is on its way
	ship := func() {
		if blocks := g.freeze(); len(blocks) > 0 {
			shipping = make(chan error, 1)
			go func(outcome chan<- error) { outcome <- g.ship(ctx, blocks) }(shipping)
		}
	}
	owed := false // a flush came due while a batch was on its way
	for {
		select {
		case <-tick.C:
			owed = true
		case <-g.due:
			owed = true
			if shipping != nil {
				g.compact()
			}
		case err := <-shipping:
			shipping = nil
			if err != nil {
				g.err = err
				return
			}
		case <-g.closed:
			g.last(ctx, shipping)
			return
		}
		if owed && shipping == nil {
			owed = false
			ship()
		}
	}
}

// last ships what there is at the end.
func (g *Gatherer) last(ctx context.Context, shipping <-chan error) {
	if shipping != nil {
		if g.err = <-shipping; g.err != nil {
			return
		}
	}
	if g.err = g.ship(ctx, g.freeze()); g.err != nil {
		return
	}
	// A last try: perhaps somebody has mended the table.
	for _, b := range g.parked {
		if answer, err := g.o.Store.Store(ctx, b); answer != Stored {
			g.err = fmt.Errorf("block %d with %d rows is not stored: %w", b.Number, b.Rows.Len(), err)
			continue
		}
		g.stored(b)
	}
}

// freeze makes blocks of all that waits. The books go with the first.
func (g *Gatherer) freeze() []*Block {
	g.mu.Lock()
	rows, window := g.rows, g.window
	books := make([]Book, 0, len(g.books))
	for _, b := range g.books {
		books = append(books, *b)
	}
	slices.SortFunc(books, func(a, b Book) int { return int(a.Stream) - int(b.Stream) })
	g.rows, g.spare, g.merged = g.spare[:0], nil, 0
	g.books = make(map[uint16]*Book)
	g.window.Start = window.End
	g.held += len(rows)
	g.mu.Unlock()

	before := len(rows)
	rows = mergeRows(rows)
	var blocks []*Block
	for left := rows; len(left) > 0; {
		n := blockLength(left)
		b := &Block{Collector: g.o.Collector, Day: left[0].Day(), Window: window}
		b.Rows.Grow(n)
		for i := range left[:n] {
			b.Rows.Append(&left[i])
		}
		blocks = append(blocks, b)
		left = left[n:]
	}
	if len(blocks) == 0 && len(books) > 0 {
		blocks = append(blocks, &Block{Collector: g.o.Collector, Window: window})
	}
	for i, b := range blocks {
		if i == 0 {
			b.Books = books
		}
		g.number++
		b.Number = g.number
	}
	g.away.Add(int64(len(blocks)))
	g.mu.Lock()
	g.held -= before - len(rows)
	if g.spare == nil {
		g.spare = rows
	}
	g.mu.Unlock()
	return blocks
}

// blockLength is how many of the sorted rows make the next block: of one day,
// and BlockRowsMax at the most.
func blockLength(rows []Row) int {
	most := min(len(rows), BlockRowsMax)
	if rows[most-1].Day() == rows[0].Day() {
		return most
	}
	n, _ := slices.BinarySearchFunc(rows[:most], rows[0].Day()+1, func(r Row, day uint32) int {
		return int(int64(r.Day()) - int64(day))
	})
	return n
}

// compact merges the waiting rows among themselves once there are twice as many
// as after the last time.
func (g *Gatherer) compact() {
	g.mu.Lock()
	rows := g.rows
	if len(rows) < 2*g.merged {
		g.mu.Unlock()
		return
	}
	g.rows = nil
	g.held += len(rows)
	g.mu.Unlock()

	before := len(rows)
	rows = mergeRows(rows)

	g.mu.Lock()
	g.merged = len(rows)
	g.rows = append(rows, g.rows...)
	g.held -= before
	g.mu.Unlock()
}

// mergeRows sorts rows by key and adds up those of the same key, in place.
func mergeRows(rows []Row) []Row {
	slices.SortFunc(rows, func(a, b Row) int { return CompareKeys(&a, &b) })
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
