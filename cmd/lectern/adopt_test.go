package main

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
)

// claimPlace opens a place below dir, as a daemon that starts does.
func claimPlace(t *testing.T, dir, place string) (s *spool.Spool, elders []string) {
	t.Helper()
	s, _, elders, err := spool.Claim(spool.Options{Dir: dir, SizeMax: 256 << 20, Metrics: metrics.NewSet(), Clock: time.Now}, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if s.Dir() != place {
		t.Fatalf("it has %s, want %s", s.Dir(), place)
	}
	return s, elders
}

// testHeirs are those of a daemon that has s.
func testHeirs(t *testing.T, dir string, s *spool.Spool, elders []string) *heirs {
	t.Helper()
	d := &daemon{
		config: &config.Config{}, logger: slog.New(slog.DiscardHandler), set: metrics.NewSet(), spool: s,
		collector: collector.New(collector.Options{Loops: 1, KeysMax: 1 << 10, SourcesMax: 1 << 10, Company: true, Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler)}),
	}
	d.config.Spool.Dir, d.config.Spool.SizeMax = dir, 256<<20
	h := newHeirs(d, elders)
	t.Cleanup(h.close)
	return h
}

// A place that an elder adopted and is done with may go to a fourth, which waits
// for the third: the third does not wait for it.
func TestElderPlaceGoesToYounger(t *testing.T) {
	dir := t.TempDir()
	first, _ := claimPlace(t, dir, dir)
	second, _ := claimPlace(t, dir, filepath.Join(dir, "1"))
	third, elders := claimPlace(t, dir, filepath.Join(dir, "2"))
	if !slices.Equal(elders, []string{dir, second.Dir()}) {
		t.Fatalf("the elders are %v", elders)
	}
	h := testHeirs(t, dir, third, elders)
	seal := &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Sources: []storage.Source{{ID: 9, Next: 5, End: 7, Session: true}}}
	if _, err := first.Seal(seal); err != nil {
		t.Fatal(err)
	}
	alone := func(want bool, when string) {
		t.Helper()
		if got := h.takeOver(); got != want {
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
	fourth, elders := claimPlace(t, dir, dir)
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
