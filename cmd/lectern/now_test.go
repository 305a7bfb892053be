package main

import (
	"errors"
	"testing"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/live"
)

// fullSink takes a cut at the second try.
type fullSink struct{ full bool }

func (s *fullSink) Room() int { return 1 }
func (s *fullSink) MakeRoom() {}

func (s *fullSink) Seal(_ *storage.Seal, durable func()) error {
	if s.full {
		return errors.New("no room")
	}
	durable()
	return nil
}

func (s *fullSink) Retry() error {
	if s.full {
		return errors.New("no room")
	}
	return nil
}

// Readers are those of what is sealed, each cut once, also where that took a second try.
func TestReadersAreOfWhatIsSealed(t *testing.T) {
	full := &fullSink{}
	set := metrics.NewSet()
	s := newNowSink(full, live.New(live.Options{ReadersMax: 1000, ContentsMax: 10}), set)
	seal := func(second int64) storage.Seal {
		ms := 1_700_000_000_000 + second*1000
		row := storage.Row{Stream: 1, Content: 1, User: uint64(second), Opens: 1, Minute: uint32(ms / 60_000 * 60), First: ms, Last: ms}
		return storage.Seal{Window: storage.Window{Start: ms, End: ms + 1000}, Rows: []storage.Row{row}}
	}
	readers := func(want uint64) {
		t.Helper()
		if got := s.readers.Top(1).Streams; want == 0 && len(got) > 0 || want > 0 && (len(got) == 0 || got[0].Minute != want || got[0].Opens != want) {
			t.Errorf("%+v, want %d readers", got, want)
		}
	}
	full.full = true
	first, second := seal(1), seal(2)
	if s.Seal(&first, func() { t.Error("durable without room") }) == nil || s.Retry() == nil {
		t.Fatal("a full sink took it")
	}
	readers(0)
	full.full = false
	for range 3 {
		if err := s.Retry(); err != nil {
			t.Fatal(err)
		}
	}
	readers(1)
	durable := false
	if err := s.Seal(&second, func() { durable = true }); err != nil || !durable {
		t.Fatal(err)
	}
	readers(2)
}
