package takeover

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/internal/poll"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/parquet"
	"github.com/lectern/lectern/storage/spool"
)

// claimPlace opens a place below dir, as a daemon that starts does.
func claimPlace(t *testing.T, dir, place string, set *metrics.Set) (s *spool.Spool, elders []string) {
	t.Helper()
	s, _, elders, err := spool.Claim(spool.Options{Dir: dir, SizeMax: 256 << 20, Metrics: set, Clock: time.Now}, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if s.Dir() != place {
		t.Fatalf("it has %s, want %s", s.Dir(), place)
	}
	return s, elders
}

// testHeir is that of a daemon that has s. files is its store.
func testHeir(t *testing.T, dir string, s *spool.Spool, elders []string) (h *Heir, files *parquet.Store) {
	t.Helper()
	files, err := parquet.Open(parquet.Options{Dir: t.TempDir(), Collector: s.Collector(), Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	logger := slog.New(slog.DiscardHandler)
	h = New(Options{
		Dir: dir, Spool: s, SizeMax: 256 << 20, Elders: elders,
		Collector: collector.New(collector.Options{Loops: 1, KeysMax: 1 << 10, SourcesMax: 1 << 10, Company: true, Metrics: metrics.NewSet(), Logger: logger}),
		Open:      func(s *spool.Spool) (storage.Store, error) { return files.Beside(s.Collector()) },
		Metrics:   metrics.NewSet(), Logger: logger,
	})
	t.Cleanup(h.Close)
	return h, files
}

// A place that an elder adopted and is done with may go to a fourth, which waits
// for the third: the third does not wait for it.
func TestElderPlaceGoesToYounger(t *testing.T) {
	dir := t.TempDir()
	first, _ := claimPlace(t, dir, dir, nil)
	second, _ := claimPlace(t, dir, filepath.Join(dir, "1"), nil)
	third, elders := claimPlace(t, dir, filepath.Join(dir, "2"), nil)
	if !slices.Equal(elders, []string{dir, second.Dir()}) {
		t.Fatalf("the elders are %v", elders)
	}
	h, _ := testHeir(t, dir, third, elders)
	seal := &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Sources: []storage.Source{{ID: 9, Next: 5, End: 7, Session: true}}}
	if err := first.Seal(seal, func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	alone := func(want bool, when string) {
		t.Helper()
		if got := h.TakeOver(); got != want {
			t.Fatalf("%s, it is alone: %t", when, got)
		}
	}
	alone(false, "with two elders")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	alone(false, "with one elder, which has the other's place to adopt")
	adopted, _, err := spool.Open(spool.Options{Dir: dir, SizeMax: 256 << 20, Metrics: metrics.NewSet(), Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	alone(false, "with one elder, which adopts")
	if err := adopted.Retire(); err != nil {
		t.Fatal(err)
	}
	alone(false, "with one elder, which has adopted")
	fourth, elders := claimPlace(t, dir, dir, nil)
	if !slices.Equal(elders, []string{second.Dir(), third.Dir()}) {
		t.Fatalf("the fourth's elders are %v", elders)
	}
	if err := second.Retire(); err != nil {
		t.Fatal(err)
	}
	alone(true, "with none but a younger one")
	if err := fourth.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is damaged in an adopted spool shows in the metrics that alarms look at.
func TestDamageInAdoptedSpoolIsShown(t *testing.T) {
	dir := t.TempDir()
	elder, _ := claimPlace(t, dir, dir, nil)
	set := metrics.NewSet() // of the process
	mine, elders := claimPlace(t, dir, filepath.Join(dir, "1"), set)
	h, _ := testHeir(t, dir, mine, elders)
	for i := range 3 {
		seal := &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Stream: 1, Content: 7, Opens: 1}}}
		var number uint64
		err := elder.Seal(seal, func(n uint64) { number = n })
		if err == nil && i < 2 {
			err = elder.Flush(minutesOf(seal.Rows), nil, seal.Window, storage.Mark{Through: number, Before: storage.All})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := elder.Close(); err != nil {
		t.Fatal(err)
	}
	runs, err := filepath.Glob(filepath.Join(dir, "segment-*"))
	if err != nil || len(runs) != 2 {
		t.Fatalf("there are the runs %v, %v", runs, err)
	}
	// One of which the index is gone, found at the start, and one of which a row
	// has changed, found when it is read.
	if err := os.Truncate(runs[0], 100); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(runs[1], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damaged"), 200); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if !h.TakeOver() {
		t.Fatal("it is not alone")
	}
	poll.Until(t, "both files are found out", func() bool { return shown(t, set, "lectern_spool_files_set_aside_total") == 2 })
}

// shown is the value of a metric, as a scrape has it; NaN where it has none.
func shown(t *testing.T, set *metrics.Set, name string) float64 {
	t.Helper()
	var b strings.Builder
	set.WritePrometheus(&b)
	for line := range strings.Lines(b.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return math.NaN()
}

// What waits in an adopted spool, and since when, and that the store may not have
// it, shows in the metrics that alarms look at.
func TestWaitInAdoptedSpoolIsShown(t *testing.T) {
	dir := t.TempDir()
	elder, _ := claimPlace(t, dir, dir, nil)
	mine, elders := claimPlace(t, dir, filepath.Join(dir, "1"), nil)
	h, files := testHeir(t, dir, mine, elders)
	since := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	seal := &storage.Seal{
		Window: storage.Window{Start: since.UnixMilli(), End: since.UnixMilli() + 1000},
		Rows:   []storage.Row{{Stream: 1, Content: 7, Opens: 1}},
	}
	var number uint64
	err := elder.Seal(seal, func(n uint64) { number = n })
	if err == nil {
		err = elder.Flush(minutesOf(seal.Rows), nil, seal.Window, storage.Mark{Through: number, Before: storage.All})
	}
	if err != nil {
		t.Fatal(err)
	}
	// The store has a later block of the elder's: its spool is an older copy.
	store, err := files.Beside(elder.Collector())
	if err != nil {
		t.Fatal(err)
	}
	later := &storage.Block{Collector: elder.Collector(), Number: 5, Window: seal.Window}
	later.Rows.Append(&seal.Rows[0])
	if answer, err := store.Store(t.Context(), later); answer != storage.Stored {
		t.Fatal(answer, err)
	}
	for _, name := range []string{"lectern_spool_blocks", "lectern_spool_rows", "lectern_spool_oldest_block_age_seconds"} {
		if got := shown(t, h.o.Metrics, name); got != 0 {
			t.Errorf("before, %s is %v", name, got)
		}
	}
	if err := elder.Close(); err != nil {
		t.Fatal(err)
	}
	if !h.TakeOver() {
		t.Fatal("it is not alone")
	}
	poll.Until(t, "the spool is refused", func() bool { return shown(t, h.o.Metrics, "lectern_spools_behind_store") == 1 })
	poll.Until(t, "a person can have it", func() bool {
		running, err := spool.Running(dir)
		return !running && err == nil
	})
	if !h.TakeOver() {
		t.Error("it is taken over again")
	}
	if got := shown(t, h.o.Metrics, "lectern_spool_rows"); got != 1 {
		t.Errorf("%v rows wait, as it is shown", got)
	}
	if got := shown(t, h.o.Metrics, "lectern_spool_blocks"); got != 1 {
		t.Errorf("%v blocks wait, as it is shown", got)
	}
	if got := shown(t, h.o.Metrics, "lectern_spool_oldest_block_age_seconds"); got < 3600 || got > time.Since(since).Seconds() {
		t.Errorf("the oldest waits for %v s, as it is shown", got)
	}
	moved, _, err := spool.Renew(dir)
	if err != nil || moved != filepath.Join(dir, "renewed-1") {
		t.Errorf("it is moved to %s, %v", moved, err)
	}
	if !spool.Vacant(dir) {
		t.Error("the place is not vacant")
	}
	if block, err := spool.ReadBlock(moved, 1); err != nil || block.Rows.Len() != 1 {
		t.Errorf("its block is %+v, %v", block, err)
	}
}

// minutesOf adds up rows.
func minutesOf(rows []storage.Row) *storage.Minutes {
	m := storage.NewMinutes()
	m.Add(rows)
	return m
}
