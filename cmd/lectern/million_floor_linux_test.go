package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/VictoriaMetrics/metrics"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
)

// floors measures what no daemon can do without: taking the events in, bringing as
// many bytes to the disk as often, and encoding the rows.
func (b *million) floors() {
	if b.wants("front alone") {
		head("The front alone: the daemon's collector, whose cuts go nowhere")
		for _, network := range []string{"udp", "tcp"} {
			b.alone(network+", front alone", "front", b.crowd(), network)
		}
	}
	for _, r := range b.results {
		if r.engine != 0 || r.rows == 0 {
			continue
		}
		fmt.Printf("\nBeside %q, CPU nanoseconds an event:\n", r.name)
		fmt.Printf("    its bytes alone, written and synced as often as cuts are made: %.1f\n", r.an(float64(b.bytesAlone(r))))
		inParquet, inLZ4 := b.encodersAlone(r)
		fmt.Printf("    the encoders alone: its rows become Parquet %.1f (%.0f a row), or ch-go's LZ4 block %.1f (%.0f a row)\n",
			r.an(inParquet*float64(r.rows)), inParquet, r.an(inLZ4*float64(r.rows)), inLZ4)
	}
}

// benchNowhere is a sink that has room and keeps nothing.
type benchNowhere struct{}

func (benchNowhere) Room() int                                  { return 1 << 40 }
func (benchNowhere) Seal(_ *storage.Seal, durable func()) error { durable(); return nil }
func (benchNowhere) Retry() error                               { return nil }
func (benchNowhere) MakeRoom()                                  {}

// frontAlone is a collector with the defaults of the daemon, until SIGTERM.
func frontAlone(t *testing.T) {
	o := config.Defaults()
	c := collector.New(collector.Options{
		Address: "127.0.0.1:0", Loops: o.Loops(), ReceiveBuffer: o.Listen.ReceiveBuffer, CutInterval: o.Window.AckInterval,
		LateMax: o.Window.LateMax, FutureMax: o.Window.FutureMax, KeysMax: o.Limits.KeysMax, SourcesMax: o.Limits.SourcesMax,
		SourceIdleMax: o.Limits.SourceIdleMax, SessionIdleMax: o.Limits.SessionIdleMax, ConnectionsMax: o.Limits.ConnectionsMax,
		ConnectionIdleMax: o.Limits.ConnectionIdleMax, CreditMax: o.Limits.CreditMax,
		Sink: benchNowhere{}, Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(os.Stderr, "msg=\"lectern is ready\" events=%s operations=none\n", c.Address())
	endOnTerm()
}

// threadCPU is the CPU time of f on a thread of its own.
func threadCPU(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := func() time.Duration {
		var ts unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
		return time.Duration(ts.Nano())
	}
	before := now()
	f()
	return now() - before
}

// bytesAlone writes as many bytes as a daemon gave to write(2), and syncs them a
// second's at a time.
func (b *million) bytesAlone(r *millionResult) time.Duration {
	dir := b.dir()
	seconds := max(1, int(b.length/time.Second))
	part := make([]byte, int(r.wrote)/seconds)
	for i := range part {
		part[i] = byte(i * 0x9E3779B1 >> 16)
	}
	return threadCPU(func() {
		f, err := os.Create(filepath.Join(dir, "bytes"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		for range seconds {
			if _, err := f.Write(part); err != nil {
				b.Fatal(err)
			}
			if err := unix.Fdatasync(int(f.Fd())); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// floorRow is a row as the files have it.
type floorRow struct {
	Stream   uint16 `parquet:"stream,uint(16),dict"`
	Minute   int64  `parquet:"minute,timestamp(millisecond:utc),dict"`
	Content  uint64 `parquet:"content,dict"`
	User     uint64 `parquet:"user"`
	Opens    uint32 `parquet:"opens,dict"`
	Reads    uint32 `parquet:"reads,dict"`
	Finishes uint32 `parquet:"finishes,dict"`
	Saves    uint32 `parquet:"saves,dict"`
	Shares   uint32 `parquet:"shares,dict"`
	Dwell    uint64 `parquet:"dwell_ms,delta"`
	Progress uint8  `parquet:"progress,uint(8),dict"`
	First    int64  `parquet:"first,timestamp(millisecond:utc),delta"`
	Last     int64  `parquet:"last,timestamp(millisecond:utc),delta"`
	Coarse   uint8  `parquet:"coarse,uint(8),dict"`
	Skipped  uint32 `parquet:"skipped,dict"`

	Impressions uint32 `parquet:"impressions,dict"`
	Clicks      uint32 `parquet:"clicks,dict"`
	Variant     uint8  `parquet:"variant,uint(8),dict"`
	Resume      uint8  `parquet:"resume,uint(8),dict"`
	ResumeLag   uint16 `parquet:"resume_lag,uint(16),dict"`
}

// encodersAlone encodes the rows of the largest file that a daemon has written, and says
// what a row takes, in nanoseconds.
func (b *million) encodersAlone(r *millionResult) (inParquet, inLZ4 float64) {
	files, err := filepath.Glob(filepath.Join(r.dir, "reads", "day=*", "*.parquet"))
	if err != nil || len(files) == 0 {
		b.Fatalf("no files of reads under %s: %v", r.dir, err)
	}
	size := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		return info.Size()
	}
	largest := slices.MaxFunc(files, func(x, y string) int { return cmp.Compare(size(x), size(y)) })
	rows, err := parquet.ReadFile[floorRow](largest)
	if err != nil {
		b.Fatal(err)
	}
	columns := floorColumns(rows)
	codec := &zstd.Codec{Level: zstd.SpeedDefault}
	const turns = 3 // the first warms up
	for range turns {
		inParquet = float64(threadCPU(func() {
			w := parquet.NewGenericWriter[floorRow](io.Discard, parquet.WriteBufferSize(0), parquet.Compression(codec),
				parquet.PageBufferSize(64<<10), parquet.MaxRowsPerRowGroup(512<<10), parquet.DictionaryMaxBytes(1<<20))
			for part := rows; len(part) > 0; part = part[min(len(part), 2048):] {
				if _, err := w.Write(part[:min(len(part), 2048)]); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		})) / float64(len(rows))
		inLZ4 = float64(threadCPU(func() {
			var out proto.Buffer
			w := compress.NewWriter(0, compress.LZ4)
			for _, c := range columns {
				out.Reset()
				c.EncodeColumn(&out)
				for part := out.Buf; len(part) > 0; part = part[min(len(part), 1<<20):] {
					if err := w.Compress(part[:min(len(part), 1<<20)]); err != nil {
						b.Fatal(err)
					}
				}
			}
		})) / float64(len(rows))
	}
	return inParquet, inLZ4
}

// floorColumns are rows as ch-go takes them.
func floorColumns(rows []floorRow) []proto.ColInput {
	var stream proto.ColUInt16
	var minute, opens, reads, finishes, saves, shares, skipped, impressions, clicks proto.ColUInt32
	var content, user, dwell proto.ColUInt64
	var progress, coarse, variant, resume proto.ColUInt8
	var lag proto.ColUInt16
	var first, last proto.ColInt64
	for i := range rows {
		r := &rows[i]
		stream, minute, content, user = append(stream, r.Stream), append(minute, uint32(r.Minute/1000)), append(content, r.Content), append(user, r.User)
		opens, reads, finishes = append(opens, r.Opens), append(reads, r.Reads), append(finishes, r.Finishes)
		saves, shares, dwell = append(saves, r.Saves), append(shares, r.Shares), append(dwell, r.Dwell)
		progress, first, last = append(progress, r.Progress), append(first, r.First), append(last, r.Last)
		coarse, skipped = append(coarse, r.Coarse), append(skipped, r.Skipped)
		impressions, clicks, variant = append(impressions, r.Impressions), append(clicks, r.Clicks), append(variant, r.Variant)
		resume, lag = append(resume, r.Resume), append(lag, r.ResumeLag)
	}
	return []proto.ColInput{stream, minute, content, user, opens, reads, finishes, saves, shares, dwell, progress, first, last, coarse, skipped,
		impressions, clicks, variant, resume, lag}
}
