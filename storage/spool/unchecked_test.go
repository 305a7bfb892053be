package spool

import (
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// An older copy that makes blocks while the store is away is refused at the next
// start as well: the numbers that it gave meanwhile prove nothing.
func TestOlderCopyIsRefusedAfterBlocks(t *testing.T) {
	dir := t.TempDir()
	const inStore = 3 // which the directory does not know of
	for start := range 3 {
		s, _, err := Open(Options{Dir: dir, SizeMax: 1 << 30, LogSize: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			seal := &Seal{Rows: []storage.Row{{Minute: 60, Content: 1, Opens: 1}}, Window: storage.Window{Start: 1, End: 2}}
			n, err := sealOne(s, seal)
			if err == nil {
				err = flushRows(s, seal.Rows, nil, seal.Window, n)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.CheckStore(inStore); err == nil || !strings.Contains(err.Error(), "older copy") {
			t.Errorf("start %d, with block %d: the store's block %d says %v", start, s.LastNumber(), inStore, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Blocks made while the store is away are stored later, and no start after that is
// refused for them, also when they take several.
func TestBlocksOfAnOutagePass(t *testing.T) {
	dir := t.TempDir()
	var inStore uint64
	for start := range 6 {
		s, _, err := Open(Options{Dir: dir, SizeMax: 1 << 30, LogSize: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		seal := &Seal{Rows: []storage.Row{{Minute: 60, Content: 1, Opens: 1}}, Window: storage.Window{Start: 1, End: 2}}
		n, err := sealOne(s, seal)
		if err == nil {
			err = flushRows(s, seal.Rows, nil, seal.Window, n)
		}
		if err != nil {
			t.Fatal(err)
		}
		if start >= 2 { // the store is there
			if err := s.CheckStore(inStore); err != nil {
				t.Fatalf("start %d: %v", start, err)
			}
			b, ok, err := s.Oldest()
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			inStore = b.Number
			if err := s.Stored(b.Number); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if inStore != 4 {
		t.Errorf("the last block in the store is %d", inStore)
	}
}

// A note that may be there, although its writing failed, is removed as well before
// anything is stored: else the next start would be refused.
func TestNoteThatFailedIsRemoved(t *testing.T) {
	m := vfstest.New(1)
	s, _, err := Open(testOptions(m))
	if err != nil {
		t.Fatal(err)
	}
	n := mustSeal(t, s, testSeal(1))
	noted := false
	m.Fault = func(o vfstest.Op) error {
		if o.What == "rename" && o.Name == uncheckedName {
			noted = true
		} else if o.What == "syncdir" && noted {
			return vfstest.ErrFault
		}
		return nil
	}
	if err := flushRows(s, []storage.Row{row(1)}, nil, storage.Window{Start: 1, End: 2}, n); err == nil || !noted {
		t.Fatalf("the note was durable: %v", err)
	}
	m.Fault = nil
	if err := s.CheckStore(0); err != nil {
		t.Fatal(err)
	}
	if err := flushRows(s, []storage.Row{row(1)}, nil, storage.Window{Start: 1, End: 2}, n); err != nil {
		t.Fatal(err)
	}
	last := storeAll(t, s)
	m.Kill()
	if s, _, err = Open(testOptions(m)); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckStore(last); last == 0 || err != nil {
		t.Errorf("block %d is stored: %v", last, err)
	}
}
