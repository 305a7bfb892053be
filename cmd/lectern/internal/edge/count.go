package edge

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/emit"
)

// door counts what came to one of the doors: things (requests, datagrams, lines),
// and the events of those that could be read.
type door struct {
	things  [reasons]*metrics.Counter
	events  [reasons]*metrics.Counter
	shadows [reasons]*metrics.Counter
	last    atomic.Int64 // when the log last spoke of a refusal, Unix seconds

	downloads downloads // of those that take lines
}

func (e *Edge) newDoor(name string) *door {
	d := new(door)
	for r := range reasons {
		labels := fmt.Sprintf("{door=%q,outcome=%q}", name, r)
		d.things[r] = e.options.Metrics.NewCounter("lectern_edge_requests_total" + labels)
		d.events[r] = e.options.Metrics.NewCounter("lectern_edge_events_total" + labels)
	}
	for _, r := range []Reason{Origin, Budget, Bot, Preview, DataCenter} {
		d.shadows[r] = e.options.Metrics.NewCounter(fmt.Sprintf("lectern_edge_shadowed_total{door=%q,outcome=%q}", name, r))
	}
	return d
}

// tellEvery is how often the log says at the most why something was refused.
const tellEvery = time.Minute

// count counts one thing, and says now and then why some are refused.
func (e *Edge) count(d *door, why Reason, events int, err error) {
	d.things[why].Inc()
	d.events[why].Add(events)
	if why == Broken {
		e.fail(err)
	}
	if why == Taken {
		return
	}
	now := e.options.Now().Unix()
	if last := d.last.Load(); now-last >= int64(tellEvery.Seconds()) && d.last.CompareAndSwap(last, now) {
		said := []any{"outcome", why.String()}
		if err != nil {
			said = append(said, "error", err)
		}
		e.options.Logger.Info("events are refused; the metric lectern_edge_requests_total has how many and why", said...)
	}
}

// register makes the metrics of what is asked for.
func (e *Edge) register() {
	e.options.Metrics.RegisterMetricsWriter(func(w io.Writer) {
		metrics.WriteGaugeUint64(w, "lectern_edge_connections", uint64(e.listener.held()))
		counts := make([]streamCounts, len(e.all))
		for i, s := range e.all {
			counts[i] = s.counts()
		}
		for _, m := range []struct {
			name  string
			write func(w io.Writer, name string, v uint64)
			of    func(*streamCounts) uint64
		}{
			{"lectern_edge_pages", metrics.WriteGaugeUint64, func(c *streamCounts) uint64 { return c.pages }},
			{"lectern_edge_pages_evicted_total", metrics.WriteCounterUint64, func(c *streamCounts) uint64 { return c.evicted }},
			{"lectern_edge_events_again_total", metrics.WriteCounterUint64, func(c *streamCounts) uint64 { return c.again }},
			{"lectern_edge_events_missing_total", metrics.WriteCounterUint64, func(c *streamCounts) uint64 { return c.missing }},
			{"lectern_edge_events_waiting", metrics.WriteGaugeUint64, func(c *streamCounts) uint64 { return c.queue.Buffered }},
			{"lectern_edge_events_acked_total", metrics.WriteCounterUint64, func(c *streamCounts) uint64 { return c.queue.Acked }},
			{"lectern_edge_events_refused_total", metrics.WriteCounterUint64, func(c *streamCounts) uint64 { return c.queue.Refused }},
			{"lectern_edge_events_unsure_total", metrics.WriteCounterUint64, func(c *streamCounts) uint64 { return c.queue.Unsure }},
		} {
			for i, s := range e.all {
				m.write(w, fmt.Sprintf("%s{stream=%q}", m.name, s.Name), m.of(&counts[i]))
			}
		}
	})
}

// streamCounts are what is told of a stream.
type streamCounts struct {
	pages, evicted, again, missing uint64
	queue                          emit.Stats
}

func (s *stream) counts() streamCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return streamCounts{uint64(len(s.pages.of)), s.evicted, s.again, s.missing, s.queue.Stats()}
}

// quietLog keeps what net/http says of its clients out of the log, but for debugging.
func quietLog(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }
