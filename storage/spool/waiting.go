package spool

import (
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/segment"
)

// sealRows is what is known of a seal that has rows and is not covered.
type sealRows struct {
	number uint64
	rows   int
	bytes  int    // of its rows
	newest uint32 // of their minutes
}

// after is what is applied when a segment with the rows of a mark is durable. The caller
// has mu.
func (s *Spool) after(m storage.Mark) segment.Applied {
	if m.Before == storage.All {
		return s.applied.With(segment.Applied{Through: m.Through, Part: m.Through})
	}
	c := s.applied.With(segment.Applied{Part: m.Through, Before: uint32(m.Before)})
	for _, w := range s.waiting {
		if w.number > m.Through || w.newest >= c.Before {
			c.Through = max(c.Through, min(w.number-1, m.Through))
			return c
		}
	}
	c.Through = max(c.Through, m.Through)
	return c
}

// covered notes what is in durable segments. The caller has mu.
func (s *Spool) cover(c segment.Applied) {
	s.applied = s.applied.With(c)
	n := 0
	for n < len(s.waiting) && s.waiting[n].number <= s.applied.Through {
		n++
	}
	s.waiting = append(s.waiting[:0], s.waiting[n:]...)
}

// waitingBytes is what the rows of all seals that are not covered take.
func waitingBytes(seals []sealRows) (n int64) {
	for _, w := range seals {
		n += int64(w.bytes)
	}
	return n
}
