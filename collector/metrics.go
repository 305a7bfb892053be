package collector

import (
	"fmt"
	"io"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/wire"
)

// writeMetrics writes what docs/METRICS.md tells of the collector. The tallies
// of a loop are of one instant, so that in their sum, too, every event sent is
// accepted, refused, shed, or lost and not found again.
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
			if k.waits {
				waiting++
			}
		}
		s.Unlock()
	}
	counter(w, "lectern_events_sent_total", t.sent)
	counter(w, "lectern_events_accepted_total", t.accepted)
	byReason(w, "lectern_events_refused_total", &t.refusedEvents)
	counter(w, "lectern_events_shed_total", t.shed)
	counter(w, "lectern_events_lost_total", t.lost)
	counter(w, "lectern_events_found_total", t.found)
	family(w, "lectern_events_clamped_total", "counter")
	fmt.Fprintf(w, "lectern_events_clamped_total{reason=\"late\"} %d\n", t.late)
	fmt.Fprintf(w, "lectern_events_clamped_total{reason=\"future\"} %d\n", t.future)
	counter(w, "lectern_events_duplicate_total", t.duplicate)
	counter(w, "lectern_events_stale_total", t.stale)
	counter(w, "lectern_events_reordered_total", t.reordered)
	byReason(w, "lectern_events_unplaced_total", &t.unplaced)

	byTransport(w, "lectern_frames_total", &t.frames)
	byReason(w, "lectern_frames_refused_total", &t.refusedFrames)
	counter(w, "lectern_beat_frames_total", t.beats)
	byTransport(w, "lectern_received_bytes_total", &t.bytes)
	counter(w, "lectern_udp_datagrams_total", t.datagrams)
	counter(w, "lectern_event_loop_wakeups_total", t.wakeups)
	counter(w, "lectern_udp_receive_calls_total", t.batches)

	gauge(w, "lectern_connections", c.cuts.connected.Load())
	counter(w, "lectern_connections_opened_total", t.opened)
	clients := c.secure
	if clients == nil {
		clients = new(secure)
	}
	counter(w, "lectern_tls_handshakes_total", clients.made.Load())
	family(w, "lectern_tls_handshake_failures_total", "counter")
	for why := range clients.failed {
		fmt.Fprintf(w, "lectern_tls_handshake_failures_total{reason=%q} %d\n", tlsFailureWords[why], clients.failed[why].Load())
	}
	gauge(w, "lectern_tls_connections", clients.held.Load())
	counter(w, "lectern_accept_failures_total", c.acceptFailures.Load())
	gauge(w, "lectern_sessions", int64(len(c.cuts.sessions.all())))
	gauge(w, "lectern_sessions_waiting", int64(waiting))
	counter(w, "lectern_acks_sent_total", t.acks)
	counter(w, "lectern_sessions_closed_no_room_total", t.noRoom)
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

// byReason writes a line for each word of the closed list, also those never
// seen: a rate over a counter that appears late misses its first step.
func byReason(w io.Writer, name string, counts *[wire.Refusals]uint64) {
	family(w, name, "counter")
	for why := wire.Accepted + 1; int(why) < wire.Refusals; why++ {
		fmt.Fprintf(w, "%s{reason=%q} %d\n", name, why.String(), counts[why])
	}
}

func byTransport(w io.Writer, name string, counts *[transports]uint64) {
	family(w, name, "counter")
	for t := range counts {
		fmt.Fprintf(w, "%s{transport=%q} %d\n", name, transportWords[t], counts[t])
	}
}
