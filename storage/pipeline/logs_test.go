package pipeline

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
)

// Processes that are killed leave a log file each. Where all that was sealed in
// them is that a source was forgotten, nothing is ever flushed; the logs go all the
// same, and the spool is not full for ever.
func TestSealsWithoutRowsLetLogsGo(t *testing.T) {
	for _, seals := range []int{1, 500} { // 500 fill more logs than there is room for
		t.Run(fmt.Sprint(seals, " seals a life"), func(t *testing.T) { sealsWithoutRows(t, seals) })
	}
}

func sealsWithoutRows(t *testing.T, seals int) {
	synctest.Test(t, func(t *testing.T) {
		s := openTestSpool(t, spool.Options{SizeMax: 32 << 10, LogSize: 8 << 10})
		for life := range 6 {
			r := s.reopen()
			g := NewGatherer(GathererOptions{
				Spool: s.Spool, Store: &shelf{}, FlushInterval: time.Second, RowsWaitingMax: 1 << 20, Recovered: r,
				Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
			})
			if room := g.Room(); room == 0 {
				t.Fatalf("life %d begins full, with %d logs and %d blocks", life, len(s.disk.Names("log-")), s.Blocks())
			}
			for i := range seals {
				if err := sealOne(g, &storage.Seal{Forgotten: []uint64{uint64(i)}}); err != nil {
					t.Fatalf("life %d, seal %d: %v", life, i, err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if room := g.Room(); room == 0 {
				t.Fatalf("life %d is full, with %d logs and %d blocks", life, len(s.disk.Names("log-")), s.Blocks())
			}
			s.disk.Die() // and what the process still tries fails
			_ = g.Close(t.Context())
		}
	})
}
