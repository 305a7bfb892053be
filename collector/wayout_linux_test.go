package collector

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage/parquet"
	"github.com/lectern/lectern/storage/pipeline"
	"github.com/lectern/lectern/storage/spool"
	"github.com/lectern/lectern/wire"
)

// BenchmarkWayOut takes rows from a loop's table to the Parquet store as the
// daemon does: a cut, its seal, rows of several cuts added up, blocks in the
// spool, files. It is the CPU time of the whole process, the disk's and the
// garbage collector's part with it; compare ns/row. Each row is in so many cuts.
func BenchmarkWayOut(b *testing.B) {
	for _, cuts := range []int{1, 10} {
		b.Run(fmt.Sprintf("cuts=%d", cuts), func(b *testing.B) { benchWayOut(b, cuts) })
	}
}

func benchWayOut(b *testing.B, cuts int) {
	const rows, waitingMax = 1_000_000, 3_000_000
	quiet, set := slog.New(slog.DiscardHandler), metrics.NewSet()
	sp, _, err := spool.Open(spool.Options{Dir: b.TempDir(), SizeMax: 1 << 32, Logger: quiet, Metrics: set, Clock: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer sp.Close()
	store, err := parquet.Open(parquet.Options{Dir: b.TempDir(), Collector: sp.Collector(), Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	g := pipeline.NewGatherer(pipeline.GathererOptions{
		Spool: sp, Store: store, FlushInterval: 100 * time.Millisecond, RowsWaitingMax: waitingMax, Metrics: set, Logger: quiet,
	})
	defer g.Close(b.Context())

	o := Options{Loops: 1, KeysMax: 2 * rows, SourcesMax: 10, Sink: g, Metrics: set}
	clocks := newClocks(&o, 0)
	c := newCutter(&o, newSources(&o), clocks)
	c.start = time.Now().UnixMilli()
	s := newShard(&o, newRules(&o), c.sources, c, clocks)
	c.shards = []*shard{s}
	events, moments := make([]wire.Event, 1000), make([]moment, 1000)
	minute := uint32(time.Now().Unix() / 60)
	fill := func(of int) {
		for n := range rows / cuts / len(events) {
			for i := range events {
				key := hashSource([2]uint64{uint64(of), 1}, uint64(n*len(events)+i))
				events[i] = wire.Event{Content: key % 5000, User: key, Kind: wire.KindRead, Dwell: 5000, Progress: uint8(key % 101)}
				moments[i] = periodOf(minute, 1).at(uint16(key % millisPerMinute))
			}
			s.table.count(events, moments)
		}
	}
	var spent time.Duration
	n := 0
	for b.Loop() {
		for range cuts {
			fill(n) // the same keys in each cut
			before := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
			if !c.cut(causeTime) {
				b.Fatal("a cut failed")
			}
			spent += cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) - before
		}
		n++
		before := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
		for g.Room() < waitingMax || sp.Blocks() > 0 {
			time.Sleep(time.Millisecond)
		}
		spent += cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) - before
	}
	row := float64(spent.Nanoseconds()) / float64(b.N*rows)
	b.ReportMetric(row, "ns/row")
	b.ReportMetric(1e3/row, "Mrows/core-s")
	b.ReportMetric(0, "ns/op")
}
