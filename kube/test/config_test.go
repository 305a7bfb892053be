package kube

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// environment is what the collector's container has for variables: those that
// the kubelet computes from limits, too.
func environment(t *testing.T, r rendered, d *apps.DaemonSet) map[string]string {
	t.Helper()
	c := d.Spec.Template.Spec.Containers[0]
	if len(c.EnvFrom) > 0 {
		t.Fatalf("%s: the test does not know envFrom", r.name)
	}
	env := make(map[string]string)
	for _, e := range c.Env {
		value := e.Value
		if e.ValueFrom != nil {
			f := e.ValueFrom.ResourceFieldRef
			if f == nil || f.Resource != "limits.memory" || f.Divisor.IsZero() {
				t.Fatalf("%s: the test does not know the source of %s", r.name, e.Name)
			}
			// Rounded up, as the kubelet does.
			value = strconv.FormatInt((c.Resources.Limits.Memory().Value()+f.Divisor.Value()-1)/f.Divisor.Value(), 10)
		}
		for name, known := range env {
			value = strings.ReplaceAll(value, "$("+name+")", known)
		}
		env[e.Name] = value
	}
	return env
}

// check runs `lectern check` on what a pod is given.
func check(t *testing.T, r rendered, d *apps.DaemonSet) string {
	t.Helper()
	spec := d.Spec.Template.Spec
	file := ""
	for i, a := range spec.Containers[0].Args {
		if a == "--config" {
			file = spec.Containers[0].Args[i+1]
		}
	}
	v := volume(d, file)
	if v == nil || v.Projected == nil {
		t.Fatalf("%s is on no volume of ConfigMaps", file)
	}
	var text string
	for _, source := range v.Projected.Sources {
		if source.ConfigMap != nil {
			text = one[*core.ConfigMap](t, r, source.ConfigMap.Name).Data[filepath.Base(file)]
		}
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(binary, "check", "--without-files", "--config", path)
	// Go takes the CPU limit for the number of its threads, and two at least.
	c.Env = []string{fmt.Sprintf("GOMAXPROCS=%d", max(2, spec.Containers[0].Resources.Limits.Cpu().Value()))}
	for name, value := range environment(t, r, d) {
		c.Env = append(c.Env, name+"="+value)
	}
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		t.Fatalf("lectern check: %v\n%s", err, complaint.String())
	}
	return out.String()
}

// The daemon knows every key of the ConfigMap and every variable, what it may
// take fits into the container, and it ends before it is killed.
func TestConfig(t *testing.T) {
	eachCollector(t, func(t *testing.T, r rendered, d *apps.DaemonSet) {
		out := check(t, r, d)
		spec := d.Spec.Template.Spec
		limit := spec.Containers[0].Resources.Limits.Memory().Value()

		found := regexp.MustCompile(`(?m)^  together +([0-9.]+) MiB`).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("lectern check says nothing of memory:\n%s", out)
		}
		most, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if most*(1<<20) > float64(limit) {
			t.Errorf("its limits add up to %.0f MiB, and it is killed at %.0f", most, float64(limit)/(1<<20))
		}
		goLimit := environment(t, r, d)["GOMEMLIMIT"]
		if n, err := strconv.ParseInt(strings.TrimSuffix(goLimit, "B"), 10, 64); err != nil || n < limit/100*85 || n > limit/100*97 {
			t.Errorf("GOMEMLIMIT is %q (%v), the limit %d", goLimit, err, limit)
		}

		grace := setting(t, out, "stop.grace")
		if killed := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; duration(t, grace)+5*time.Second > killed {
			t.Errorf("it may take %s to end, and is killed after %v", grace, killed)
		}
		drain, unready := duration(t, setting(t, out, "stop.drain_time")), duration(t, setting(t, out, "stop.unready_time"))
		if drain-unready < 5*time.Second {
			t.Errorf("it stays ready for %v of the %v that it drains; the nodes may take longer to hear of its end", drain-unready, drain)
		}
		// The last success may be a period old, and each probe take its time.
		p := spec.Containers[0].ReadinessProbe
		believed := time.Duration(p.PeriodSeconds*(p.FailureThreshold+1)+p.TimeoutSeconds) * time.Second
		if moved := 3 * time.Second; unready < believed+moved {
			t.Errorf("it reads for %v once it is not ready; the kubelet takes up to %v to believe it, and kube-proxy some %v to move the flows", unready, believed, moved)
		}
		for key, port := range map[string]string{"listen.address": "8420", "ops.address": "8421"} {
			if a := setting(t, out, key); a != ":"+port {
				t.Errorf("%s is %s", key, a)
			}
		}
		// The spool is on a volume, and fits.
		room := resource.MustParse(strings.TrimSuffix(setting(t, out, "spool.size_max"), "B"))
		v := volume(d, setting(t, out, "spool.dir"))
		if v == nil || v.EmptyDir == nil && v.HostPath == nil {
			t.Errorf("the spool is on %+v", v)
		} else if v.EmptyDir != nil && v.EmptyDir.SizeLimit.Cmp(room) <= 0 {
			t.Errorf("the spool may be %s, its volume %s", room.String(), v.EmptyDir.SizeLimit)
		}
		if file := setting(t, out, "clickhouse.password_file"); file != "" && setting(t, out, "storage.driver") == "clickhouse" {
			if v := volume(d, file); v == nil || !strings.Contains(v.String(), "lectern-clickhouse") {
				t.Errorf("the password is read from %s, where no secret is", file)
			}
		}
	})
}

func setting(t *testing.T, out, key string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(key) + ` +"?(.*?)"?$`).FindStringSubmatch(out)
	if found == nil {
		t.Errorf("lectern check does not list %s", key)
		return ""
	}
	return found[1]
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Error(err)
	}
	return d
}

// A change of the configuration changes the pods' template, so that they roll.
func TestConfigRolls(t *testing.T) {
	eachCollector(t, func(t *testing.T, r rendered, d *apps.DaemonSet) {
		name := ""
		for _, source := range volume(d, "/etc/lectern/config.toml").Projected.Sources {
			if source.ConfigMap != nil {
				name = source.ConfigMap.Name
			}
		}
		if !regexp.MustCompile(`^lectern-config-[a-z0-9]{10}$`).MatchString(name) {
			t.Errorf("the ConfigMap is %q, without a hash of what is in it", name)
		}
	})
}
