package parquet

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
)

func TestOpenReaderSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenReader(filepath.Join(dir, "no")); err == nil || !strings.Contains(err.Error(), "set parquet.dir") {
		t.Errorf("no directory: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReader(file); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file: %v", err)
	}
	newOracle().verify(t, dir)
}

// While blocks come and are merged without pause, a reader sees each block that
// was there before it began, and none twice.
func TestReaderDuringMerge(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	const blocks = 40
	numbers := make(chan uint64, blocks)
	go func() {
		defer close(numbers)
		for n := range uint64(blocks) {
			mustStore(t, s, smallBlock(s.Collector(), n+1, 1, 2))
			numbers <- n + 1
			if n%4 == 3 {
				if err := s.Merge(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for before := range numbers {
		top, err := r.Top(t.Context(), storage.TopQuery{By: storage.ByUser, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		after := last(t, s)
		if len(top) != 2 || top[0].Opens < before || top[0].Opens > after || top[1].Opens != top[0].Opens {
			t.Fatalf("top %+v with %d blocks before and %d after", top, before, after)
		}
		books, err := r.Books(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(books) != 1 || books[0].Stored < 2*before || books[0].Counts[storage.Accepted] < books[0].Stored || books[0].Counts[storage.Accepted] > 2*blocks {
			t.Fatalf("books %+v with %d blocks before", books, before)
		}
	}
}

// Cut short, emptied, or with bytes that are not those written, a file is
// named in the error, and never crashes its reader.
func TestDamagedFiles(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustStore(t, s, spanned(smallBlock(s.Collector(), 1, 1, 2, 3, 4, 5)))
	mustStore(t, s, spanned(smallBlock(s.Collector(), 2, 1, 2)))
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range []table{seen, ledger, reads} { // what Books reads
		path := filepath.Join(dir, string(tree), "day=2024-10-04/20241004T03-000000000001.parquet")
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		spoil := func(bytes []byte) {
			if err := os.WriteFile(path, bytes, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := r.Books(t.Context())
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s with %d of %d bytes: %v", tree, len(bytes), len(whole), err)
			}
			if err := s.mergeDay(t.Context(), tree, filepath.Dir(path)); err == nil {
				t.Errorf("%s with %d of %d bytes was merged", tree, len(bytes), len(whole))
			}
		}
		for length := 0; length < len(whole); length += 1 + len(whole)/40 {
			spoil(whole[:length])
		}
		spoil(make([]byte, len(whole)))
		for range 60 {
			bad := slices.Clone(whole)
			at := rnd.IntN(len(bad))
			bad[at] ^= byte(1 + rnd.IntN(255))
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if books, err := r.Books(t.Context()); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s with byte %d changed: %+v, %v", tree, at, books, err)
			}
			if _, err := r.Top(t.Context(), storage.TopQuery{Limit: 3}); err != nil && !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
		}
		if err := os.WriteFile(path, whole[:len(whole)/2], 0o644); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = mustOpen(t, dir) // the daemon starts all the same
		if last(t, s) != 2 {
			t.Errorf("last number %d", last(t, s))
		}
		mustStore(t, s, spanned(smallBlock(s.Collector(), 1, 1, 2, 3, 4, 5)))
	}
	want := newOracle()
	want.take(spanned(smallBlock(s.Collector(), 1, 1, 2, 3, 4, 5)))
	want.take(spanned(smallBlock(s.Collector(), 2, 1, 2)))
	want.verify(t, dir)
}

func TestPanicsBecomeErrors(t *testing.T) {
	err := guard("some/file", func() error {
		var none []int
		_ = none[len(t.Name())]
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "some/file is damaged") {
		t.Errorf("error %v", err)
	}
}

// Two files that share some blocks, but not all of either, cannot be counted.
func TestOverlappingFiles(t *testing.T) {
	_, _, err := cover([]entry{
		{path: "a/1", blocks: spans{{1, 3}}}, {path: "a/2", blocks: spans{{3, 4}}},
	})
	if err == nil || !strings.Contains(err.Error(), "a/2") {
		t.Errorf("error %v", err)
	}
	keep, covered, err := cover([]entry{
		{path: "a/1", blocks: one(1)}, {path: "a/2", blocks: one(2)}, {path: "a/3", blocks: spans{{1, 2}}},
		{path: "a/4", blocks: one(2), collector: 9}, {path: "a/5", blocks: spans{{1, 2}}},
	})
	if err != nil || len(keep) != 2 || keep[0].path != "a/3" || keep[1].path != "a/4" || len(covered) != 3 {
		t.Errorf("keep %v, covered %v, %v", keep, covered, err)
	}
}

// busyDisk calls between before the operation with the number at.
type busyDisk struct {
	realDisk
	at, ops int
	between func()
}

func (d *busyDisk) op() {
	if d.ops++; d.ops == d.at {
		d.between()
	}
}

func (d *busyDisk) ReadDir(dir string) ([]fs.DirEntry, error) {
	d.op()
	return d.realDisk.ReadDir(dir)
}

func (d *busyDisk) Open(path string) (*os.File, error) {
	d.op()
	return d.realDisk.Open(path)
}

// Before each operation of a reader in turn, all that it could have seen is
// merged, onto the name of a file that was there before too.
func TestReaderWithMergeAtEachStep(t *testing.T) {
	for _, question := range []string{"top", "books"} {
		for at, more := 1, true; more; at++ {
			dir := t.TempDir()
			s := mustOpen(t, dir)
			for _, n := range []uint64{1, 3} {
				mustStore(t, s, smallBlock(s.Collector(), n, 1))
			}
			if err := s.Merge(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustStore(t, s, smallBlock(s.Collector(), 2, 1))
			d := &busyDisk{at: at, between: func() {
				if err := s.Merge(t.Context()); err != nil {
					t.Error(err)
				}
			}}
			r := &Reader{dir: dir, disk: d}
			switch question {
			case "top":
				top, err := r.Top(t.Context(), storage.TopQuery{Limit: 2})
				if want := []storage.TopRow{{Stream: 1, ID: 7, Opens: 3, Others: 1}}; err != nil || !slices.Equal(top, want) {
					t.Errorf("merged before operation %d: %v, %v", at, top, err)
				}
			case "books":
				books, err := r.Books(t.Context())
				if err != nil || len(books) != 1 || books[0].Stored != 3 || books[0].Counts[storage.Accepted] != 3 {
					t.Errorf("merged before operation %d: %+v, %v", at, books, err)
				}
			}
			more = d.ops >= at
		}
	}
}

// A file that a merge replaces under its own name, with a block more, is not
// counted with one block in the first pass and with another in the second.
func TestTopIsOfOneMoment(t *testing.T) {
	for at, more := 1, true; more; at++ {
		dir := t.TempDir()
		s := mustOpen(t, dir)
		for _, n := range []uint64{1, 3} {
			mustStore(t, s, smallBlock(s.Collector(), n, n))
		}
		if err := s.Merge(t.Context()); err != nil {
			t.Fatal(err)
		}
		d := &busyDisk{at: at, between: func() {
			mustStore(t, s, smallBlock(s.Collector(), 2, 2))
			if err := s.Merge(t.Context()); err != nil {
				t.Error(err)
			}
		}}
		top, err := (&Reader{dir: dir, disk: d}).Top(t.Context(), storage.TopQuery{Limit: 2})
		if err != nil || len(top) != 1 || top[0].Opens < 2 || top[0].Opens != top[0].Others {
			t.Errorf("a block more before operation %d: %v, %v", at, top, err)
		}
		more = d.ops >= at
	}
}

// shortListing leaves files out of the first listing of a folder, as one does
// that runs while a merge makes one file and removes the others.
type shortListing struct {
	realDisk
	only string
}

func (d *shortListing) ReadDir(dir string) ([]fs.DirEntry, error) {
	list, err := d.realDisk.ReadDir(dir)
	if strings.Contains(dir, dayPrefix) && d.only != "" {
		list = slices.DeleteFunc(list, func(f fs.DirEntry) bool { return f.Name() != d.only })
		d.only = ""
	}
	return list, err
}

func TestReaderWithListingDuringMerge(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustStore(t, s, smallBlock(s.Collector(), 1, 1))
	mustStore(t, s, smallBlock(s.Collector(), 2, 1))
	const first = "20241004T03-000000000001.parquet"
	path := filepath.Join(dir, "reads/day=2024-10-04", first)
	bytes, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes, 0o644); err != nil { // not removed yet
		t.Fatal(err)
	}
	r := &Reader{dir: dir, disk: &shortListing{only: first}}
	top, err := r.Top(t.Context(), storage.TopQuery{Limit: 2})
	if err != nil || len(top) != 1 || top[0].Opens != 2 {
		t.Errorf("top %v, %v", top, err)
	}
}
