package parquet

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
)

var errInjected = errors.New("injected")

// quickDisk is the real one without its syncs: only the end of the machine would show
// what they are for, and a busy disk takes seconds for them.
type quickDisk struct{ realDisk }

func (d quickDisk) Create(path string) (file, error) {
	f, err := d.realDisk.Create(path)
	return quickFile{f}, err
}

func (quickDisk) SyncDir(dir string) error {
	_, err := os.Stat(dir)
	return err
}

type quickFile struct{ file }

func (quickFile) Sync() error { return nil }

// faultyDisk fails the operation with the number fail, counted from 1, and with
// crash all later ones too, as for a process that has died. It also watches that
// what must be durable before the next step is.
type faultyDisk struct {
	quickDisk
	t      *testing.T
	crash  bool
	fail   int
	ops    int
	synced map[string]bool   // files whose content is durable
	named  map[string]string // renames not durable yet, by the new path: their directory
}

func newFaultyDisk(t *testing.T) *faultyDisk {
	return &faultyDisk{t: t, synced: map[string]bool{}, named: map[string]string{}}
}

func (d *faultyDisk) op() error {
	d.ops++
	if d.ops == d.fail || d.crash && d.fail > 0 && d.ops > d.fail {
		return fmt.Errorf("operation %d: %w", d.ops, errInjected)
	}
	return nil
}

func (d *faultyDisk) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	return d.quickDisk.ReadDir(dir)
}

func (d *faultyDisk) Open(path string) (*os.File, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	return d.quickDisk.Open(path)
}

func (d *faultyDisk) Mkdir(dir string) error {
	if err := d.op(); err != nil {
		return err
	}
	return d.quickDisk.Mkdir(dir)
}

func (d *faultyDisk) Create(path string) (file, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	f, err := d.quickDisk.Create(path)
	return &faultyFile{f, d, path}, err
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.op(); err != nil {
		return err
	}
	if !d.synced[from] {
		d.t.Errorf("%s got its name before its content was durable", to)
	}
	d.named[to] = filepath.Dir(to)
	return d.quickDisk.Rename(from, to)
}

func (d *faultyDisk) Remove(path string) error {
	if err := d.op(); err != nil {
		return err
	}
	if !strings.HasPrefix(filepath.Base(path), tempPrefix) {
		for to, dir := range d.named {
			if dir == filepath.Dir(path) {
				d.t.Errorf("%s was removed before the name %s was durable", path, to)
			}
		}
	}
	return d.quickDisk.Remove(path)
}

func (d *faultyDisk) SyncDir(dir string) error {
	if err := d.op(); err != nil {
		return err
	}
	for to, in := range d.named {
		if in == dir {
			delete(d.named, to)
		}
	}
	return d.quickDisk.SyncDir(dir)
}

type faultyFile struct {
	file
	disk *faultyDisk
	path string
}

// Write fails in the middle, as a full disk does.
func (f *faultyFile) Write(b []byte) (int, error) {
	f.disk.synced[f.path] = false
	if err := f.disk.op(); err != nil {
		n, _ := f.file.Write(b[:len(b)/2])
		return n, err
	}
	return f.file.Write(b)
}

func (f *faultyFile) Sync() error {
	if err := f.disk.op(); err != nil {
		return err
	}
	f.disk.synced[f.path] = true
	return f.file.Sync()
}

func (f *faultyFile) Close() error {
	err := f.disk.op()
	return errors.Join(f.file.Close(), err)
}

// mustStoreDurably also fails where blocks count as stored of which a file, or
// the merged one that holds them, may lose its name in a power cut.
func mustStoreDurably(t *testing.T, s *Store, blocks ...*storage.Block) {
	t.Helper()
	for _, b := range blocks {
		mustStore(t, s, b)
	}
	for name := range s.disk.(*faultyDisk).named {
		t.Errorf("all blocks are stored, and the name %s is not durable", name)
	}
}

func openFaulty(t *testing.T, dir string, d disk) *Store {
	t.Helper()
	s, err := open(Options{Dir: dir, Now: func() time.Time { return testNow }}, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Each file operation of a Store fails in turn. Nothing half is visible after
// it, a retry brings exactly the block, and so does a restart and a retry.
func TestStoreWithFailingDisk(t *testing.T) {
	for _, crash := range []bool{false, true} {
		for fail := 1; ; fail++ {
			dir := t.TempDir()
			d := newFaultyDisk(t)
			s := openFaulty(t, dir, d)
			first, second := smallBlock(s.Collector(), 1, 1, 2), smallBlock(s.Collector(), 2, 2, 3)
			mustStoreDurably(t, s, first)
			d.ops, d.fail, d.crash = 0, fail, crash
			answer, err := s.Store(t.Context(), second)
			if err == nil && d.ops < fail {
				if fail < 10 {
					t.Fatalf("a Store has only %d operations", d.ops)
				}
				break
			}
			// A failed read of a file that is to be replaced anyway does no harm.
			if (answer != storage.Retry || !errors.Is(err, errInjected)) && err != nil {
				t.Fatalf("operation %d fails: %v, %v", fail, answer, err)
			}
			with := newOracle()
			with.take(first)
			with.take(second)
			r, _ := OpenReader(dir)
			rows, readErr := stored(t.Context(), r)
			if readErr != nil || len(rows) != 2 && len(rows) != 3 {
				t.Fatalf("operation %d fails: %d rows to see, %v", fail, len(rows), readErr)
			}
			d.fail = 0
			if crash {
				s.Close()
				s = openFaulty(t, dir, newFaultyDisk(t))
				for _, file := range parquetFiles(t, dir) {
					if strings.HasPrefix(file, ".") {
						t.Errorf("operation %d: %s is left", fail, file)
					}
				}
			}
			mustStoreDurably(t, s, second)
			with.verifyContents(t, dir)
		}
	}
}

// Each file operation of a Merge fails in turn, or is the last before a crash.
// The contents are exact at once, and after the next Merge as if nothing had been.
func TestMergeWithFailingDisk(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	before := t.TempDir()
	s := mustOpen(t, before)
	want := newOracle()
	var blocks []*storage.Block
	for n := range uint64(3) {
		b := randomBlock(r, s.Collector(), n+1)
		b.Window = storage.Window{Start: testDay * secondsPerDay * 1000, End: testDay*secondsPerDay*1000 + 1}
		mustStore(t, s, b)
		want.take(b)
		blocks = append(blocks, b)
	}
	// So that there is something to merge, whatever the seed.
	for n := range uint64(2) {
		b := smallBlock(s.Collector(), n+4, 1, 2)
		mustStore(t, s, b)
		want.take(b)
		blocks = append(blocks, b)
	}
	s.Close()
	for _, crash := range []bool{false, true} {
		done := false
		for fail := 1; !done; fail++ {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(before)); err != nil {
				t.Fatal(err)
			}
			d := newFaultyDisk(t)
			s := openFaulty(t, dir, d)
			d.ops, d.fail, d.crash = 0, fail, crash
			err := s.Merge(t.Context())
			done = err == nil && d.ops < fail
			if err != nil && !errors.Is(err, errInjected) {
				t.Fatalf("operation %d fails: %v", fail, err)
			}
			d.fail = 0
			want.verifyContents(t, dir)
			if crash {
				s.Close()
				s = openFaulty(t, dir, newFaultyDisk(t))
				if last(t, s) != 5 {
					t.Fatalf("operation %d: last number %d", fail, last(t, s))
				}
			}
			mustStoreDurably(t, s, blocks...)
			if err := s.Merge(t.Context()); err != nil {
				t.Fatal(err)
			}
			want.verifyContents(t, dir)
			for _, file := range parquetFiles(t, dir) {
				if strings.HasPrefix(file, ".") && crash {
					t.Errorf("operation %d: %s is left", fail, file)
				}
			}
			if done && fail < 12 {
				t.Fatalf("a Merge has only %d operations", fail)
			}
		}
	}
}

// Each file operation of the clean-up after a crash fails in turn.
func TestOpenWithFailingDisk(t *testing.T) {
	for fail := 1; ; fail++ {
		dir := t.TempDir()
		s := mustOpen(t, dir)
		want := newOracle()
		for n := range uint64(3) {
			b := smallBlock(s.Collector(), n+1, 1, 2+n)
			mustStore(t, s, b)
			want.take(b)
		}
		saved := map[string][]byte{}
		for _, path := range paths(t, dir) {
			saved[path], _ = os.ReadFile(filepath.Join(dir, path))
		}
		if err := s.Merge(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Close()
		for path, bytes := range saved { // as if the merge had not come to removing them
			if err := os.WriteFile(filepath.Join(dir, path), bytes, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		temp := filepath.Join(dir, "reads/day=2024-10-04", tempPrefix+"x.parquet")
		if err := os.WriteFile(temp, []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
		want.verifyContents(t, dir)
		d := newFaultyDisk(t)
		d.fail = fail
		s, err := open(Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)}, d)
		want.verifyContents(t, dir)
		if err == nil {
			s.Close()
		}
		if d.ops >= fail {
			continue
		}
		if got := parquetFiles(t, dir); len(got) != 2 || err != nil {
			t.Errorf("files %v, %v", got, err)
		}
		return
	}
}
