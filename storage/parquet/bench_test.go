package parquet

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
)

// crowdBlock is a block as a busy site gives it in ten seconds: few contents
// have most readers, a reader is on one content, nearly all rows are of the
// minute that runs.
func crowdBlock(r *rand.Rand, number uint64, rows int) *storage.Block {
	zipf := rand.NewZipf(r, 1.2, 20, 50_000)
	minute := uint32(testDay*secondsPerDay + 12*3600 + 60*(number/6))
	start := int64(minute)*1000 + int64(number%6)*10_000
	list := make([]storage.Row, rows)
	for i := range list {
		at := start + r.Int64N(10_000)
		list[i] = storage.Row{
			Stream: 1, Minute: minute, Content: (zipf.Uint64() + 1) * 0x9e3779b97f4a7c15,
			User: (r.Uint64N(1_000_000) + 1) * 0xbf58476d1ce4e5b9, Dwell: uint64(r.IntN(10_000)), First: at, Last: at,
		}
		switch r.IntN(10) {
		case 0:
			list[i].Opens = 1
		case 1:
			list[i].Finishes, list[i].Progress = 1, 100
		default:
			list[i].Reads, list[i].Progress = 1, uint8(r.IntN(101))
		}
	}
	slices.SortFunc(list, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	list = slices.CompactFunc(list, func(a, b storage.Row) bool { return storage.CompareKeys(&a, &b) == 0 })
	b := &storage.Block{Number: number, Day: testDay, Window: storage.Window{Start: start, End: start + 10_000}}
	for i := range list {
		b.Rows.Append(&list[i])
	}
	b.Books = []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: uint64(len(list)), storage.Accepted: uint64(len(list))}}}
	return b
}

const testDay = 20_000

func bytesBelow(tb testing.TB, dir string) (sum int64) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(_ string, f fs.DirEntry, err error) error {
		if err == nil && !f.IsDir() {
			info, _ := f.Info()
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStore stores blocks, and beside each of them has the encoder alone make
// the same pages of rows as it likes them best, for nobody. Compare CPU.
func BenchmarkStore(b *testing.B) {
	dir := b.TempDir()
	s := mustOpen(b, dir)
	r := rand.New(rand.NewPCG(1, 2))
	block := crowdBlock(r, 1, 500_000)
	block.Collector = s.Collector()
	ready := make([]readRow, block.Rows.Len())
	for i := range ready {
		row := block.Rows.Row(i)
		ready[i] = readRowOf(&row)
	}
	var ours, encoder time.Duration
	for b.Loop() {
		before := cpu()
		if answer, err := s.Store(b.Context(), block); answer != storage.Stored {
			b.Fatal(err)
		}
		ours += cpu() - before
		block.Number++ // one that is there is not written again
		before = cpu()
		err := encode(io.Discard, 1, one(1), func(put func([]readRow) error) error {
			for part := range slices.Chunk(ready, chunkRows) {
				if err := put(part); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		encoder += cpu() - before
	}
	rows := float64(block.Rows.Len())
	b.ReportMetric(float64(ours)/rows/float64(b.N), "cpu-ns/row")
	b.ReportMetric(float64(encoder)/rows/float64(b.N), "encoder-cpu-ns/row")
	b.ReportMetric(float64(ours)/float64(encoder), "cpu-ratio")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(bytesBelow(b, filepath.Join(dir, "reads")))/rows/float64(b.N), "bytes/row")
}

func BenchmarkMerge(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	var blocks []*storage.Block
	for n := range uint64(60) {
		blocks = append(blocks, crowdBlock(r, n+1, 50_000))
	}
	rows := 0
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		s := mustOpen(b, dir)
		rows = 0
		for _, block := range blocks {
			block.Collector = s.Collector()
			rows += block.Rows.Len()
			if answer, err := s.Store(b.Context(), block); answer != storage.Stored {
				b.Fatal(err)
			}
		}
		before := bytesBelow(b, filepath.Join(dir, "reads"))
		b.StartTimer()
		if err := s.Merge(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		after := bytesBelow(b, filepath.Join(dir, "reads"))
		b.ReportMetric(float64(before)/float64(rows), "bytes/row-before")
		b.ReportMetric(float64(after)/float64(rows), "bytes/row")
		b.StartTimer()
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkTop(b *testing.B) {
	dir := b.TempDir()
	s := mustOpen(b, dir)
	r := rand.New(rand.NewPCG(1, 2))
	block := crowdBlock(r, 1, 500_000)
	block.Collector = s.Collector()
	if answer, err := s.Store(b.Context(), block); answer != storage.Stored {
		b.Fatal(err)
	}
	reader, err := OpenReader(dir)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := reader.Top(b.Context(), storage.TopQuery{Limit: 10}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(block.Rows.Len()*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkTopOfAnHour asks for the two most read of a busy hour, merged.
func BenchmarkTopOfAnHour(b *testing.B) {
	dir := b.TempDir()
	s := mustOpen(b, dir)
	r := rand.New(rand.NewPCG(1, 2))
	rows := 0
	for n := range uint64(60) {
		block := crowdBlock(r, 6*n+1, 60_000)
		block.Collector = s.Collector()
		rows += block.Rows.Len()
		if answer, err := s.Store(b.Context(), block); answer != storage.Stored {
			b.Fatal(err)
		}
	}
	if err := s.Merge(b.Context()); err != nil {
		b.Fatal(err)
	}
	reader, err := OpenReader(dir)
	if err != nil {
		b.Fatal(err)
	}
	hour := uint32(testDay*secondsPerDay + 12*3600)
	for name, q := range map[string]storage.TopQuery{
		"content": {Limit: 2}, "user": {Limit: 2, By: storage.ByUser}, "last5m": {Limit: 2, Since: hour + 55*60}, "stream": {Limit: 2, Streams: []uint16{2}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := reader.Top(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
