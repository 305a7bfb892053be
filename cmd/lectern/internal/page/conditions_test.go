package page

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const alerts = "../../../../kube/components/podmonitor/"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// elsewhere are the alerts that no collector can tell of itself, beside those of edges.
var elsewhere = map[string]bool{
	"LecternDown": true, "LecternAbsent": true, "LecternRestarting": true, "LecternVersionsMixed": true,
}

// oneCollectors says whether an alert is about a single collector.
func oneCollectors(alert string) bool {
	return !elsewhere[alert] && !strings.HasPrefix(alert, "LecternEdge")
}

// Each alert of a single collector is a condition here, with the same severity and time.
func TestConditionsAreTheAlerts(t *testing.T) {
	rule := regexp.MustCompile(`(?s)- alert: (\w+)\n(.*?)annotations:`)
	after := regexp.MustCompile(`\n    for: (\w+)\n`)
	severity := regexp.MustCompile(`severity: (\w+)`)
	var names []string
	for _, m := range rule.FindAllStringSubmatch(read(t, alerts+"alerts.yaml"), -1) {
		if !oneCollectors(m[1]) {
			continue
		}
		names = append(names, m[1])
		var want time.Duration
		if f := after.FindStringSubmatch(m[2]); f != nil {
			want, _ = time.ParseDuration(f[1])
		}
		i := len(names) - 1
		if i >= len(conditions) || conditions[i].name != m[1] {
			t.Fatalf("condition %d is not %s", i, m[1])
		}
		if c := conditions[i]; c.after != want || c.severity != severity.FindStringSubmatch(m[2])[1] {
			t.Errorf("%s is a %s after %v; the alert is a %s after %v", c.name, c.severity, c.after, severity.FindStringSubmatch(m[2])[1], want)
		}
	}
	if len(names) != len(conditions) {
		t.Errorf("%d alerts are about a single collector, and there are %d conditions", len(names), len(conditions))
	}
}

// script is a test of alerts_test.yaml: what collectors say, by instance and minute by
// minute, and which alerts fire when for one of them.
type script struct {
	series map[string]map[string][]float64
	expect []expectation
}

type expectation struct {
	alert string
	at    time.Duration
	fires bool
}

// readScripts reads as much of promtool's format as the file uses.
func readScripts(t *testing.T, text string) (all []script) {
	t.Helper()
	series := regexp.MustCompile(`- series: '(\w+)\{(.*)\}'\n +values: '(.*)'`)
	expect := regexp.MustCompile(`- alertname: (\w+)\n +eval_time: (\w+)\n +exp_alerts:(.*)`)
	_, text, _ = strings.Cut(text, "\ntests:\n")
	for _, part := range regexp.MustCompile(`(?m)^- `).Split(text, -1) {
		s := script{series: make(map[string]map[string][]float64)}
		for _, m := range series.FindAllStringSubmatch(part, -1) {
			of := label(m[2], "instance")
			if s.series[of] == nil {
				s.series[of] = make(map[string][]float64)
			}
			s.series[of][collectorsOwn(m[1], m[2])] = values(t, m[3])
		}
		for _, m := range expect.FindAllStringSubmatch(part, -1) {
			at, err := time.ParseDuration(m[2])
			if err != nil {
				t.Fatal(err)
			}
			s.expect = append(s.expect, expectation{m[1], at, !strings.Contains(m[3], "[]")})
		}
		// A process does not see its own restart; what several are about is elsewhere.
		if len(s.expect) > 0 && oneCollectors(s.expect[0].alert) && !strings.Contains(part, "over a restart") {
			all = append(all, s)
		}
	}
	return all
}

// collectorsOwn is a series as the collector itself has it: job and instance are
// Prometheus' own.
func collectorsOwn(name, labels string) string {
	var kept []string
	for _, l := range strings.Split(labels, ", ") {
		if !strings.HasPrefix(l, "job=") && !strings.HasPrefix(l, "instance=") {
			kept = append(kept, l)
		}
	}
	if len(kept) == 0 {
		return name
	}
	return name + "{" + strings.Join(kept, ",") + "}"
}

// values are those of promtool's notation, as in '0+5x3 7 stale 1x2'.
func values(t *testing.T, text string) (all []float64) {
	t.Helper()
	run := regexp.MustCompile(`^(-?[\d.e]+)(?:([+-][\d.e]+))?x(\d+)$`)
	for _, word := range strings.Fields(text) {
		if word == "stale" || word == "_" {
			continue
		}
		if m := run.FindStringSubmatch(word); m != nil {
			from, err := strconv.ParseFloat(m[1], 64)
			step, _ := strconv.ParseFloat(m[2], 64)
			n, more := strconv.Atoi(m[3])
			if err != nil || more != nil {
				t.Fatalf("%q makes no sense", word)
			}
			for i := range n + 1 {
				all = append(all, from+float64(i)*step)
			}
			continue
		}
		v, err := strconv.ParseFloat(word, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// fires says whether a collector that says this would be at fault after so long.
func fires(c *condition, said map[string][]float64, after time.Duration) bool {
	h, st := newHistory(), make(states, len(conditions))
	for minute := range int(after/time.Minute) + 1 {
		now := make(series)
		for name, v := range said {
			if minute < len(v) {
				now[name] = v[minute]
			}
		}
		h.add(time.Unix(0, 0).Add(time.Duration(minute)*time.Minute), now)
		st.evaluate(h)
	}
	return c.word(st[slices.IndexFunc(conditions, func(o condition) bool { return o.name == c.name })], h.samples[len(h.samples)-1].at) == "firing"
}

// What promtool says that Prometheus makes of a collector's numbers, the collector
// makes of them, too.
func TestConditionsFireAsTheAlerts(t *testing.T) {
	silent, fired := make(map[string]int), make(map[string]int)
	for _, s := range readScripts(t, read(t, alerts+"alerts_test.yaml")) {
		for _, e := range s.expect {
			for i := range conditions {
				c := &conditions[i]
				if c.name != e.alert {
					continue
				}
				any := false
				for _, said := range s.series {
					any = any || fires(c, said, e.at)
				}
				if any != e.fires {
					t.Errorf("%s after %v: fires: %t, and Prometheus says %t", e.alert, e.at, any, e.fires)
				}
				if e.fires {
					fired[c.name]++
				} else {
					silent[c.name]++
				}
			}
		}
	}
	for _, c := range conditions {
		if silent[c.name] == 0 || fired[c.name] == 0 {
			t.Errorf("%s was not seen both silent and firing", c.name)
		}
	}
}
