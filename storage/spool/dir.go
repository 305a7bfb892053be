package spool

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/lectern/lectern/storage/vfs"
)

const (
	tempSuffix = ".tmp"
	badSuffix  = ".bad"
)

// create makes a file with a temporary name. The caller has dirMu.
func (s *Spool) create() (f vfs.File, temp string, err error) {
	if err := s.Present(); err != nil {
		return nil, "", err
	}
	s.temps++
	temp = fmt.Sprintf("%d%s", s.temps, tempSuffix)
	f, err = s.files.Create(s.path(temp))
	return f, temp, err
}

// writeText writes a small file and gives it its name, in place of one that was
// there. The caller has dirMu.
func (s *Spool) writeText(name string, text func(vfs.File) []byte) error {
	f, temp, err := s.create()
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(text(f), 0); err == nil {
		err = f.Sync()
	}
	_ = f.Close() // Sync said what there is to say
	if err == nil {
		err = s.rename(temp, name)
	}
	if err != nil {
		s.discard(temp)
	}
	return err
}

// discard removes a temporary file; what is left over, the next start removes.
func (s *Spool) discard(temp string) { _ = s.files.Remove(s.path(temp)) }

// rename gives a file its name. The changes before it are durable first, so that
// no segment can be there without those that were frozen before it. The caller has
// dirMu.
func (s *Spool) rename(from, to string) error {
	if err := s.syncDir(); err != nil {
		return err
	}
	if err := s.files.Rename(s.path(from), s.path(to)); err != nil {
		return err
	}
	s.dirty = true
	return nil
}

// syncDir makes the directory's changes durable, where there are any, and notes
// what follows from that. The caller has dirMu.
func (s *Spool) syncDir() error {
	if !s.dirty {
		return nil
	}
	if err := s.files.SyncDir(s.o.Dir); err != nil {
		return fmt.Errorf("sync the directory %s: %w", s.o.Dir, err)
	}
	s.dirty = false
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.queue {
		r.durable = true
		if r.unlinked {
			r.replaced = nil
		}
		s.cover(r.Name.Applied)
	}
	return nil
}

// tidy removes what nothing needs any more: segments that were merged, segments that are
// stored, log files of which all seals are in segments. What fails is tried again
// the next time.
func (s *Spool) tidy() {
	s.mark()
	s.dirMu.Lock()
	defer s.dirMu.Unlock()
	err := s.Present() // else what has these names now is another's
	if err == nil {
		err = s.syncDir()
	}
	if err != nil {
		s.warn("the spool cannot be tidied", err)
		return
	}
	s.removeReplaced()
	s.removeStored()
	s.removeLogs()
	if err := s.quota.settle(); err != nil {
		s.warn("room on the disk is not reserved", err)
	}
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
	if _, err := s.put(kindMark, s.sealed, s.appendMark(nil, streamUnknown)); err != nil {
		s.warn("stored blocks cannot be removed yet", err)
	}
}

// removeReplaced removes the segments that others were merged into. The caller has
// dirMu.
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
			unlinked = s.remove(r.replaced[i].name.String(), &r.replaced[i].size, false) && unlinked
		}
		s.mu.Lock()
		r.unlinked = unlinked
		s.mu.Unlock()
	}
	if err := s.syncDir(); err != nil {
		s.warn("merged segments cannot be removed yet", err)
		return
	}
	s.token() // they may be stored now
}

// removeStored removes the segments that are stored. The caller has dirMu.
func (s *Spool) removeStored() {
	s.mu.Lock()
	var gone []*queued
	for _, r := range s.queue {
		if r.durable && r.done() && !r.merging && r.coveredBy(s.durable) {
			gone = append(gone, r)
		}
	}
	s.mu.Unlock()
	for _, r := range gone {
		if s.remove(r.Name.String(), &r.Size, r.damaged()) {
			s.mu.Lock()
			s.drop(r)
			s.mu.Unlock()
		}
	}
}

// removeLogs removes the log files that nothing needs. The caller has dirMu.
func (s *Spool) removeLogs() {
	s.mu.Lock()
	through := s.applied.Through
	s.mu.Unlock()
	left := s.logs[:0]
	for _, l := range s.logs {
		if l.id >= s.log.id || l.newest > through || !s.remove(logName(l.id), &l.size, l.damaged) {
			left = append(left, l)
		}
	}
	s.logs = left
	s.countLogs()
}

// remove removes a file, or sets it aside where it is damaged, and says whether
// it is gone. The size is 0 afterwards, so that it is taken off once. The caller
// has dirMu.
func (s *Spool) remove(name string, size *int64, damaged bool) bool {
	if damaged {
		if err := s.files.Rename(s.path(name), s.path(name+badSuffix)); err != nil {
			s.warn("a damaged file cannot be renamed", err)
			return false
		}
		s.dirty = true
		return true
	}
	if err := s.files.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.warn("a file cannot be removed", err)
		return false
	}
	s.dirty = true
	s.quota.removed(*size)
	*size = 0
	return true
}
