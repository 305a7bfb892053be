package spool

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/wire"
)

// The library keeps one goroutine for all summaries; it must not be born inside
// a bubble of synctest.
func init() { metrics.NewSet().NewSummary("x") }

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func testOptions(files vfs.FS) Options {
	return Options{Dir: "/spool", SizeMax: 16 << 20, LogSize: 8 << 10, Files: files, Logger: silent}
}

func mustOpen(t *testing.T, o Options) (*Spool, *Recovered) {
	t.Helper()
	s, r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckStore(0); err != nil { // a store that has nothing objects to nothing
		t.Fatal(err)
	}
	return s, r
}

func mustSeal(t *testing.T, s *Spool, seal *Seal) uint64 {
	t.Helper()
	n, err := sealOne(s, seal)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const day = 24 * 60 * 60

func row(content uint64) storage.Row {
	return storage.Row{
		Content: content, User: 2, Dwell: 3, First: 4, Last: 5, Minute: 20000 * day, Opens: 6, Reads: 7,
		Finishes: 8, Saves: 9, Shares: 10, Stream: 11, Progress: 12,
		Coarse: storage.CoarseUsers, Skipped: 13, Resume: 11, ResumeLag: 1,
	}
}

// counts are the numbers of so many books of a test.
func counts(books uint64) (all storage.Counts) {
	for i, c := range []storage.Counter{storage.Sent, storage.Accepted, storage.Found, storage.RefusedEvents.Of(wire.RefusedSize), storage.UnplacedEvents.Of(wire.RefusedIdle)} {
		all[c] = uint64(i+1) * books
	}
	return all
}

func testSeal(content uint64) *Seal {
	return &Seal{
		Window: storage.Window{Start: 1000 * int64(content), End: 1000*int64(content) + 1000, Config: 0xC0<<32 + content},
		Rows:   []storage.Row{row(content)},
		Books: []storage.Book{{
			Stream: 11, Class: storage.Sealed, Counts: counts(1),
			Spans: []storage.Span{
				{Source: 3, Met: 8, Base: 1, End: content, Sent: 9, Lost: 2, At: 77},
				{Source: content << 60, Met: 4, Base: 5, End: 6, Sent: 7, Lost: 8, At: -9, Ended: storage.SpanEnded},
			},
			Names: []storage.Name{
				{Content: 0xd24ec4f1a98c6e5b, Attribute: wire.AttributeName, Text: "a", At: 70 + int64(content)},
				{Content: 4, Attribute: wire.AttributeTitle, Text: fmt.Sprint("Ein Titel, ", content), At: 70 + int64(content)},
			},
		}},
		Sources: []Source{{ID: content, Base: 1, End: 2, Newest: 3, Lost: 4, Next: 5, Apart: 8, Met: 9, LastSeen: 6, Stream: 7, Session: true, Standing: storage.Proved}},
	}
}

// On the operating system's own files: what was sealed comes back, what was
// flushed comes as blocks, what was stored is gone.
func TestCycle(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir() + "/a/b"
	s, r := mustOpen(t, o)
	if r.Rows.Len() != 0 || !reflect.DeepEqual(r, &Recovered{Rows: r.Rows}) {
		t.Errorf("a new directory holds %+v", r)
	}
	id := s.Collector()
	for i := range uint64(5) {
		if n := mustSeal(t, s, testSeal(i+1)); n != i+1 {
			t.Fatalf("seal %d has number %d", i+1, n)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, r = mustOpen(t, o)
	if s.Collector() != id || id == 0 {
		t.Errorf("collector is %x, and was %x", s.Collector(), id)
	}
	if r.Last != 5 || r.Seals != 5 || len(rowsOf(r)) != 5 || len(r.Sources) != 5 || r.Torn != 0 || len(r.SetAside) != 0 {
		t.Fatalf("recovered %+v", r)
	}
	for i, got := range rowsOf(r) {
		if got != row(uint64(i+1)) {
			t.Errorf("row %d is %+v", i, got)
		}
	}
	wantBook := storage.Book{
		Stream: 11, Class: storage.Sealed, Counts: counts(5),
		Spans: []storage.Span{{Source: 3, Met: 8, Base: 1, End: 5, Sent: 9, Lost: 2, At: 77, Seal: 5}},
	}
	for i := range uint64(5) {
		wantBook.Spans = append(wantBook.Spans, storage.Span{Source: (i + 1) << 60, Met: 4, Base: 5, End: 6, Sent: 7, Lost: 8, At: -9, Seal: i + 1, Ended: storage.SpanEnded})
	}
	wantBook.Names = []storage.Name{ // the last one stays
		{Content: 4, Attribute: wire.AttributeTitle, Text: "Ein Titel, 5", At: 75},
		{Content: 0xd24ec4f1a98c6e5b, Attribute: wire.AttributeName, Text: "a", At: 75},
	}
	for i := range r.Books {
		r.Books[i].Compact()
	}
	if len(r.Books) != 1 || !reflect.DeepEqual(r.Books[0], wantBook) {
		t.Errorf("books are %+v", r.Books)
	}
	if (r.Window != storage.Window{Start: 1000, End: 6000, Config: testSeal(5).Window.Config}) {
		t.Errorf("window is %+v", r.Window)
	}
	for _, source := range r.Sources {
		if source != testSeal(source.ID).Sources[0] {
			t.Errorf("source is %+v", source)
		}
	}
	if err := flushRows(s, rowsOf(r), r.Books, r.Window, 6); err == nil {
		t.Error("a seal that is not there was flushed")
	}
	if err := flushRows(s, rowsOf(r), r.Books, r.Window, 5); err != nil {
		t.Fatal(err)
	}
	mustSeal(t, s, &Seal{Sources: []Source{{ID: 9}}, Forgotten: []uint64{1, 2}})
	_ = s.Close()
	s, r = mustOpen(t, o)
	if r.Seals != 1 || len(rowsOf(r)) != 0 || r.Segments != 1 || len(r.Sources) != 4 || s.LastNumber() != 1 {
		t.Fatalf("after a flush: recovered %+v, last number %d", r, s.LastNumber())
	}
	b, ok, err := s.Oldest()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if b.Collector != id || b.Number != 1 || b.Day != 20000 || b.Rows.Len() != 5 || b.Rows.Row(4) != row(5) ||
		!reflect.DeepEqual(b.Books, []storage.Book{wantBook}) || (b.Window != storage.Window{Start: 1000, End: 6000, Config: testSeal(5).Window.Config}) {
		t.Errorf("block is %+v", b)
	}
	if err := s.Stored(2); err == nil {
		t.Error("a block that is not there is stored")
	}
	if err := s.Stored(1); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := s.Oldest(); ok {
		t.Error("a stored block is there")
	}
	_ = s.Close()
	s, r = mustOpen(t, o)
	if r.Seals != 0 || r.Last != 6 || r.Segments != 0 || s.LastNumber() != 1 { // the last seal brought nothing to flush
		t.Errorf("after storing: recovered %+v, last number %d", r, s.LastNumber())
	}
	_ = s.Close()
}

func TestSecondProcess(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	if _, _, err := Open(o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second one got %v", err)
	}
	_ = s.Close()
	s, _ = mustOpen(t, o)
	_ = s.Close()
}

func TestCheckStore(t *testing.T) {
	o := testOptions(vfstest.New(1))
	s, _ := mustOpen(t, o)
	mustSeal(t, s, testSeal(1))
	if err := flushRows(s, []storage.Row{row(1)}, nil, storage.Window{}, 1); err != nil {
		t.Fatal(err)
	}
	// Block 1 was given by this process and has been stored by none.
	if err := s.CheckStore(0); err != nil {
		t.Error(err)
	}
	if err := s.CheckStore(1); err == nil {
		t.Error("an older copy, that gave the number again, was accepted")
	}
	_ = s.Close()
	s, _ = mustOpen(t, o)
	defer s.Close()
	if err := s.CheckStore(1); err != nil {
		t.Error(err)
	}
	if err := s.CheckStore(2); err == nil {
		t.Error("an older copy was accepted")
	}
}

// dump is a log that a test can read.
type dump struct{ bytes.Buffer }

func (d *dump) logger() *slog.Logger { return slog.New(slog.NewTextHandler(d, nil)) }

// A seal is one write and one sync of the log, and a mark that nobody waits for.
func TestSealIsOneSync(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	o.LogSize = 1 << 20
	s, _ := mustOpen(t, o)
	mustSeal(t, s, testSeal(1))
	did := map[string]int{}
	m.Fault = func(o vfstest.Op) error {
		did[o.What]++
		return nil
	}
	const seals = 50
	for n := range uint64(seals) {
		mustSeal(t, s, testSeal(2+n))
	}
	if want := map[string]int{"write": 2 * seals, "sync": seals}; !maps.Equal(did, want) {
		t.Errorf("%d seals did %v, want %v", seals, did, want)
	}
}

// A source that was forgotten and came back before the cut is in both lists of
// the seal: it is known.
func TestForgottenSourceThatCameBack(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	mustSeal(t, s, testSeal(1))
	back := testSeal(1)
	back.Sources[0].Next, back.Forgotten = 100, []uint64{1}
	mustSeal(t, s, back)
	m.Kill()
	if _, r := mustOpen(t, testOptions(m)); len(r.Sources) != 1 || r.Sources[0].Next != 100 {
		t.Errorf("the sources are %+v", r.Sources)
	}
}
