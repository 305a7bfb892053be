package pipeline

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// The library keeps one goroutine for all summaries; it must not be born inside a
// bubble of synctest.
func init() { metrics.NewSet().NewSummary("x") }

// testSpool is a spool on a disk in memory that can be told to fail.
type testSpool struct {
	*spool.Spool
	t    testing.TB
	disk *vfstest.Disk
	o    spool.Options
}

// newTestSpool returns an empty spool that has given block numbers up to last.
func newTestSpool(t testing.TB, last uint64) *testSpool {
	t.Helper()
	s := openTestSpool(t, spool.Options{SizeMax: 4 << 30, LogSize: 1 << 20})
	s.make(last)
	s.reopen()
	for {
		b, ok, err := s.Oldest()
		if err == nil && ok {
			err = s.Stored(b.Number)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return s
		}
	}
}

func openTestSpool(t testing.TB, o spool.Options) *testSpool {
	t.Helper()
	s := &testSpool{t: t, disk: vfstest.New(1), o: o}
	s.o.Dir, s.o.Files, s.o.Logger = "/spool", s.disk, slog.New(slog.DiscardHandler)
	s.reopen()
	if err := s.CheckStore(0); err != nil {
		t.Fatal(err)
	}
	return s
}

// make makes so many blocks, of a book each.
func (s *testSpool) make(blocks uint64) {
	s.t.Helper()
	for range blocks {
		if err := s.Flush(storage.NewMinutes(), []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: 1, storage.Shed: 1}}}, storage.Window{}, storage.Mark{Before: storage.All}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// reopen ends the process and starts another, and returns what that recovered.
func (s *testSpool) reopen() *spool.Recovered {
	s.t.Helper()
	s.disk.Kill()
	opened, r, err := spool.Open(s.o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Spool = opened
	return r
}

// set has all operations of the disk fail, or none.
func (s *testSpool) set(fails bool) {
	s.disk.Fail(nil)
	if fails {
		s.disk.Fail(func(vfstest.Op) error { return vfstest.ErrFault })
	}
}

// slow has the next segment take its time to be written.
func (s *testSpool) slow(d time.Duration) {
	slept := false
	s.disk.Fail(func(o vfstest.Op) error {
		if !slept && o.What == "write" && strings.HasSuffix(o.Name, ".tmp") {
			slept = true
			time.Sleep(d) // in synctest's time
		}
		return nil
	})
}

// left is how many blocks wait, without those that are parked.
func (s *testSpool) left() int { return s.Blocks() - s.Parked() }

// blocks are those that wait.
func (s *testSpool) blocks() (all []*storage.Block) {
	s.t.Helper()
	for {
		b, ok, err := s.Next(func(number uint64) bool { return len(all) > 0 && number <= all[len(all)-1].Number }, storage.Columns{})
		if err != nil {
			s.t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, b)
	}
}

// recovered is what a start found of seals of which no number counts.
func recovered(rows *storage.Minutes, before uint64) *spool.Recovered {
	return &spool.Recovered{Rows: rows, Before: before}
}
