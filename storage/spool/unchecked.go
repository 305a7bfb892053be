package spool

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

// uncheckedName is a file that is there while block numbers have been given that
// no store was compared with before. It says the last number before these. Without
// it the next start would take them for its own proof: an older copy that made
// blocks while the store was away would pass CheckStore, and its rows be stored
// twice.
const uncheckedName = "unchecked"

// readUnchecked finds the number that CheckStore compares with.
func (r *recovery) readUnchecked() error {
	s := r.s
	s.base = s.last
	text, _, err := s.readSmall(uncheckedName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unread(s.place.Path(uncheckedName), format.ReadError("the file", err))
	}
	collector, number, ok := parseTwoNumbers(uncheckedName, text)
	if !ok {
		s.o.Logger.Warn("spool: a file is damaged and is not looked at", "file", s.place.Path(uncheckedName))
		return nil
	}
	if collector == s.collector {
		s.base, s.noted, s.noting = min(s.base, number), true, true
	}
	return nil
}

// noteUnchecked notes that the next number is given without a word of the store. The
// caller has the place.
func (s *Spool) noteUnchecked() error {
	if s.checked || s.noted {
		return nil
	}
	s.noting = true
	err := s.place.WriteSmall(uncheckedName, func(vfs.File) []byte { return twoNumbers(uncheckedName, s.collector, s.base) })
	if err != nil {
		return fmt.Errorf("note that no store was asked: %w", err)
	}
	s.noted = true
	return nil
}

// passed removes the note, for good before anything is stored. The caller has
// the place.
func (s *Spool) passed() error {
	s.checked = s.checked || !s.noting
	if s.checked {
		return nil
	}
	if err := s.place.RemoveSmall(uncheckedName); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.checked, s.noted, s.noting = true, false, false
	return nil
}
