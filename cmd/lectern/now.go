package main

import (
	"io"
	"net/http"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/now"
	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage/live"
)

// nowPath is where readers of this moment are asked for.
const nowPath = "/now.json"

// followReaders makes the readers of this moment, who are told of what is sealed, unless
// the configuration wants none.
func (d *daemon) followReaders() {
	o := live.Options{
		ReadersMax: d.config.Now.ReadersMax, ContentsMax: d.config.Now.ContentsMax,
		Named: func(number uint16) bool { return d.reloader.streams()[number] != "" },
	}
	if o.ReadersMax == 0 {
		return
	}
	d.readers = live.New(o)
	d.set.RegisterMetricsWriter(func(w io.Writer) {
		x := d.readers.Size()
		metrics.WriteGaugeUint64(w, "lectern_now_readers", uint64(x.Readers))
		metrics.WriteGaugeUint64(w, "lectern_now_contents", uint64(x.Contents))
		metrics.WriteGaugeUint64(w, "lectern_now_streams", uint64(x.Streams))
		metrics.WriteCounterUint64(w, "lectern_now_coarse_events_total", x.Unplaced)
		metrics.WriteCounterFloat64(w, "lectern_now_seconds_total", x.Took.Seconds())
	})
}

// showReaders has the operations server answer for the readers of this moment.
func (d *daemon) showReaders() {
	if d.readers == nil {
		d.ops.Handle(map[string]http.Handler{"GET " + nowPath: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "nothing is known of readers at this moment: now.readers_max is 0", http.StatusNotFound)
		})})
		return
	}
	board := now.New(now.Options{
		Readers: d.readers, Collector: d.spool.Collector(), Address: d.ops.Address,
		StreamNames: func() map[uint16]string { return d.reloader.streams() },
		TextsOf:     func(stream uint16, content uint64) collector.Texts { return d.collector.TextsOf(stream, content) },
		Peers:       d.config.Ops.PeerNames(), Failed: d.set.NewCounter("lectern_now_peer_failures_total"), Clock: time.Now,
	})
	d.ops.Handle(map[string]http.Handler{"GET " + nowPath: board})
	if d.config.Ops.Peers != "" {
		d.ops.Handle(map[string]http.Handler{"POST " + now.PeerPath: board.Peer()})
	}
}
