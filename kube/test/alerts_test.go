package kube

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

const alerts = "../components/podmonitor"

// readAlerts is the rules of alerts.yaml.
func readAlerts(t *testing.T) []monitoring.Rule {
	t.Helper()
	return readRules(t).Groups[0].Rules
}

func readRules(t *testing.T) (spec monitoring.PrometheusRuleSpec) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(alerts, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

// The object for the operator says what Prometheus of compose.yml reads.
func TestPrometheusRule(t *testing.T) {
	if got := one[*monitoring.PrometheusRule](t, render(t, alerts), "lectern").Spec; !reflect.DeepEqual(got, readRules(t)) {
		t.Errorf("prometheusrule.yaml is not of alerts.yaml; run make alerts")
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		absent(t, "promtool", "it is in Debian's package prometheus")
	}
	c := exec.Command("promtool", args...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", c, err, out)
	}
}

// Each alert is silent before and fires after what it is for.
func TestAlerts(t *testing.T) {
	promtool(t, "check", "rules", filepath.Join(alerts, "alerts.yaml"))
	promtool(t, "test", "rules", filepath.Join(alerts, "alerts_test.yaml"))

	text, err := os.ReadFile(filepath.Join(alerts, "alerts_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readAlerts(t) {
		silent := regexp.MustCompile(`alertname: ` + r.Alert + `\n +eval_time: \S+\n +exp_alerts: \[\]`)
		fires := regexp.MustCompile(`alertname: ` + r.Alert + `\n +eval_time: \S+\n +exp_alerts:(?: [&*]\w+)?\n`)
		if !silent.Match(text) || !fires.Match(text) {
			t.Errorf("alerts_test.yaml does not see %s both silent and firing", r.Alert)
		}
	}
}

// The expressions of the dashboards are what Prometheus takes: promtool reads
// them as rules.
func TestDashboardsPromQL(t *testing.T) {
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	all := expressions(t)
	for _, where := range slices.Sorted(maps.Keys(all)) {
		rules = append(rules, rule{"x", all[where]})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboards", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", "--lint=none", path)
}

// Each alert has an entry in the runbook that says what it means, what to look
// at and what to do, and no entry is of an alert that is gone.
func TestRunbook(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	entries := make(map[string]string)
	for _, part := range bytes.Split(page, []byte("\n### "))[1:] {
		title, text, _ := strings.Cut(string(part), "\n")
		if strings.HasPrefix(title, "Lectern") {
			if i := strings.Index(text, "\n## "); i >= 0 {
				text = text[:i]
			}
			entries[title] = text
		}
	}
	for _, r := range readAlerts(t) {
		text, ok := entries[r.Alert]
		if !ok {
			t.Errorf("docs/OPERATIONS.md has no entry for %s", r.Alert)
		}
		for _, part := range []string{"*Means*", "*Look at*", "*Do*", "`"} {
			if ok && !strings.Contains(text, part) {
				t.Errorf("the entry of %s has no %s", r.Alert, part)
			}
		}
		delete(entries, r.Alert)
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s has the severity %q", r.Alert, s)
		}
	}
	for name := range entries {
		t.Errorf("docs/OPERATIONS.md has an entry for %s, which is no alert", name)
	}
}
