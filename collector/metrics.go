package collector

import (
	"fmt"
	"io"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// writeMetrics writes what docs/METRICS.md tells of the collector.
func (c *Collector) writeMetrics(w io.Writer) {
	var t tally
	var keys, slots, buffered, waiting int
	for _, s := range c.shards {
		s.Lock()
		t.add(&s.tally)
		keys += s.table.used
		slots += s.table.most
		buffered += s.conns.partials.bytes
		for _, k := range s.conns.list {
			if k.phase == phaseWaiting {
				waiting++
			}
		}
		s.Unlock()
	}
	writeAccount(w, c.cuts.totals())
	writeMeters(w, &t)

	c.cuts.ended.writeMetrics(w, c.rules.streams.Load())

	gauge(w, "lectern_connections", c.cuts.connected.Load())
	clients := c.secure
	if clients == nil {
		clients = new(secure)
	}
	counter(w, "lectern_tls_handshakes_total", clients.made.Load())
	family(w, "lectern_tls_handshake_failures_total", "counter")
	for why := range clients.failed {
		fmt.Fprintf(w, "lectern_tls_handshake_failures_total{reason=%q} %d\n", tlsFailureWords[why], clients.failed[why].Load())
	}
	gauge(w, "lectern_tls_connections", clients.connCount.Load())
	counter(w, "lectern_accept_failures_total", c.acceptFailures.Load())
	gauge(w, "lectern_sessions", int64(len(c.cuts.sessions.all())))
	gauge(w, "lectern_sessions_waiting", int64(waiting))
	gauge(w, "lectern_connections_buffered_bytes", int64(buffered))
	gauge(w, "lectern_sources", c.sources.live.Load())
	gauge(w, "lectern_sources_met_midway", c.sources.middle.Load())
	gauge(w, "lectern_sources_on_probation", c.sources.strangers.Load())
	counter(w, "lectern_sources_displaced_total", c.sources.displaced.Load())
	family(w, "lectern_sources_turned_away_total", "counter")
	for why := range c.sources.turned {
		fmt.Fprintf(w, "lectern_sources_turned_away_total{reason=%q} %d\n", turnedWords[why], c.sources.turned[why].Load())
	}
	counter(w, "lectern_spans_total", c.sources.spans.Load())
	gauge(w, "lectern_contents_named", c.cuts.names.held.Load())
	gauge(w, "lectern_table_keys", int64(keys))
	gauge(w, "lectern_table_slots", int64(slots))

	c.rules.streams.Load().writeKeys(w)

	family(w, "lectern_cuts_total", "counter")
	for why := range c.cuts.made {
		fmt.Fprintf(w, "lectern_cuts_total{reason=%q} %d\n", causeWords[why], c.cuts.made[why].Load())
	}
	counter(w, "lectern_cuts_denied_total", c.cuts.denied.Load())
	gauge(w, "lectern_udp_receive_buffer_asked_bytes", int64(c.options.ReceiveBuffer))
	gauge(w, "lectern_udp_receive_buffer_granted_bytes", c.granted.Load())
	counter(w, "lectern_udp_kernel_drops_total", c.KernelDrops())
	counter(w, "lectern_event_loop_messages_total", c.notes.said.Load())
}

func family(w io.Writer, name, kind string) { metrics.WriteMetadataIfNeeded(w, name, kind) }

func counter(w io.Writer, name string, v uint64) { metrics.WriteCounterUint64(w, name, v) }

func gauge(w io.Writer, name string, v int64) {
	family(w, name, "gauge")
	fmt.Fprintf(w, "%s %d\n", name, v)
}

// writtenElsewhere are the counters whose metrics others write: with a label, and by the
// spool.
var writtenElsewhere = [storage.Plain]bool{storage.Clamped: true, storage.Damaged: true}

// writeAccount writes a line for each counter, also of those never seen: a rate over
// a counter that appears late misses its first step.
func writeAccount(w io.Writer, of [storage.Classes]storage.Book) {
	var sum storage.Book
	family(w, "lectern_events_by_class_total", "counter")
	for class := range of {
		sum.Add(&of[class])
		for k := range storage.Plain {
			if k != storage.Damaged { // by the spool, at a start
				fmt.Fprintf(w, "lectern_events_by_class_total{class=%q,counter=%q} %d\n", storage.Class(class), k, of[class].Counts[k])
			}
		}
		fmt.Fprintf(w, "lectern_events_by_class_total{class=%q,counter=\"refused\"} %d\n", storage.Class(class), of[class].RefusedEvents())
	}
	for k := range storage.Plain {
		if !writtenElsewhere[k] {
			counter(w, k.Metric(), sum.Counts[k])
		}
	}
	for f := range storage.Families {
		family(w, f.Metric(), "counter")
		for why := wire.Accepted + 1; int(why) < wire.Refusals; why++ {
			fmt.Fprintf(w, "%s{reason=%q} %d\n", f.Metric(), why.String(), sum.Counts[f.Of(why)])
		}
	}
}

// writeMeters writes a line for each meter.
func writeMeters(w io.Writer, t *tally) {
	last := ""
	for m, of := range meterOf {
		if of.metric != last {
			family(w, of.metric, "counter")
		}
		last = of.metric
		fmt.Fprintf(w, "%s%s %d\n", of.metric, of.label, t[m])
	}
}
