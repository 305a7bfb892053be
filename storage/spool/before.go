package spool

import (
	"fmt"

	"github.com/lectern/lectern/storage/wal"
)

// NextLog begins a new log file and returns its id. What was sealed before is in older
// ones, which go when all of it is in segments.
func (s *Spool) NextLog() (id uint64, err error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if s.closed {
		return 0, errClosed
	}
	if s.place.Free() < s.o.LogSize {
		return 0, fmt.Errorf("spool: begin a new log file: %w", wal.ErrFull)
	}
	s.log.NextFile()
	if _, err := s.log.Append(wal.Mark, s.sealed, s.markBody(make([]byte, wal.HeaderSize), unknown)); err != nil {
		return 0, fmt.Errorf("spool: begin a new log file: %w", err)
	}
	return s.log.ID(), nil
}

// Before is how many of the blocks up to a number are not stored, those included that
// these were compacted into, and how many files are there: those blocks' own, and logs from
// before the one with that id.
func (s *Spool) Before(log, number uint64) (blocks, files int) {
	s.place.Lock()
	files = s.log.Before(log)
	s.place.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queue {
		if q.oldest <= number {
			blocks += q.left
			files += 1 + len(q.replaced)
		}
	}
	return blocks, files
}
