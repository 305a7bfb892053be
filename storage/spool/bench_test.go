package spool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

// quick is a file system on which a sync costs nothing and is timed apart.
type quick struct {
	vfs.FS
	sync time.Duration
	real bool
}

type quickFile struct {
	vfs.File
	q *quick
}

func (q *quick) Create(path string) (vfs.File, error) {
	f, err := q.FS.Create(path)
	return quickFile{f, q}, err
}

func (f quickFile) Sync() error {
	if !f.q.real {
		return nil
	}
	begin := time.Now()
	err := f.File.Sync()
	f.q.sync += time.Since(begin)
	return err
}

// Seals of so many rows and a hundred sources, on this machine's disk. "ns/row"
// leaves out what the syncs took. Beside it, what copying and summing up as many
// bytes costs.
func BenchmarkSeal(b *testing.B) {
	for _, rows := range []int{100, 10_000, 100_000} {
		for _, real := range []bool{true, false} {
			b.Run(fmt.Sprintf("rows=%d/sync=%v", rows, real), func(b *testing.B) {
				q := &quick{FS: vfs.OS{}, real: real}
				s, _, err := Open(Options{Dir: b.TempDir(), SizeMax: 1 << 30, Files: q, Logger: silent})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				seal := randomSeal(rand.New(rand.NewPCG(1, 1)), rows, 100)
				if _, err := sealOne(s, seal); err != nil {
					b.Fatal(err)
				}
				q.sync = 0
				for b.Loop() {
					if _, err := sealOne(s, seal); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := flushRows(s, nil, nil, storage.Window{}, s.sealed); err != nil {
						b.Fatal(err)
					}
					s.Tidy()
					b.StartTimer()
				}
				b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64(b.Elapsed()-q.sync)/float64(b.N)/float64(rows), "ns/row")
			})
		}
	}
	b.Run("copy and checksum of 100000 rows", func(b *testing.B) {
		from, to := make([]byte, 100_000*67), make([]byte, 100_000*67)
		for b.Loop() {
			copy(to, from)
			format.Sum(to)
		}
		b.ReportMetric(float64(b.Elapsed())/float64(b.N)/100_000, "ns/row")
	})
}

// The flush of as many rows as one block has, and reading the block again.
func BenchmarkFlush(b *testing.B) {
	seal := randomSeal(rand.New(rand.NewPCG(1, 1)), storage.BlockRowsMax, 0)
	slices.SortFunc(seal.Rows, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	s, _, err := Open(Options{Dir: b.TempDir(), SizeMax: 1 << 30, Logger: silent})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	n, err := sealOne(s, &Seal{})
	if err != nil {
		b.Fatal(err)
	}
	var load time.Duration
	for b.Loop() {
		if err := flushRows(s, seal.Rows, nil, storage.Window{}, n); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		begin := time.Now()
		block, _, err := s.Oldest()
		if err != nil {
			b.Fatal(err)
		}
		load += time.Since(begin)
		if err := s.Stored(block.Number); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/storage.BlockRowsMax, "ns/row")
	b.ReportMetric(float64(load)/float64(b.N)/storage.BlockRowsMax, "ns/row-loaded")
}

// Eight segments of 100,000 rows with the same keys.
func BenchmarkCompact(b *testing.B) {
	seal := randomSeal(rand.New(rand.NewPCG(1, 1)), 100_000, 0)
	slices.SortFunc(seal.Rows, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	s, _, err := Open(Options{Dir: b.TempDir(), SizeMax: 1 << 30, Logger: silent})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	n, err := sealOne(s, &Seal{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		for range 8 {
			if err := flushRows(s, seal.Rows, nil, storage.Window{}, n); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if err := s.Compact(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		block, _, err := s.Oldest()
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Stored(block.Number); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/800_000, "ns/row")
}

// A start with a full log file of 64 MiB.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: b.TempDir(), SizeMax: 1 << 30, Logger: silent}
	s, _, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	seal := randomSeal(rand.New(rand.NewPCG(1, 1)), 10_000, 1000)
	rows := 0 // of the same keys again and again
	for s.log.End() < 60<<20 {
		if _, err := sealOne(s, seal); err != nil {
			b.Fatal(err)
		}
		rows += len(seal.Rows)
	}
	_ = s.Close()
	for b.Loop() {
		s, r, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		if got := len(rowsOf(r)); got != len(seal.Rows) {
			b.Fatalf("%d rows, want %d", got, len(seal.Rows))
		}
		_ = s.Close()
	}
	b.ReportMetric(float64(rows), "rows")
}
