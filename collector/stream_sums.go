package collector

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// streamSums are what the books of all windows that have ended add up to, for each
// stream that has a name, and for all others together, by class. Anybody may make up
// numbers, so these have no labels of their own.
type streamSums struct {
	mu sync.Mutex // protects of
	of map[storage.Account]*storage.Book
}

// others is where all streams without names stand.
const others = wire.StreamReserved

// add adds the books of a window.
func (s *streamSums) add(books []storage.Book, streams *streamTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[storage.Account]*storage.Book)
	}
	for i := range books {
		account := books[i].Account()
		if streams.of[account.Stream] == 0 {
			account.Stream = others
		}
		if s.of[account] == nil {
			s.of[account] = &storage.Book{Stream: account.Stream, Class: account.Class}
		}
		s.of[account].Add(&storage.Book{Counts: books[i].Counts})
	}
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
	return c.cuts.byStream.books(c.rules.streams.Load())
}

func (s *streamSums) books(streams *streamTable) []StreamBook {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]StreamBook, 0, len(s.of))
	for account, b := range s.of {
		all = append(all, StreamBook{Name: streams.find(account.Stream).Name, Book: *b})
	}
	slices.SortFunc(all, func(a, b StreamBook) int { return a.Book.Compare(&b.Book) })
	return all
}

// writeMetrics writes a line for each stream and counter, those also that are 0.
func (s *streamSums) writeMetrics(w io.Writer, streams *streamTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const name = "lectern_stream_events_total"
	family(w, name, "counter")
	write := func(number uint16, stream, called string) {
		b := new(storage.Book)
		for class := range storage.Classes {
			if of := s.of[storage.Account{Stream: number, Class: class}]; of != nil {
				b.Add(of)
			}
		}
		for c := range storage.Plain {
			fmt.Fprintf(w, "%s{stream=%q,name=%q,counter=%q} %d\n", name, stream, called, c.String(), b.Counts[c])
		}
		fmt.Fprintf(w, "%s{stream=%q,name=%q,counter=\"refused\"} %d\n", name, stream, called, b.RefusedEvents())
	}
	for _, o := range streams.list[1:] {
		write(o.Number, fmt.Sprint(o.Number), o.Name)
	}
	write(others, "others", "")
}
