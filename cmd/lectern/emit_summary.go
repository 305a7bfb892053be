package main

import "github.com/lectern/lectern/emit"

// emitSummary is the last line on standard output. Events + Recovered are Sent +
// Queued + all of Dropped.
type emitSummary struct {
	Events       uint64            `json:"events"`
	Recovered    uint64            `json:"recovered"`
	Sent         uint64            `json:"sent"`
	Queued       uint64            `json:"queued"`
	Dropped      map[string]uint64 `json:"dropped"` // by reason
	Frames       uint64            `json:"frames"`
	Bytes        uint64            `json:"bytes"`
	SkippedLines int64             `json:"skipped_lines"`
	Seconds      float64           `json:"seconds"`

	Log *emitLogSummary `json:"log,omitempty"`
}

// summarize is what became of a run's events.
func summarize(s emit.Stats, o *emitOptions) emitSummary {
	sum := emitSummary{Events: s.Events, Recovered: s.Recovered, Dropped: map[string]uint64{}, Frames: s.Frames, Bytes: s.Bytes}
	drop := func(reason string, n uint64) {
		if n > 0 {
			sum.Dropped[reason] = n
		}
	}
	if o.network == "udp" {
		sum.Sent = s.Events - s.Dropped - s.Unreachable
		drop("send_error", s.Dropped)
		drop("unreachable", s.Unreachable)
		return sum
	}
	sum.Sent = s.Acked
	drop("refused", s.Refused)
	drop("unsure", s.Unsure)
	if o.client.Queue != "" {
		sum.Queued = s.Buffered
	} else {
		drop("unacknowledged", s.Buffered)
	}
	return sum
}
