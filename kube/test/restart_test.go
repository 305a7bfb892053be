package kube

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// What the operators' dashboard shows is right over a restart of a collector, as
// promtool answers it: the counters of a collector begin at 0 then.
func TestDashboardOverARestart(t *testing.T) {
	panel := func(title string) string {
		t.Helper()
		for _, b := range dashboards(t) {
			for _, p := range b.Panels {
				if p.Title == title {
					return plain(p.Targets[0].Expr)
				}
			}
		}
		t.Fatalf("no panel %q", title)
		return ""
	}
	type sample struct {
		Labels string  `json:"labels"`
		Value  float64 `json:"value"`
	}
	type question struct {
		Expr    string   `json:"expr"`
		At      string   `json:"eval_time"`
		Samples []sample `json:"exp_samples"`
	}
	type input struct {
		Series string `json:"series"`
		Values string `json:"values"`
	}
	value := func(v float64) []sample { return []sample{{"{}", v}} }
	test := func(series map[string]string, questions ...question) map[string]any {
		var all []input
		for name, values := range series {
			all = append(all, input{name + `{job="lectern", instance="a"}`, values})
		}
		return map[string]any{"interval": "1m", "input_series": all, "promql_expr_test": questions}
	}
	tests := []any{
		// 500 of 10,000 are lost in the ten minutes before the restart, and none of 10,000 after it.
		test(map[string]string{
			"lectern_events_lost_total": "0+50x10 0x10", "lectern_events_found_total": "0x20",
			"lectern_events_sent_total": "0+1000x10 0+1000x10",
		}, question{panel("Lost"), "21m", value(500. / 20_000)}),
		// 500 that were lost before it come after it: nothing is lost.
		test(map[string]string{
			"lectern_events_lost_total": "0+50x10 0x10", "lectern_events_found_total": "0x10 0+50x10",
			"lectern_events_sent_total": "0+1000x10 0+1000x10",
		}, question{panel("Lost"), "21m", value(0)}),
		// Nothing was sent: no data, and not "nothing lost".
		test(map[string]string{
			"lectern_events_lost_total": "0x20", "lectern_events_found_total": "0x20", "lectern_events_sent_total": "0x20",
		}, question{panel("Lost"), "20m", nil}),
		// 100,000 rows waited for the store before the restart, and wait after it until they are stored.
		test(map[string]string{
			"lectern_table_keys": "10x10 0 10x10", "lectern_rows_waiting": "90x10 0 90x10", "lectern_spool_rows": "100000x11 100000x4 0x10",
			"lectern_events_accepted_total": "100000x10 0x10", "lectern_events_stored_total": "0x10 0x5 100000x10",
		}, question{panel("Behind"), "10m", value(100_100)}, question{panel("Behind"), "12m", value(100_100)}, question{panel("Behind"), "20m", value(100)}),
	}
	text, err := yaml.Marshal(map[string]any{"evaluation_interval": "1m", "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "restart.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", path)
}
