package main

import (
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/now"
	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/live"
)

// nowPath is where readers of this moment are asked for.
const nowPath = "/now.json"

// withReaders has a sink's cuts told to the readers of this moment as well, and the
// operations server answer for them, unless the configuration wants none.
func (d *daemon) withReaders(sink collector.Sink) collector.Sink {
	o := live.Options{
		ReadersMax: d.config.Now.ReadersMax, ContentsMax: d.config.Now.ContentsMax,
		Named: func(number uint16) bool { return d.reloader.streams()[number] != "" },
	}
	if o.ReadersMax == 0 {
		d.ops.Handle(map[string]http.Handler{"GET " + nowPath: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "nothing is known of readers at this moment: now.readers_max is 0", http.StatusNotFound)
		})})
		return sink
	}
	readers := live.New(o)
	board := now.New(now.Options{
		Readers: readers, Collector: d.spool.Collector(), Address: d.ops.Address,
		StreamNames: func() map[uint16]string { return d.reloader.streams() },
		NameOf:      func(stream uint16, content uint64) (string, bool) { return d.collector.NameOf(stream, content) },
		Peers:       d.config.Ops.Peers, Failed: d.set.NewCounter("lectern_now_peer_failures_total"), Clock: time.Now,
	})
	d.ops.Handle(map[string]http.Handler{"GET " + nowPath: board})
	if d.config.Ops.Peers != "" {
		d.ops.Handle(map[string]http.Handler{"POST " + now.PeerPath: board.Peer()})
	}
	return newNowSink(sink, readers, d.set)
}

// nowSink tells of what is sealed.
type nowSink struct {
	collector.Sink
	readers *live.Readers
	took    *metrics.FloatCounter
	coarse  *metrics.Counter
	waits   *storage.Seal // what could not be sealed yet
}

func newNowSink(sink collector.Sink, readers *live.Readers, set *metrics.Set) *nowSink {
	s := &nowSink{
		Sink: sink, readers: readers,
		took: set.NewFloatCounter("lectern_now_seconds_total"), coarse: set.NewCounter("lectern_now_coarse_events_total"),
	}
	gauge := func(name string, of func(live.Size) int) {
		set.NewGauge(name, func() float64 { return float64(of(readers.Size())) })
	}
	gauge("lectern_now_readers", func(x live.Size) int { return x.Readers })
	gauge("lectern_now_contents", func(x live.Size) int { return x.Contents })
	gauge("lectern_now_streams", func(x live.Size) int { return x.Streams })
	return s
}

// Seal is part of collector.Sink.
func (s *nowSink) Seal(seal *storage.Seal, durable func()) error {
	if err := s.Sink.Seal(seal, durable); err != nil {
		s.waits = seal
		return err
	}
	s.add(seal)
	return nil
}

// Retry is part of collector.Sink.
func (s *nowSink) Retry() error {
	err := s.Sink.Retry()
	if err == nil && s.waits != nil {
		s.add(s.waits)
		s.waits = nil
	}
	return err
}

func (s *nowSink) add(seal *storage.Seal) {
	began := time.Now()
	s.readers.Add(seal.Window, seal.Rows)
	s.took.Add(time.Since(began).Seconds())
	s.coarse.Set(s.readers.Size().Unplaced)
}
