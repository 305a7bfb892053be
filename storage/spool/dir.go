package spool

import "github.com/lectern/lectern/storage/wal"

// synced notes what follows when all names are durable. The caller has the place.
func (s *Spool) synced() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.queue {
		r.durable = true
		if r.unlinked {
			r.replaced = nil
		}
		s.cover(r.Name.Applied)
	}
}

// Tidy removes what nothing needs any more: segments that were compacted, segments that are
// stored, log files of which all seals are in segments. What fails is tried again
// the next time. Stored and Flush do it by themselves.
func (s *Spool) Tidy() {
	s.mark()
	s.place.Lock()
	defer s.place.Unlock()
	err := s.place.Present() // else what has these names now is another's
	if err == nil {
		err = s.place.Sync()
	}
	if err != nil {
		s.warn("the spool cannot be tidied", err)
		return
	}
	s.removeReplaced()
	s.removeStored()
	s.log.Remove(s.marks().applied.Through)
	s.place.Settle()
}

// mark writes a mark where a stored segment waits for one.
func (s *Spool) mark() {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	s.mu.Lock()
	due := false
	for _, r := range s.queue {
		due = due || r.durable && r.done() && !r.coveredBy(s.durable)
	}
	s.mu.Unlock()
	if !due || s.closed {
		return
	}
	if _, err := s.log.Append(wal.Mark, s.sealed, s.markBody(make([]byte, wal.HeaderSize), unknown)); err != nil {
		s.warn("stored blocks cannot be removed yet", err)
	}
}

// removeReplaced removes the segments that others were compacted into. The caller has
// the place.
func (s *Spool) removeReplaced() {
	s.mu.Lock()
	var by []*queued
	for _, r := range s.queue {
		if r.durable && len(r.replaced) > 0 && !r.unlinked {
			by = append(by, r)
		}
	}
	s.mu.Unlock()
	if len(by) == 0 {
		return
	}
	for _, r := range by {
		unlinked := true
		for i := range r.replaced {
			unlinked = s.place.Remove(r.replaced[i].name.String(), &r.replaced[i].size) && unlinked
		}
		s.mu.Lock()
		r.unlinked = unlinked
		s.mu.Unlock()
	}
	if err := s.place.Sync(); err != nil {
		s.warn("compacted segments cannot be removed yet", err)
		return
	}
	s.token() // they may be stored now
}

// removeStored removes the segments that are stored. The caller has the place.
func (s *Spool) removeStored() {
	s.mu.Lock()
	var gone []*queued
	for _, r := range s.queue {
		if r.durable && r.done() && !r.compacting && r.coveredBy(s.durable) {
			gone = append(gone, r)
		}
	}
	s.mu.Unlock()
	for _, r := range gone {
		if s.removeSegment(r) {
			s.mu.Lock()
			s.drop(r)
			s.mu.Unlock()
		}
	}
}

// removeSegment removes a segment, or sets it aside where it is damaged, and says whether
// it is gone. The caller has the place.
func (s *Spool) removeSegment(q *queued) bool {
	if q.damaged() {
		return s.place.SetAside(q.Name.String())
	}
	return s.place.Remove(q.Name.String(), &q.Size)
}
