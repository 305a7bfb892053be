package pipeline

import (
	"context"
	"slices"
	"time"

	"github.com/lectern/lectern/storage"
)

// flush is what goes from memory into blocks at once.
type flush struct {
	rows   *storage.Minutes
	books  []storage.Book
	window storage.Window
	mark   storage.Mark
}

const minute = time.Minute

// flushRest is between a flush that failed and the next one, however much waits.
const flushRest = time.Second

// flushEach flushes every FlushInterval, or when too much waits.
func (g *Gatherer) flushEach(ctx context.Context) {
	timer := time.NewTimer(g.untilFlush(time.Now()))
	defer timer.Stop()
	for {
		var err error
		select {
		case <-timer.C:
			timer.Reset(g.untilFlush(time.Now()))
			err = g.flush(g.over(time.Now()))
		case <-g.due:
			g.meters.early.Inc()
			err = g.flush(storage.All)
		case <-ctx.Done():
			return
		}
		if err != nil {
			g.meters.flushFailures.Inc()
			g.o.Logger.Error("the rows that wait could not be written as blocks; they stay in the log and in memory, and it will be tried again", "error", err)
			select {
			case <-time.After(flushRest):
			case <-ctx.Done():
			}
		}
	}
}

// whole says that only minutes that are over are flushed.
func (g *Gatherer) whole() bool { return g.o.FlushInterval >= minute }

// untilFlush is how long after now the next flush is due: Settle behind the end of a
// minute, where only whole ones are flushed.
func (g *Gatherer) untilFlush(now time.Time) time.Duration {
	interval := g.o.FlushInterval
	if !g.whole() {
		return interval
	}
	behind := time.Duration(now.Add(-g.o.Settle).UnixNano()) % interval
	return interval - behind
}

// over is the minute before which all are over now: every minute, where whole ones
// are not waited for.
func (g *Gatherer) over(now time.Time) uint64 {
	if !g.whole() {
		return storage.All
	}
	seconds := max(0, now.Add(-g.o.Settle).Unix()) // whatever the clock says
	return uint64(seconds - seconds%60)
}

// flushAll makes blocks of all that waits, and of what could not be written before.
func (g *Gatherer) flushAll() error {
	if err := g.flush(storage.All); err != nil {
		return err
	}
	return g.flush(storage.All) // where the first call had what was left from before
}

// flush makes blocks of the rows of minutes that begin before the one given, or of
// those that an earlier call could not write.
func (g *Gatherer) flush(before uint64) error {
	g.flushing.Lock()
	defer g.flushing.Unlock()
	f := g.begin(before)
	if f == nil {
		return nil
	}
	if err := g.o.Spool.Flush(f.rows, f.books, f.window, f.mark); err != nil {
		return err
	}
	g.mu.Lock()
	g.pending, g.told = nil, f.mark.Through
	g.days.are(g.rows)
	if g.crowded() { // by what was left, and nothing may come that would say so
		g.wake()
	}
	g.mu.Unlock()
	f.rows.Free()
	return nil
}

// begin takes what is to be flushed out of what waits, nil for nothing.
func (g *Gatherer) begin(before uint64) *flush {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pending != nil {
		return g.pending
	}
	if before < g.mark.Before || !g.divisible(before) { // the clock was set back, or another process's was ahead
		before = storage.All
	}
	f := &flush{rows: g.rows.Take(before), window: g.window, mark: storage.Mark{Through: g.mark.Through, Before: before}}
	f.books = g.splitBooks()
	if f.rows.Len() == 0 && len(f.books) == 0 && f.mark.Through == g.told {
		return nil
	}
	if g.mark.Before = before; before == storage.All {
		g.mark.Before = 0
	}
	if f.window.End == 0 { // no seal since the last flush: the rows are of its time
		f.window = g.flushed
	}
	g.flushed = f.window
	g.window = storage.Window{Start: f.window.End} // its end is that of what comes, whatever the clock said before
	g.pending = f
	return f
}

// divisible says that the books can leave out the events of the minutes that go on.
// They cannot where these events came late: those were sent, and lost, by books that
// are stored already, and what is here has less as sent than as accepted.
func (g *Gatherer) divisible(before uint64) bool {
	for stream, events := range g.rows.Events(before) {
		if books := g.booksOf(stream); len(books) > 0 && storage.Divide(books, events, nil) > 0 {
			return false
		}
	}
	return true
}

// booksOf are the books of a stream that wait, in the order of their classes.
func (g *Gatherer) booksOf(stream uint16) (books []*storage.Book) {
	for class := range storage.Classes {
		if b := g.books[storage.Account{Stream: stream, Class: class}]; b != nil {
			books = append(books, b)
		}
	}
	return books
}

// splitBooks takes the books that wait, ordered by account. An event is accounted for
// together with its row, so that what is stored adds up at any time: those of
// minutes that go on stay in the books that go on.
func (g *Gatherer) splitBooks() []storage.Book {
	stay := make(map[storage.Account]*storage.Book)
	for stream, events := range g.rows.Events(0) {
		storage.Divide(g.booksOf(stream), events, func(b *storage.Book, n uint64) {
			if n > 0 {
				b.Counts[storage.Sent] -= n
				b.Counts[storage.Accepted] -= n
				stay[b.Account()] = &storage.Book{Stream: b.Stream, Class: b.Class, Counts: storage.Counts{storage.Sent: n, storage.Accepted: n}}
			}
		})
	}
	taken := make([]storage.Book, 0, len(g.books))
	for _, b := range g.books {
		b.Compact()
		if !b.IsZero() {
			taken = append(taken, *b)
		}
	}
	g.books, g.named = stay, 0
	slices.SortFunc(taken, func(a, b storage.Book) int { return a.Compare(&b) })
	return taken
}
