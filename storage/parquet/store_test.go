package parquet

import (
	"context"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
)

// testNow is later than the windows of all test blocks.
var testNow = time.Unix((testDay+30)*secondsPerDay, 0)

func mustOpen(tb testing.TB, dir string) *Store {
	tb.Helper()
	var d disk = quickDisk{}
	if _, measures := tb.(*testing.B); measures {
		d = realDisk{}
	}
	s, err := open(Options{Dir: dir, Now: func() time.Time { return testNow }}, d)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// parquetFiles returns the names of all files of both tables, without folders.
func parquetFiles(tb testing.TB, dir string) (files []string) {
	tb.Helper()
	for _, path := range paths(tb, dir) {
		if strings.Contains(path, "/") {
			files = append(files, filepath.Base(path))
		}
	}
	return files
}

// paths returns all files below dir.
func paths(tb testing.TB, dir string) (files []string) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
		if err == nil && !f.IsDir() {
			path, err = filepath.Rel(dir, path)
			files = append(files, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(files)
	return files
}

// smallBlock has one open of each of the users in the first minute of the test
// day, and a window that ended at 03:00:05 of that day.
func smallBlock(collector, number uint64, users ...uint64) *storage.Block {
	end := int64(testDay*secondsPerDay+3*3600+5) * 1000
	b := &storage.Block{Collector: collector, Number: number, Day: testDay, Window: storage.Window{Start: end - 10_000, End: end}}
	for _, u := range users {
		b.Rows.Append(&storage.Row{Stream: 1, Minute: testDay * secondsPerDay, Content: 7, User: u, Opens: 1, First: end, Last: end})
	}
	b.Books = []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: uint64(len(users)), storage.Accepted: uint64(len(users))}}}
	return b
}

// spanned adds spans of two sources to the books of a small block.
func spanned(b *storage.Block) *storage.Block {
	for source := range uint64(2) {
		b.Books[0].Spans = append(b.Books[0].Spans, storage.Span{
			Source: 1<<63 | source, Met: b.Window.Start, Base: 10, End: 30, Sent: 20, Lost: 5, At: b.Window.End, Ended: storage.SpanLeft,
		})
	}
	return b
}

// 20,000 days after 1970-01-01 is 2024-10-04.
func TestNamesOfFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "lectern")
	s := mustOpen(t, dir)
	mustStore(t, s, smallBlock(s.Collector(), 1, 1, 2))
	mustStore(t, s, smallBlock(s.Collector(), 2, 1, 2))
	late := smallBlock(s.Collector(), 3)
	late.Day = testDay - 1
	late.Books = nil
	late.Rows.Append(&storage.Row{Minute: (testDay - 1) * secondsPerDay, Opens: 1})
	mustStore(t, s, late)
	empty := smallBlock(s.Collector(), 12)
	empty.Day = 0
	mustStore(t, s, empty)
	want := []string{
		"collector",
		"ledger/day=2024-10-04/20241004T03-000000000001.parquet",
		"ledger/day=2024-10-04/20241004T03-000000000002.parquet",
		"ledger/day=2024-10-04/20241004T03-000000000012.parquet",
		"lock",
		"reads/day=2024-10-03/20241004T03-000000000003.parquet",
		"reads/day=2024-10-04/20241004T03-000000000001.parquet",
		"reads/day=2024-10-04/20241004T03-000000000002.parquet",
	}
	if got := paths(t, dir); !slices.Equal(got, want) {
		t.Errorf("files\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := s.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	want = []string{
		"collector",
		"ledger/day=2024-10-04/20241004T03-000000000001-000000000012.parquet",
		"lock",
		"reads/day=2024-10-03/20241004T03-000000000003.parquet",
		"reads/day=2024-10-04/20241004T03-000000000001-000000000002.parquet",
	}
	if got := paths(t, dir); !slices.Equal(got, want) {
		t.Errorf("merged files\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	mustStore(t, s, smallBlock(s.Collector(), 1, 1, 2))
	mustStore(t, s, smallBlock(s.Collector(), 2, 1, 2))
	mustStore(t, s, empty)
	if got := paths(t, dir); !slices.Equal(got, want) {
		t.Errorf("merged blocks stored again make files\n%s", strings.Join(got, "\n"))
	}
	e, err := readEntry(realDisk{}, ledger, filepath.Join(dir, want[1]))
	if err != nil || e.blocks.String() != "1-2,12" {
		t.Errorf("the merged ledger holds %s, %v", e.blocks, err)
	}
}

func TestMergeLeavesTheRunningHour(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(testDay*secondsPerDay+3*3600+59*60, 0)
	s, err := Open(Options{Dir: dir, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustStore(t, s, smallBlock(s.Collector(), 1, 1))
	mustStore(t, s, smallBlock(s.Collector(), 2, 1))
	for files := 4; ; files = 2 {
		if err := s.Merge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := parquetFiles(t, dir); len(got) != files {
			t.Fatalf("%d files at %v, want %d", len(got), now, files)
		}
		if files == 2 {
			return
		}
		now = now.Add(time.Minute)
	}
}

// More files than are merged at once, and a counter that a sum would overflow.
func TestMergeManyFilesAndLargeCounters(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	const blocks = 2*filesAtOnce + 3
	for n := range uint64(blocks) {
		b := smallBlock(s.Collector(), n+1, 1, 2)
		b.Rows.Reads[1] = math.MaxUint32 - 1
		mustStore(t, s, b)
	}
	if err := s.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := parquetFiles(t, dir); len(got) != 2 {
		t.Fatalf("files %v", got)
	}
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := r.Top(t.Context(), storage.TopQuery{By: storage.ByUser, Limit: 9})
	want := []storage.TopRow{
		{Stream: 1, ID: 2, Opens: blocks, Reads: blocks * (math.MaxUint32 - 1), Others: 1},
		{Stream: 1, ID: 1, Opens: blocks, Others: 1},
	}
	if err != nil || !slices.Equal(top, want) {
		t.Errorf("top %+v, %v", top, err)
	}
	e, err := readEntry(realDisk{}, reads, filepath.Join(dir, "reads/day=2024-10-04/20241004T03-000000000001-000000000067.parquet"))
	if err != nil || e.rows != blocks+1 {
		t.Errorf("%d rows, want %d and one: %v", e.rows, blocks, err)
	}
}

// A block that was stored late has the same first and last number around it.
func TestMergeOntoItsOwnName(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	want := newOracle()
	for _, n := range []uint64{1, 3, 2} {
		b := smallBlock(s.Collector(), n, 1, n)
		if n == 1 {
			b = smallBlock(s.Collector(), n, n, 5)
		}
		if n != 2 {
			mustStore(t, s, b)
			want.take(b)
			continue
		}
		if err := s.Merge(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustStore(t, s, b)
		want.take(b)
	}
	if err := s.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	want.verify(t, dir)
	if got := parquetFiles(t, dir); len(got) != 2 {
		t.Errorf("files %v", got)
	}
}

func TestMalformedBlocksAreNeverStored(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for why, spoil := range map[string]func(b *storage.Block){
		"different lengths":   func(b *storage.Block) { b.Rows.Progress = b.Rows.Progress[:1] },
		"row 1 is of day 1":   func(b *storage.Block) { b.Rows.Minute[1] = secondsPerDay },
		"reserved stream":     func(b *storage.Block) { b.Rows.Stream[1] = 65535 },
		"sorts before":        func(b *storage.Block) { b.Rows.User[1] = 0 },
		"is of collector":     func(b *storage.Block) { b.Collector++ },
		"no number":           func(b *storage.Block) { b.Number = 0 },
		"ends at -1":          func(b *storage.Block) { b.Window.End = -1 },
		"which is no date":    func(b *storage.Block) { b.Window.End = math.MaxInt64 },
		"the block of day 77": func(b *storage.Block) { b.Day = 77 },
	} {
		b := smallBlock(s.Collector(), 5, 1, 2)
		spoil(b)
		answer, err := s.Store(t.Context(), b)
		if answer != storage.Never || err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, %v", why, answer, err)
		}
	}
	if got := parquetFiles(t, dir); len(got) != 0 {
		t.Errorf("files %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if answer, err := s.Store(ctx, smallBlock(s.Collector(), 5, 1)); answer != storage.Retry || err == nil {
		t.Errorf("cancelled: %v, %v", answer, err)
	}
}

func TestOneProcessWrites(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	_, err := Open(Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "another process writes here: stop it or set parquet.dir") {
		t.Errorf("second Open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir)
}

func TestCollectorFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "collector")
	for text, id := range map[string]uint64{
		string(format.Text(collectorKind, "00000000000000ff")): 255, string(format.Text(collectorKind, "0")): 0,
		string(format.Text(collectorKind, "1ffffffffffffffff")): 0, string(format.Text(collectorKind)): 0,
		"": 0, "zz": 0, "00000000000000ff\n": 0, "lectern-collector 2\n": 0,
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Options{Dir: dir})
		switch {
		case id == 0 && (err == nil || !strings.Contains(err.Error(), path)):
			t.Errorf("%q: error %v", text, err)
		case id != 0 && (err != nil || s.Collector() != id):
			t.Errorf("%q: %v", text, err)
		}
		if err == nil {
			s.Close()
		}
	}
}

// Files of another collector, copied in under their own or another name, are
// counted by readers, and otherwise left alone.
func TestForeignCollector(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	a, b := mustOpen(t, ours), mustOpen(t, theirs)
	want := newOracle()
	for n := range uint64(3) {
		mine, other := smallBlock(a.Collector(), n+1, 1, n), smallBlock(b.Collector(), n+4, 2, 3)
		slices.Sort(mine.Rows.User)
		mustStore(t, a, mine)
		mustStore(t, b, other)
		want.take(mine)
		want.take(other)
	}
	for _, path := range paths(t, theirs) {
		if strings.HasSuffix(path, ".parquet") {
			bytes, err := os.ReadFile(filepath.Join(theirs, path))
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(ours, path)
			if strings.HasSuffix(path, "6.parquet") {
				to = filepath.Join(filepath.Dir(to), "node-b.parquet")
			}
			if err := os.WriteFile(to, bytes, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want.verify(t, ours)
	a.Close()
	a = mustOpen(t, ours)
	if last(t, a) != 3 {
		t.Errorf("last number %d", last(t, a))
	}
	if err := a.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	want.verify(t, ours)
	if got := parquetFiles(t, ours); len(got) != 8 {
		t.Errorf("files %v", got)
	}
	answer, err := a.Store(t.Context(), smallBlock(a.Collector(), 4, 1))
	if answer != storage.Never || err == nil || !strings.Contains(err.Error(), "another collector") {
		t.Errorf("a foreign file's name is taken: %v, %v", answer, err)
	}
	want.verify(t, ours)
}

func TestSecondBlockOfSameRowsKeepsBoth(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	s := mustOpen(t, dir)
	b := randomBlock(r, s.Collector(), 1)
	c := *b
	c.Number = 2
	want := newOracle()
	for _, b := range []*storage.Block{b, &c, b} {
		mustStore(t, s, b)
	}
	want.take(b)
	want.take(&c)
	want.verify(t, dir)
}

// last is the store's last number.
func last(t *testing.T, s *Store) uint64 {
	t.Helper()
	n, err := s.LastNumber(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}
