package collector

import (
	"fmt"
	"io"
	"sync"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// streamSums are what the books of all windows that have ended add up to, for each
// stream that has a name, and for all others together. Anybody may make up numbers,
// so these have no labels of their own.
type streamSums struct {
	mu sync.Mutex // protects of
	of map[uint16]*storage.Book
}

// others is where all streams without names stand.
const others = wire.StreamReserved

// add adds the books of a window.
func (s *streamSums) add(books []storage.Book, streams *streamTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[uint16]*storage.Book)
	}
	for i := range books {
		number := books[i].Stream
		if streams.of[number] == 0 {
			number = others
		}
		if s.of[number] == nil {
			s.of[number] = new(storage.Book)
		}
		s.of[number].Add(&storage.Book{Counts: books[i].Counts})
	}
}

// writeMetrics writes a line for each stream and counter, those also that are 0.
func (s *streamSums) writeMetrics(w io.Writer, streams *streamTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const name = "lectern_stream_events_total"
	family(w, name, "counter")
	write := func(number uint16, stream, called string) {
		b := s.of[number]
		if b == nil {
			b = new(storage.Book)
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
