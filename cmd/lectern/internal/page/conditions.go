package page

import (
	"time"
)

// condition is an alert's, as a collector can tell it of itself. The alerts stand in
// kube/components/podmonitor/alerts.yaml, and tests compare these with them: names,
// times, and what holds where promtool says that they fire.
type condition struct {
	name     string
	severity string        // page or ticket
	after    time.Duration // it fires where it has held for so long
	holds    func(*history) bool
}

const (
	page   = "page"
	ticket = "ticket"
)

// minutes is that many.
func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// missing is how many events were lost in the last d and not found.
func (h *history) missing(d time.Duration) float64 {
	return h.increase("lectern_events_lost_total", d) - h.increase("lectern_events_found_total", d)
}

// unbalanced is by how many events the books are off.
func (h *history) unbalanced() float64 {
	return h.last("lectern_events_sent_total") - h.last("lectern_events_accepted_total") - h.last("lectern_events_refused_total") -
		h.last("lectern_events_shed_total") - h.last("lectern_events_lost_total") + h.last("lectern_events_found_total")
}

// filled is how full the spool is, as a part of what it may have.
func (h *history) filled() float64 {
	return over(h.last("lectern_spool_bytes"), h.last("lectern_spool_size_max_bytes"))
}

// over is a part of a whole, 0 of nothing.
func over(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return part / whole
}

// refusedBy says whether frames are refused for one of these reasons, more than n a
// second.
func (h *history) refusedBy(n float64, reasons ...string) bool {
	for _, why := range reasons {
		if h.rate(`lectern_frames_refused_total{reason="`+why+`"}`, minutes(5)) > n {
			return true
		}
	}
	return false
}

// unlimited is what GOMEMLIMIT is above where there is none.
const unlimited = 1 << 60

// conditions are those of all alerts but four, which are about several collectors or
// about one that is not there, and those of edges.
var conditions = []condition{
	{"LecternBooksDoNotBalance", page, minutes(1), func(h *history) bool { return h.unbalanced() != 0 }},
	{"LecternShedding", page, minutes(1), func(h *history) bool { return h.rate("lectern_events_shed_total", minutes(5)) > 0 }},
	{"LecternCoarse", ticket, minutes(5), func(h *history) bool {
		return h.rate("lectern_events_coarse_users_total", minutes(5))+h.rate("lectern_events_coarse_contents_total", minutes(5)) > 0
	}},
	{"LecternReceiveBufferOverflows", page, minutes(2), func(h *history) bool {
		return h.rate("lectern_udp_kernel_drops_total", minutes(5)) > 0 && h.missing(minutes(5)) > 0
	}},
	{"LecternLossOnTheWay", ticket, minutes(5), func(h *history) bool {
		return over(h.missing(minutes(10)), h.increase("lectern_events_sent_total", minutes(10))) > 0.01 &&
			h.rate("lectern_udp_kernel_drops_total", minutes(10)) == 0
	}},
	{"LecternReceiveBufferSmall", ticket, minutes(15), func(h *history) bool {
		return h.last("lectern_udp_receive_buffer_granted_bytes") < h.last("lectern_udp_receive_buffer_asked_bytes")
	}},
	{"LecternRefusing", ticket, minutes(5), func(h *history) bool {
		return over(h.rate("lectern_frames_refused_total", minutes(5)), h.rate("lectern_frames_total", minutes(5))) > 0.01
	}},
	{"LecternSourcesTurnedAway", ticket, minutes(5), func(h *history) bool { return h.rate("lectern_sources_turned_away_total", minutes(5)) > 0 }},
	{"LecternSourceContradicted", ticket, minutes(5), func(h *history) bool { return h.refusedBy(0.1, "position") }},
	{"LecternSumsSaturated", ticket, 0, func(h *history) bool { return h.increase("lectern_events_saturated_total", time.Hour) > 0 }},
	{"LecternSealsRefused", ticket, minutes(10), func(h *history) bool { return h.refusedBy(0.1, "sealed", "unsealed", "time") }},
	{"LecternKeysUnreadable", ticket, minutes(15), func(h *history) bool { return h.last("lectern_key_directories_unreadable") > 0 }},
	{"LecternClamping", ticket, minutes(15), func(h *history) bool {
		return over(h.rate("lectern_events_clamped_total", minutes(15)), h.rate("lectern_events_accepted_total", minutes(15))) > 0.05
	}},
	{"LecternNotCutting", page, minutes(5), func(h *history) bool {
		return len(h.since(minutes(5))) > 1 && h.increase("lectern_cuts_total", minutes(5)) == 0 && h.rate("lectern_cuts_denied_total", minutes(5)) == 0
	}},
	{"LecternSealFailing", page, 0, func(h *history) bool { return h.increase("lectern_seal_failures_total", minutes(5)) > 0 }},
	{"LecternSealSlow", ticket, minutes(10), func(h *history) bool {
		slow, ok := h.quantile(0.99, "lectern_seal_seconds", minutes(5))
		return ok && slow > 1
	}},
	{"LecternBlockWriteFailing", page, minutes(5), func(h *history) bool { return h.increase("lectern_block_write_failures_total", minutes(15)) > 0 }},
	{"LecternCutsDenied", page, minutes(5), func(h *history) bool { return h.rate("lectern_cuts_denied_total", minutes(5)) > 0 }},
	{"LecternSpoolFilling", ticket, minutes(5), func(h *history) bool { return h.filled() > 0.5 }},
	{"LecternSpoolFull", page, minutes(5), func(h *history) bool {
		most := h.last("lectern_spool_size_max_bytes")
		return h.filled() > 0.9 || h.filled() > 0.25 && h.ahead("lectern_spool_bytes", minutes(30), time.Hour) > most
	}},
	{"LecternStoreBehind", ticket, minutes(5), func(h *history) bool { return h.last("lectern_spool_oldest_block_age_seconds") > 300 }},
	{"LecternStoreBarred", page, minutes(2), func(h *history) bool { return h.increase("lectern_clickhouse_barred_total", minutes(5)) > 0 }},
	{"LecternBlocksUnsure", ticket, 0, func(h *history) bool {
		return h.last("lectern_blocks_unsure") > 0 && h.last("lectern_blocks_unsure_oldest_seconds") > 600
	}},
	{"LecternBlocksParked", page, 0, func(h *history) bool { return h.most("lectern_spool_parked_blocks", minutes(5)) > 0 }},
	{"LecternDirectoryGone", page, 0, func(h *history) bool { return h.last("lectern_spool_gone") > 0 || h.last("lectern_parquet_gone") > 0 }},
	{"LecternSpoolDamaged", page, 0, func(h *history) bool { return h.most("lectern_spool_files_set_aside_total", time.Hour) > 0 }},
	{"LecternSpoolCopied", page, 0, func(h *history) bool {
		return h.most("lectern_spools_behind_store", minutes(10)) > 0 || h.most("lectern_clickhouse_blocks_foreign_total", time.Hour) > 0 ||
			h.most("lectern_clickhouse_blocks_duplicate_total", time.Hour) > 0
	}},
	{"LecternHandoverStuck", ticket, minutes(5), func(h *history) bool { return h.last("lectern_sessions_waiting") > 0 }},
	{"LecternMergeFailing", ticket, 0, func(h *history) bool { return h.increase("lectern_parquet_merge_failures_total", time.Hour) > 3 }},
	{"LecternMemoryHigh", ticket, minutes(10), func(h *history) bool {
		limit := h.last("go_memlimit_bytes")
		return limit < unlimited && over(h.last("process_resident_memory_anon_bytes"), limit) > 0.95
	}},
	{"LecternConfigBad", ticket, minutes(15), func(h *history) bool {
		return h.last("lectern_config_bad") == 1 || h.last("lectern_tls_files_bad") == 1
	}},
	{"LecternCertificateEnds", ticket, time.Hour, func(h *history) bool {
		ends := h.last("lectern_tls_certificate_expiry_timestamp_seconds")
		return ends > 0 && ends < float64(h.samples[len(h.samples)-1].at.Unix())+7*86400
	}},
}

// states are since when each condition holds; zero where it does not.
type states []time.Time

// evaluate looks at the last sample.
func (s states) evaluate(h *history) {
	now := h.samples[len(h.samples)-1].at
	for i := range conditions {
		switch {
		case !conditions[i].holds(h):
			s[i] = time.Time{}
		case s[i].IsZero():
			s[i] = now
		}
	}
}

// word says what a condition is at a moment: ok, pending while it has not held for long
// enough, or firing.
func (c *condition) word(since, now time.Time) string {
	switch {
	case since.IsZero():
		return "ok"
	case now.Sub(since) < c.after:
		return "pending"
	}
	return "firing"
}
