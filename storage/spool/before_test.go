package spool

import (
	"testing"

	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// What is from before a point is known until it is stored, also when it was compacted with
// what came behind it; and so are the logs, which the next one lets go.
func TestBefore(t *testing.T) {
	o := testOptions(vfstest.New(1))
	o.LogSize = 64 << 10
	s, _ := mustOpen(t, o)
	for range 3 {
		flushOne(t, s, 10)
	}
	mustSeal(t, s, testSeal(1))
	old := s.log.ID()
	log, err := s.NextLog()
	if err != nil {
		t.Fatal(err)
	}
	if s.log.ID() == old {
		t.Fatal("the log is the same")
	}
	last := s.LastNumber()
	if blocks, files := s.Before(log, last); blocks != 3 || files != 4 {
		t.Errorf("%d blocks and %d files are from before, want 3 segments of a block each, and a log with a seal that is in none", blocks, files)
	}
	for range 5 {
		flushOne(t, s, 10)
	}
	if blocks, files := s.Before(log, last); blocks != 3 || files != 3 {
		t.Errorf("%d blocks and %d files are from before, want those of 3 segments: all of the log is in segments", blocks, files)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.queue); n != 1 {
		t.Fatalf("%d segments, want that into which 8 were compacted", n)
	}
	if blocks, files := s.Before(log, last); blocks != 1 || files != 1 {
		t.Errorf("%d blocks and %d files are from before, want those of the segment that all were compacted into", blocks, files)
	}
	flushOne(t, s, 10)
	b, _, err := s.Oldest()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stored(b.Number); err != nil {
		t.Fatal(err)
	}
	if blocks, files := s.Before(log, last); blocks+files > 0 {
		t.Errorf("%d blocks and %d files are from before, and all are stored", blocks, files)
	}
	if s.Blocks() != 1 {
		t.Errorf("%d blocks wait, want that from behind the point", s.Blocks())
	}
}
