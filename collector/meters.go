package collector

import "fmt"

// transport says how a frame came.
type transport uint8

const (
	overUDP transport = iota
	overTCP
	overTLS
	overDoor // Collector.Take
	transports
)

var transportWords = [transports]string{overUDP: "udp", overTCP: "tcp", overTLS: "tls", overDoor: "internal"}

// meter is one number of a loop that is in no account: one of a closed list. Its
// metric is in meterOf, and what it means in docs/METRICS.md.
type meter uint8

// Meters of which there is one for each transport; meter(t) behind these.
const (
	framesBy meter = 0
	bytesBy  meter = meter(transports)
)

// The others.
const (
	beatFrames meter = 2*meter(transports) + iota
	readDatagrams
	wakeups
	receiveCalls
	clampedLate
	clampedFuture
	clampedRoom
	opened
	acksSent
	closedNoRoom
	nameFrames
	namesTaken
	namesKnown
	namesOfSource
	namesOfStream
	namesNoRoom
	meters
)

// meterOf is the metric of each, and its label. Meters of one metric stand together.
var meterOf = func() [meters]struct{ metric, label string } {
	all := [meters]struct{ metric, label string }{
		beatFrames:    {"lectern_beat_frames_total", ""},
		readDatagrams: {"lectern_udp_datagrams_total", ""},
		wakeups:       {"lectern_event_loop_wakeups_total", ""},
		receiveCalls:  {"lectern_udp_receive_calls_total", ""},
		clampedLate:   {"lectern_events_clamped_total", `{reason="late"}`},
		clampedFuture: {"lectern_events_clamped_total", `{reason="future"}`},
		clampedRoom:   {"lectern_events_clamped_total", `{reason="room"}`},
		opened:        {"lectern_connections_opened_total", ""},
		acksSent:      {"lectern_acks_sent_total", ""},
		closedNoRoom:  {"lectern_sessions_closed_no_room_total", ""},
		nameFrames:    {"lectern_name_frames_total", ""},
		namesTaken:    {"lectern_names_taken_total", ""},
		namesKnown:    {"lectern_names_known_total", ""},
		namesOfSource: {"lectern_names_left_out_total", `{reason="source"}`},
		namesOfStream: {"lectern_names_left_out_total", `{reason="stream"}`},
		namesNoRoom:   {"lectern_names_left_out_total", `{reason="room"}`},
	}
	for t, word := range transportWords {
		label := fmt.Sprintf("{transport=%q}", word)
		all[framesBy+meter(t)].metric, all[framesBy+meter(t)].label = "lectern_frames_total", label
		all[bytesBy+meter(t)].metric, all[bytesBy+meter(t)].label = "lectern_received_bytes_total", label
	}
	return all
}()

// tally is what one loop has counted since it started, by meter: plain numbers under
// the shard's mutex, summed when somebody asks.
type tally [meters]uint64

func (t *tally) add(o *tally) {
	for m := range t {
		t[m] += o[m]
	}
}
