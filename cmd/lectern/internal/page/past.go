package page

import "math"

// drawn are the series of /history.json: counters but where it says gauge.
var drawn = []struct{ name, metric string }{
	{"sent", "lectern_events_sent_total"},
	{"accepted", "lectern_events_accepted_total"},
	{"refused", "lectern_events_refused_total"},
	{"shed", "lectern_events_shed_total"},
	{"lost", "lectern_events_lost_total"},
	{"found", "lectern_events_found_total"},
	{"cpu_seconds", "process_cpu_seconds_total"},
	{"memory_bytes", "process_resident_memory_anon_bytes"},       // gauge
	{"spool_bytes", "lectern_spool_bytes"},                       // gauge
	{"oldest_seconds", "lectern_spool_oldest_block_age_seconds"}, // gauge
	{"table_keys", "lectern_table_keys"},                         // gauge
	{"rows_waiting", "lectern_rows_waiting"},                     // gauge
}

// past is /history.json: what is drawn of the last hour.
func (p *Page) past(*look) any {
	p.told.Lock()
	defer p.told.Unlock()
	h := p.history
	answer := struct {
		Interval int64                `json:"interval_seconds"`
		Times    []int64              `json:"times"`
		Series   map[string][]float64 `json:"series"`
	}{int64(sampleInterval.Seconds()), make([]int64, 0, len(h.samples)), make(map[string][]float64)}
	for i := range h.samples {
		answer.Times = append(answer.Times, h.samples[i].at.UnixMilli())
	}
	for _, d := range drawn {
		columns, values := h.of(d.metric), make([]float64, 0, len(h.samples))
		for i := range h.samples {
			v := h.samples[i].sum(columns)
			values = append(values, math.Round(v*100)/100)
		}
		answer.Series[d.name] = values
	}
	return answer
}
