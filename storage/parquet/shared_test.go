package parquet

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
)

// Two stores that share a directory do not see each other's files, readers see
// all, and a third one that does not share stays out.
func TestSharedDirectory(t *testing.T) {
	dir := t.TempDir()
	openShared := func(collector uint64) *Store {
		t.Helper()
		s, err := Open(Options{Dir: dir, Collector: collector, Shared: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := openShared(0xA)
	half := filepath.Join(dir, "reads", "day=2024-10-04", tempPrefix+"20241004T03-c000000000000000a-000000000009.parquet")
	mustStore(t, a, smallBlock(0xA, 1, 1, 2))
	mustStore(t, a, smallBlock(0xA, 2, 1, 2, 3))
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := openShared(0xB) // while a writes
	if _, err := os.Stat(half); err != nil {
		t.Error("what another process is writing is gone:", err)
	}
	for _, o := range []Options{{Dir: dir}, {Dir: dir, Collector: 0xC}} {
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "another process writes here") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	mustStore(t, b, smallBlock(0xB, 1, 1))
	mustStore(t, b, smallBlock(0xB, 2, 7))
	for _, s := range []*Store{a, b} {
		if err := s.Merge(context.Background()); err != nil {
			t.Fatal(err)
		}
		if last, err := s.LastNumber(t.Context()); last != 2 || err != nil {
			t.Errorf("the last block is %d, %v", last, err)
		}
	}
	// The process of a has ended; b stores a last block of it, and one again.
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	heir, err := b.Beside(0xA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); err == nil {
		t.Error("what the dead process was writing is still there")
	}
	if last, err := heir.LastNumber(t.Context()); last != 2 || err != nil {
		t.Errorf("the heir knows of %d blocks, %v", last, err)
	}
	mustStore(t, heir, smallBlock(0xA, 2, 1, 2, 3))
	mustStore(t, heir, smallBlock(0xA, 3, 4))
	if answer, err := heir.Store(t.Context(), smallBlock(0xB, 9, 4)); answer != storage.Never {
		t.Errorf("it takes blocks of b: %v, %v", answer, err)
	}
	for _, s := range []*Store{heir, b} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := newOracle()
	for _, block := range []*storage.Block{
		smallBlock(0xA, 1, 1, 2), smallBlock(0xA, 2, 1, 2, 3), smallBlock(0xA, 3, 4), smallBlock(0xB, 1, 1), smallBlock(0xB, 2, 7),
	} {
		want.take(block)
	}
	want.verify(t, dir)

	// One that does not share has it alone again.
	alone, err := Open(Options{Dir: dir, Collector: 0xA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Collector: 0xB, Shared: true}); err == nil || !strings.Contains(err.Error(), "does not share") {
		t.Error(err)
	}
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file of another collector that cannot be read says nothing of the numbers of
// this one, nor keeps it from merging; one that its process has just removed is
// no news.
func TestUnreadableFileOfAnother(t *testing.T) {
	dir := t.TempDir()
	var log strings.Builder
	open := func(collector uint64, o Options) *Store {
		t.Helper()
		o.Dir, o.Collector, o.Logger = dir, collector, slog.New(slog.NewTextHandler(&log, nil))
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	other := open(0xA, Options{Shared: true})
	mustStore(t, other, smallBlock(0xA, 500, 1))
	folder := filepath.Join(dir, "reads", "day=2024-10-04")
	damaged := filepath.Join(folder, "20241004T03-c000000000000000a-000000000500.parquet")
	if err := os.WriteFile(damaged, []byte("PAR1 no more"), 0o600); err != nil {
		t.Fatal(err)
	}
	mine := open(0xB, Options{Shared: true})
	if n := last(t, mine); n != 0 {
		t.Errorf("the last number is %d, of another collector", n)
	}
	if !strings.Contains(log.String(), damaged) {
		t.Error("nobody is told of the damaged file")
	}
	mustStore(t, mine, smallBlock(0xB, 1, 1))
	mustStore(t, mine, smallBlock(0xB, 2, 1))
	if err := mine.Merge(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "20241004T03-c000000000000000b-000000000001-000000000002.parquet")); err != nil {
		t.Error("the files are not merged:", err)
	}

	// As a listing shows a file that goes before it is looked at.
	log.Reset()
	if err := os.Remove(damaged); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("gone", damaged); err != nil {
		t.Fatal(err)
	}
	third := open(0xC, Options{Shared: true})
	if n := last(t, third); n != 0 || log.Len() > 0 {
		t.Errorf("the last number is %d; it says %s", n, log.String())
	}
	for _, s := range []*Store{other, mine, third} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
