package spool

import (
	"fmt"

	"github.com/lectern/lectern/storage/wal"
)

// Point is a moment in the life of an open spool. What is on its disk from before that
// is known by it.
type Point struct {
	log      uint64 // the first log file that is from behind it
	segments uint64 // of the segments that were made since Open, how many are from before it
}

// NextLog begins a new log file. What was sealed before is in older ones, which go when
// all of it is in segments.
func (s *Spool) NextLog() (Point, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if s.closed {
		return Point{}, errClosed
	}
	if s.place.Free() < s.o.LogSize {
		return Point{}, fmt.Errorf("spool: begin a new log file: %w", wal.ErrFull)
	}
	s.log.NextFile()
	if _, err := s.log.Append(wal.Mark, s.sealed, s.markBody(make([]byte, wal.HeaderSize), unknown)); err != nil {
		return Point{}, fmt.Errorf("spool: begin a new log file: %w", err)
	}
	return Point{log: s.log.ID()}, nil
}

// Flushed is the point with all segments that there are now.
func (s *Spool) Flushed(p Point) Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.segments = s.made
	return p
}

// Before is how many blocks from before the point are not stored, and how many files from
// before it are there, those blocks' files among them. A start is behind no point.
func (s *Spool) Before(p Point) (blocks, files int) {
	s.place.Lock()
	files = s.log.Before(p.log)
	s.place.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queue {
		if q.age <= p.segments {
			blocks += q.left
			files += 1 + len(q.replaced)
		}
	}
	return blocks, files
}
