package spool

import (
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// What waits is known by its rows, over a restart too, and how many of its blocks
// want a person.
func TestRowsAndParkedBlocks(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	want := func(rows, parked int) {
		t.Helper()
		if s.Rows() != rows || s.Parked() != parked {
			t.Errorf("%d rows wait, %d blocks are parked; want %d and %d", s.Rows(), s.Parked(), rows, parked)
		}
	}
	want(0, 0)
	seal := testSeal(1)
	seal.Rows = append(seal.Rows, row(2), row(3))
	seal.Rows[2].Minute += day // a block of its own
	number := mustSeal(t, s, seal)
	if err := flushRows(s, seal.Rows, nil, seal.Window, number); err != nil {
		t.Fatal(err)
	}
	want(3, 0)
	oldest := func() *storage.Block {
		t.Helper()
		b, ok, err := s.Oldest()
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		return b
	}
	first := oldest()
	s.Park(first.Number)
	want(3, 1)
	if n := s.Unpark(); n != 1 {
		t.Errorf("%d blocks are tried again", n)
	}
	want(3, 0)
	s.Park(first.Number)
	m.Kill()
	s, _ = mustOpen(t, testOptions(m))
	want(3, 0) // each is tried again
	if err := s.Stored(oldest().Number); err != nil {
		t.Fatal(err)
	}
	want(1, 0)
	if err := s.Stored(oldest().Number); err != nil {
		t.Fatal(err)
	}
	want(0, 0)
}
