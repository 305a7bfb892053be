package page

import (
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/collector"
)

// healthAnswer is /health.json.
type healthAnswer struct {
	Time       int64                 `json:"time"`
	Stalled    float64               `json:"stalled_seconds"` // that the daemon has not answered; 0 where it does
	Since      int64                 `json:"since"`
	Version    string                `json:"version"`
	Collector  string                `json:"collector"`
	Ready      string                `json:"ready"` // "" where it is, else why not
	Heartbeat  float64               `json:"heartbeat_seconds"`
	Conditions []conditionLine       `json:"conditions"`
	Loops      []collector.LoopState `json:"loops"`
	Cuts       cutsLine              `json:"cuts"`
	Seals      sealsLine             `json:"seals"`
	Spool      spoolLine             `json:"spool"`
	Store      storeLine             `json:"store"`
	Memory     memoryLine            `json:"memory"`
	Process    processLine           `json:"process"`
}

type conditionLine struct {
	Name     string `json:"name"`
	Severity string `json:"severity"`
	After    int64  `json:"after_seconds"`
	State    string `json:"state"` // ok, pending or firing
	Since    int64  `json:"since,omitempty"`
}

// A time is in seconds, of the last five minutes; null where nothing was timed.

type cutsLine struct {
	Made    map[string]int64 `json:"made"` // by reason
	Denied  int64            `json:"denied"`
	HoldP99 *float64         `json:"hold_p99_seconds"`
	ReadP99 *float64         `json:"read_p99_seconds"`
}

type sealsLine struct {
	Made     int64    `json:"made"`
	Failures int64    `json:"failures"`
	P50      *float64 `json:"p50_seconds"`
	P99      *float64 `json:"p99_seconds"`
}

type spoolLine struct {
	Bytes       int64   `json:"bytes"`
	Max         int64   `json:"max_bytes"`
	Blocks      int64   `json:"blocks"`
	Parked      int64   `json:"parked"`
	Rows        int64   `json:"rows"`
	Oldest      float64 `json:"oldest_seconds"`
	RowsWaiting int64   `json:"rows_waiting"`
	RowsMax     int64   `json:"rows_waiting_max"`
	SetAside    int64   `json:"files_set_aside"`
	Gone        bool    `json:"gone"`
}

type storeLine struct {
	Name    string           `json:"name"`
	Blocks  int64            `json:"blocks"`
	Rows    int64            `json:"rows"`
	Events  int64            `json:"events"`
	Retries int64            `json:"retries"`
	Unsure  int64            `json:"unsure"`
	Barred  map[string]int64 `json:"barred"` // by reason
	P99     *float64         `json:"p99_seconds"`
	Gone    bool             `json:"gone"`
}

type memoryLine struct {
	Resident int64        `json:"resident_bytes"`
	Own      int64        `json:"own_bytes"` // of these, what is no file's
	GoLimit  int64        `json:"go_limit_bytes,omitempty"`
	Limit    int64        `json:"limit_bytes,omitempty"`
	Check    int64        `json:"check_bytes"`
	Parts    []memoryPart `json:"parts"`
}

type memoryPart struct {
	Part  string `json:"part"`
	Bytes int64  `json:"bytes"`
	From  string `json:"from"`
}

type processLine struct {
	CPU         float64 `json:"cpu_seconds"`
	Goroutines  int64   `json:"goroutines"`
	Connections int64   `json:"connections"`
	Sessions    int64   `json:"sessions"`
	Sources     int64   `json:"sources"`
}

// health is /health.json.
func (p *Page) health(l *look) any {
	n := func(name string) int64 { return int64(l.series[name]) }
	a := healthAnswer{
		Time: l.at.UnixMilli(), Since: p.started.UnixMilli(), Version: p.options.Version, Collector: p.options.Collector,
		Heartbeat: p.options.Daemon.SinceHeartbeat().Seconds(),
		Cuts:      cutsLine{Made: l.series.byReason("lectern_cuts_total"), Denied: n("lectern_cuts_denied_total")},
		Seals:     sealsLine{Made: n("lectern_seals_total"), Failures: n("lectern_seal_failures_total")},
		Spool: spoolLine{
			Bytes: n("lectern_spool_bytes"), Max: n("lectern_spool_size_max_bytes"), Blocks: n("lectern_spool_blocks"), Parked: n("lectern_spool_parked_blocks"),
			Rows: n("lectern_spool_rows"), Oldest: l.series["lectern_spool_oldest_block_age_seconds"],
			RowsWaiting: n("lectern_rows_waiting"), RowsMax: n("lectern_rows_waiting_max"),
			SetAside: n("lectern_spool_files_set_aside_total"), Gone: n("lectern_spool_gone") > 0,
		},
		Store: storeLine{
			Name: p.options.Store, Blocks: n("lectern_blocks_stored_total"), Rows: n("lectern_rows_stored_total"), Events: n("lectern_events_stored_total"),
			Retries: n("lectern_block_retries_total"), Unsure: n("lectern_blocks_unsure"), Barred: l.series.byReason("lectern_clickhouse_barred_total"),
			Gone: n("lectern_parquet_gone") > 0,
		},
		Memory: memoryOf(l.series, p.options.Memory, p.options.Limit),
		Process: processLine{
			CPU: l.series["process_cpu_seconds_total"], Goroutines: n("go_goroutines"),
			Connections: n("lectern_connections"), Sessions: n("lectern_sessions"), Sources: n("lectern_sources"),
		},
	}
	if old := p.options.Clock().Sub(l.at); old > lookAge+lookWait {
		a.Stalled = old.Seconds()
	}
	if err := p.options.Ready(); err != nil {
		a.Ready = err.Error()
	}
	a.Loops = l.loops
	p.told.Lock()
	defer p.told.Unlock()
	a.Conditions = p.conditionLines(l.at)
	now := p.history.with(l.at, l.series)
	a.Cuts.HoldP99, a.Cuts.ReadP99 = now.timed(0.99, "lectern_cut_hold_seconds"), now.timed(0.99, "lectern_cut_read_seconds")
	a.Seals.P50, a.Seals.P99 = now.timed(0.5, "lectern_seal_seconds"), now.timed(0.99, "lectern_seal_seconds")
	a.Store.P99 = now.timed(0.99, "lectern_block_store_seconds")
	return a
}

// byReason are the numbers of a family above 0.
func (s series) byReason(name string) map[string]int64 {
	all := make(map[string]int64)
	for series, v := range s {
		if family(series) == name && v > 0 {
			all[label(series, "reason")] = int64(v)
		}
	}
	return all
}

// timed is a quantile of the last five minutes.
func (h *history) timed(q float64, name string) *float64 {
	if v, ok := h.quantile(q, name, 5*time.Minute); ok {
		return &v
	}
	return nil
}

func (p *Page) conditionLines(now time.Time) []conditionLine {
	all := make([]conditionLine, len(conditions))
	for i := range conditions {
		c, since := &conditions[i], p.states[i]
		all[i] = conditionLine{Name: c.name, Severity: c.severity, After: int64(c.after.Seconds()), State: c.word(since, now)}
		if !since.IsZero() {
			all[i].Since = since.UnixMilli()
		}
	}
	return all
}

func memoryOf(s series, parts []config.Memory, limit int64) memoryLine {
	m := memoryLine{
		Resident: int64(s["process_resident_memory_bytes"]), Own: int64(s["process_resident_memory_anon_bytes"]), Limit: limit,
	}
	if v := s["go_memlimit_bytes"]; v < unlimited {
		m.GoLimit = int64(v)
	}
	for _, part := range parts {
		m.Check += part.Bytes
		m.Parts = append(m.Parts, memoryPart(part))
	}
	return m
}
