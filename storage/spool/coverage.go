package spool

import "github.com/lectern/lectern/storage"

// coverage says which rows are in runs: those of all seals up to through, and of
// the seals up to part, those of minutes that begin before before, in Unix seconds.
// From one run to the next part does not become less, nor, with the same part,
// before.
type coverage struct {
	through, part uint64
	before        uint32
}

// with is the later of both.
func (c coverage) with(o coverage) coverage {
	later := o.part > c.part || o.part == c.part && o.before > c.before
	if later {
		c.part, c.before = o.part, o.before
	}
	c.through = max(c.through, o.through)
	return c
}

// knows says that everything that o covers is covered.
func (c coverage) knows(o coverage) bool { return c.with(o) == c }

// has says whether the rows of a minute that a seal brought are covered.
func (c coverage) has(seal uint64, minute uint32) bool {
	return seal <= c.through || seal <= c.part && minute < c.before
}

// parted says that some of the rows of a seal may be covered, and some not.
func (c coverage) parted(seal uint64) bool { return seal > c.through && seal <= c.part }

// sealed is what is known of a seal that has rows and is not covered.
type sealRows struct {
	number uint64
	rows   int
	bytes  int    // of its rows
	newest uint32 // of their minutes
}

// after is the coverage when a run with the rows of a mark is durable. The caller
// has mu.
func (s *Spool) after(m storage.Mark) coverage {
	if m.Before == storage.All {
		return s.coverage.with(coverage{through: m.Through, part: m.Through})
	}
	c := s.coverage.with(coverage{part: m.Through, before: uint32(m.Before)})
	for _, w := range s.waiting {
		if w.number > m.Through || w.newest >= c.before {
			c.through = max(c.through, min(w.number-1, m.Through))
			return c
		}
	}
	c.through = max(c.through, m.Through)
	return c
}

// covered notes what is in durable runs. The caller has mu.
func (s *Spool) cover(c coverage) {
	s.coverage = s.coverage.with(c)
	n := 0
	for n < len(s.waiting) && s.waiting[n].number <= s.through {
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
