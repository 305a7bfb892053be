package kube

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A real Prometheus scrapes a real collector, and every query of the operators'
// dashboard is answered: with an error by none, with data by all that do not ask
// for what went wrong. No alert fires.
func TestPrometheusAnswers(t *testing.T) {
	if _, err := exec.LookPath("prometheus"); err != nil {
		absent(t, "prometheus", "it is in Debian's package prometheus")
	}
	events, operations := startCollector(t)
	address := startPrometheus(t, operations, startEdge(t, events))
	send(t, "tcp://"+events)

	// What the store of the test has not, and what only is when something is wrong.
	silent := func(expr string) bool {
		return strings.HasSuffix(expr, " > 0") || strings.Contains(expr, "lectern_clickhouse_") || strings.Contains(expr, "lectern_spools_behind_store")
	}
	ask := make(map[string]string)
	for where, expr := range expressions(t) {
		if !strings.HasPrefix(where, "alert ") {
			ask[where] = strings.ReplaceAll(expr, "[1m]", "[10s]") // plain's $__rate_interval, with scrapes a second apart
		}
	}
	var unanswered []string
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(time.Second) {
		send(t, "tcp://"+events)
		send(t, "udp://"+events)
		unanswered = unanswered[:0]
		for where, expr := range ask {
			if n := query(t, address, expr); n == 0 && !silent(expr) {
				unanswered = append(unanswered, where+": "+expr)
			}
		}
		if len(unanswered) == 0 || time.Now().After(end) {
			break
		}
	}
	if len(unanswered) > 0 {
		t.Errorf("no data for\n%s", strings.Join(unanswered, "\n"))
	}
	for _, r := range readAlerts(t) {
		// What this machine grants for a receive buffer is no matter of the rules.
		if n := query(t, address, r.Expr.String()); n > 0 && r.Alert != "LecternReceiveBufferSmall" {
			t.Errorf("%s is on at a collector that is well", r.Alert)
		}
	}
}

// startPrometheus runs one on loopback that scrapes a collector and an edge every
// second.
func startPrometheus(t *testing.T, collector, edge string) (address string) {
	t.Helper()
	// Any of 127.0.0.0/8 is this machine, and nobody else's port is on a random one.
	address = fmt.Sprintf("127.%d.%d.%d:9090", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: lectern\n  static_configs:\n  - targets: [%q]\n"+
		"- job_name: edge\n  static_configs:\n  - targets: [%q]\n", collector, edge)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("prometheus", "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address)
	var log strings.Builder
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		answer, err := http.Get("http://" + address + "/-/ready")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return address
			}
		}
		if time.Now().After(end) {
			_ = c.Process.Kill()
			_ = c.Wait()
			t.Fatalf("Prometheus is not ready:\n%s", log.String())
		}
	}
}

// query is how many series an expression has now.
func query(t *testing.T, address, expr string) int {
	t.Helper()
	answer, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var result struct {
		Status string
		Error  string
		Data   struct{ Result []any }
	}
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
		t.Fatal(err)
	}
	if result.Status != "success" {
		t.Errorf("%s: %s", expr, result.Error)
	}
	return len(result.Data.Result)
}
