package collector

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// ended are what the books of all windows that have ended add up to, so that the loops
// write each number once, into the book of the running one: for each stream that has a
// name, and for all others together, by class. Anybody may make up numbers, so these
// have none of their own.
type ended struct {
	mu    sync.Mutex // protects books; held from before a cut takes those of the loops until they are in them
	books books
}

// others is where all streams without names stand.
const others = wire.StreamReserved

// add adds the books of a window. The mutex is held.
func (e *ended) add(window books, streams *streamTable) {
	for a, k := range window {
		if streams.of[a.Stream] == 0 {
			a.Stream = others
		}
		e.books.of(a).Counts.AddAll(&k.Counts)
	}
}

// totals are what all loops have counted since they started, by class. Of each loop
// it is of one instant, so that in the sum, too, every event sent is accounted for.
func (c *cutter) totals() (of [storage.Classes]storage.Book) {
	c.ended.mu.Lock()
	defer c.ended.mu.Unlock()
	add := func(some books) {
		for a, k := range some {
			of[a.Class].Counts.AddAll(&k.Counts)
		}
	}
	add(c.ended.books)
	for _, s := range c.shards {
		s.Lock()
		add(s.books)
		s.Unlock()
	}
	return of
}

// total is the sum of totals.
func (c *cutter) total() (sum storage.Book) {
	of := c.totals()
	for class := range of {
		sum.Add(&of[class])
	}
	return sum
}

// StreamBook is what the books of a stream add up to since the start, in one class.
type StreamBook struct {
	Name string // "" for all streams together that have none
	Book storage.Book
}

// StreamBooks returns the books of each stream that has a name, and of all others
// together under the reserved number, as they were when the last window ended. So all
// of them are of one instant. A stream of which nothing came has none.
func (c *Collector) StreamBooks() []StreamBook {
	e, streams := &c.cuts.ended, c.rules.streams.Load()
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]StreamBook, 0, len(e.books))
	for a, k := range e.books {
		all = append(all, StreamBook{Name: streams.find(a.Stream).Name, Book: *k})
	}
	slices.SortFunc(all, func(a, b StreamBook) int { return a.Book.Compare(&b.Book) })
	return all
}

// writeMetrics writes a line for each stream and counter, those also that are 0.
func (e *ended) writeMetrics(w io.Writer, streams *streamTable) {
	e.mu.Lock()
	defer e.mu.Unlock()
	const name = "lectern_stream_events_total"
	family(w, name, "counter")
	write := func(number uint16, stream, called string) {
		b := new(storage.Book)
		for class := range storage.Classes {
			if of := e.books[storage.Account{Stream: number, Class: class}]; of != nil {
				b.Add(of)
			}
		}
		for c := range storage.Plain {
			fmt.Fprintf(w, "%s{stream=%q,name=%q,counter=%q} %d\n", name, stream, called, c.String(), b.Counts[c])
		}
		fmt.Fprintf(w, "%s{stream=%q,name=%q,counter=\"refused\"} %d\n", name, stream, called, b.RefusedEvents())
	}
	for i := range streams.list[1:] {
		of := &streams.list[i+1]
		write(of.Number, fmt.Sprint(of.Number), of.Name)
	}
	write(others, "others", "")
}
