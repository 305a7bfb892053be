package kube

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metricsql"
)

// What is exported is what promtool takes for good: each metric of ours has a type
// that fits its name, and a meaning.
func TestMetricsLint(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		absent(t, "promtool", "it is in Debian's package prometheus")
	}
	_, operations := startCollector(t)
	answer, err := http.Get("http://" + operations + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = answer.Body
	said, err := check.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	// The library's own, go_* and process_*, have none, and names of an earlier day.
	for line := range strings.Lines(string(said)) {
		if !strings.HasPrefix(line, "go_") && !strings.HasPrefix(line, "process_") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

// series are the label values of each metric that a collector exports.
type series map[string][]map[string]string

// scrape is what collectors export, with either store. There need be no
// ClickHouse: a collector starts without it.
func scrape(t *testing.T) series {
	t.Helper()
	all := scrapeOf(t, "lectern_block_store_seconds_bucket", "LECTERN_STORAGE_DRIVER=parquet")
	for name, labels := range scrapeOf(t, "lectern_seal_seconds_bucket", "LECTERN_STORAGE_DRIVER=clickhouse", "LECTERN_CLICKHOUSE_ADDRESS=127.0.0.1:1") {
		all[name] = append(all[name], labels...)
	}
	for name, labels := range scrapePage(t, startEdge(t, "127.0.0.1:1"), "lectern_edge_pages") {
		if strings.HasPrefix(name, "lectern_edge_") {
			all[name] = append(all[name], labels...)
		}
	}
	return all
}

// startEdge starts an edge in front of a collector, which need not be there, and
// returns where its operations are.
func startEdge(t *testing.T, collector string) (operations string) {
	t.Helper()
	_, operations = startProcess(t, exec.Command(binary, "edge"), "LECTERN_EDGE_ADDRESS=127.0.0.1:0", "LECTERN_EDGE_OPS_ADDRESS=127.0.0.1:0",
		"LECTERN_EDGE_COLLECTOR="+collector, "LECTERN_EDGE_QUEUE_SIZE=1MiB")
	return operations
}

// scrapeOf starts a collector, sends it something, and returns what its /metrics
// has once a metric is among it.
func scrapeOf(t *testing.T, until string, env ...string) series {
	t.Helper()
	events, operations := startCollector(t, env...)
	send(t, "tcp://"+events)
	return scrapePage(t, operations, until)
}

// scrapePage is what a /metrics has once a metric is among it.
func scrapePage(t *testing.T, operations, until string) series {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		answer, err := client.Get("http://" + operations + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		s := parse(string(page))
		if len(s[until]) > 0 || time.Now().After(end) {
			return s
		}
	}
}

// send sends a thousand events, and over TCP waits for their acks.
func send(t *testing.T, to string) {
	t.Helper()
	if out, err := exec.Command(binary, "emit", "--to", to, "--events", "1000").CombinedOutput(); err != nil {
		t.Fatalf("lectern emit: %v\n%s", err, out)
	}
}

// startCollector runs a collector until the test ends and returns its addresses.
func startCollector(t *testing.T, env ...string) (events, operations string) {
	t.Helper()
	return startProcess(t, exec.Command(binary, "serve"), append(env, "LECTERN_LISTEN_ADDRESS=127.0.0.1:0", "LECTERN_OPS_ADDRESS=127.0.0.1:0",
		"LECTERN_LISTEN_LOOPS=1", "LECTERN_LIMITS_KEYS_MAX=65536", "LECTERN_SPOOL_SIZE_MAX=256MiB", "LECTERN_WINDOW_ACK_INTERVAL=50ms",
		"LECTERN_WINDOW_FLUSH_INTERVAL=100ms", "GOMEMLIMIT=500MiB")...)
}

// startProcess starts a collector or an edge in a directory of its own, and returns
// where it listens for events, or for pages, and for operations.
func startProcess(t *testing.T, c *exec.Cmd, env ...string) (events, operations string) {
	t.Helper()
	c.Dir = t.TempDir()
	c.Env = env
	log, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	var said strings.Builder
	for chunk := make([]byte, 4096); operations == ""; {
		n, err := log.Read(chunk)
		said.Write(chunk[:n])
		if found := regexp.MustCompile(`(?:events|pages)=(\S+) operations=(\S+) `).FindStringSubmatch(said.String()); found != nil {
			events, operations = found[1], found[2]
		} else if err != nil {
			t.Fatalf("it did not start: %v\n%s", err, said.String())
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	return events, operations
}

func parse(page string) series {
	s := make(series)
	for line := range strings.Lines(page) {
		found := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$`).FindStringSubmatch(strings.TrimSpace(line))
		if found == nil {
			continue
		}
		labels := make(map[string]string)
		for _, l := range regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(found[2], -1) {
			labels[l[1]] = l[2]
		}
		s[found[1]] = append(s[found[1]], labels)
	}
	return s
}

// documented is every metric of docs/METRICS.md.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs/METRICS.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]bool)
	for _, found := range regexp.MustCompile("(?m)^\\| `([a-z_]+)").FindAllStringSubmatch(string(page), -1) {
		all[found[1]] = true
	}
	if len(all) < 40 {
		t.Fatalf("docs/METRICS.md lists %d metrics", len(all))
	}
	return all
}

// expressions are all PromQL that is shipped, by where it stands.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, r := range readAlerts(t) {
		all["alert "+r.Alert] = r.Expr.String()
	}
	for _, b := range dashboards(t) {
		for _, p := range b.Panels {
			for _, target := range p.Targets {
				if target.Expr != "" {
					all[fmt.Sprintf("%s, %q, %s", b.file, p.Title, target.RefID)] = plain(target.Expr)
				}
			}
		}
		for _, v := range b.Templating.List {
			if found := regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`).FindStringSubmatch(v.Definition); found != nil {
				all[b.file+", variable "+v.Name] = "count by (" + found[2] + ") (" + found[1] + ")"
			}
		}
	}
	return all
}

// plain puts in what Grafana does for its variables.
func plain(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$__range", "3h", "$instance", ".*").Replace(expr)
}

// Every metric in an alert or a dashboard is documented, and one that the built
// collector exports, with the labels and values that are asked for.
func TestMetricsExist(t *testing.T) {
	exported, known := scrape(t), documented(t)
	used := make(map[string]bool)
	for where, text := range expressions(t) {
		expr, err := metricsql.Parse(text)
		if err != nil {
			t.Errorf("%s: %v in %s", where, err, text)
			continue
		}
		metricsql.VisitAll(expr, func(e metricsql.Expr) {
			switch e := e.(type) {
			case *metricsql.MetricExpr:
				for _, filters := range e.LabelFilterss {
					checkMetric(t, where, filters, exported, known, used)
				}
			case *metricsql.AggrFuncExpr:
				for _, label := range e.Modifier.Args {
					if !hasLabel(exported, text, label) {
						t.Errorf("%s: no metric of %s has a label %q", where, text, label)
					}
				}
			}
		})
	}
	// Nothing is exported that no operator ever sees.
	for name := range known {
		if !used[name] && len(exported[name])+len(exported[name+"_bucket"]) > 0 {
			t.Errorf("%s is in no dashboard and no alert", name)
		}
	}
}

// family is the metric that docs/METRICS.md lists: a histogram is exported as its
// buckets, their sum and their count.
func family(name string, known map[string]bool) string {
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		if whole, ok := strings.CutSuffix(name, part); ok && known[whole] {
			return whole
		}
	}
	return name
}

// targetLabels are those that Prometheus gives every metric of a target.
var targetLabels = map[string]bool{"instance": true, "job": true}

func checkMetric(t *testing.T, where string, filters []metricsql.LabelFilter, exported series, known, used map[string]bool) {
	t.Helper()
	name := ""
	for _, f := range filters {
		if f.Label == "__name__" {
			name = f.Value
		}
	}
	used[family(name, known)] = true
	if name == "up" {
		return // Prometheus' own
	}
	if strings.HasPrefix(name, "lectern_") && !known[family(name, known)] {
		t.Errorf("%s: docs/METRICS.md does not have %s", where, name)
	}
	if len(exported[name]) == 0 {
		t.Errorf("%s: the collector does not export %s", where, name)
	}
	for _, f := range filters {
		if f.Label == "__name__" || targetLabels[f.Label] {
			continue
		}
		found := false
		for _, labels := range exported[name] {
			value, has := labels[f.Label]
			found = found || has && (f.IsRegexp || f.IsNegative || value == f.Value)
		}
		if !found {
			t.Errorf("%s: %s has no %s=%q", where, name, f.Label, f.Value)
		}
	}
}

// hasLabel says whether a metric that a text names has a label.
func hasLabel(exported series, text, label string) bool {
	if targetLabels[label] {
		return true
	}
	for name, all := range exported {
		if strings.Contains(text, name) {
			for _, labels := range all {
				if _, has := labels[label]; has {
					return true
				}
			}
		}
	}
	return false
}
