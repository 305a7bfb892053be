package kube

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// composition is compose.yml, as far as it is looked at.
type composition struct {
	Services map[string]*service `json:"services"`
	Volumes  map[string]any      `json:"volumes"`
	Secrets  map[string]struct {
		File string `json:"file"`
	} `json:"secrets"`
}

type service struct {
	Image           string            `json:"image"`
	Command         []string          `json:"command"`
	User            string            `json:"user"`
	ReadOnly        bool              `json:"read_only"`
	CapDrop         []string          `json:"cap_drop"`
	SecurityOpt     []string          `json:"security_opt"`
	PidsLimit       int               `json:"pids_limit"`
	MemLimit        string            `json:"mem_limit"`
	CPUs            float64           `json:"cpus"`
	StopGracePeriod string            `json:"stop_grace_period"`
	Environment     map[string]string `json:"environment"`
	Ports           []string          `json:"ports"`
	Volumes         []string          `json:"volumes"`
	Secrets         []any             `json:"secrets"`
}

func readComposition(t *testing.T) (c composition) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// compose.yml and Kubernetes run the same: configuration, limits, ports, rights.
// What one of them changes the other has to change, too.
func TestComposeDoesNotDrift(t *testing.T) {
	c := readComposition(t)
	s := c.Services["lectern"]
	base := render(t, "../base")
	d := collector(base)
	spec := d.Spec.Template.Spec
	pod := spec.Containers[0]

	if !slices.Equal(s.Command, pod.Args) {
		t.Errorf("compose.yml runs %q, Kubernetes %q", s.Command, pod.Args)
	}
	if s.User != "65532:65532" || *spec.SecurityContext.RunAsUser != 65532 || *spec.SecurityContext.RunAsGroup != 65532 {
		t.Errorf("compose.yml runs it as %s, Kubernetes as %d:%d", s.User, *spec.SecurityContext.RunAsUser, *spec.SecurityContext.RunAsGroup)
	}
	if s.MemLimit+"i" != strings.ToLower(pod.Resources.Limits.Memory().String()) {
		t.Errorf("compose.yml gives it %s, Kubernetes %s", s.MemLimit, pod.Resources.Limits.Memory())
	}
	if s.CPUs != pod.Resources.Limits.Cpu().AsApproximateFloat64() {
		t.Errorf("compose.yml gives it %v CPUs, Kubernetes %s", s.CPUs, pod.Resources.Limits.Cpu())
	}
	// Prometheus asks by the service's name, which the daemon answers to only when it is told.
	if got := s.Environment["LECTERN_OPS_ALLOWED_HOSTS"]; got != "lectern" {
		t.Errorf("the daemon is to be asked as %q, and Prometheus asks lectern", got)
	}
	if limit := environment(t, base, d)["GOMEMLIMIT"]; s.Environment["GOMEMLIMIT"] != limit {
		t.Errorf("compose.yml has GOMEMLIMIT %s, Kubernetes %s", s.Environment["GOMEMLIMIT"], limit)
	}
	if grace, err := time.ParseDuration(s.StopGracePeriod); err != nil || int64(grace/time.Second) != *spec.TerminationGracePeriodSeconds {
		t.Errorf("compose.yml kills it after %s, Kubernetes after %d s", s.StopGracePeriod, *spec.TerminationGracePeriodSeconds)
	}
	var published, declared []string
	for _, p := range s.Ports {
		published = append(published, p[strings.LastIndex(p, ":")+1:])
	}
	for _, p := range pod.Ports {
		declared = append(declared, resource.NewQuantity(int64(p.ContainerPort), resource.DecimalSI).String()+"/"+strings.ToLower(string(p.Protocol)))
	}
	slices.Sort(published)
	slices.Sort(declared)
	if !slices.Equal(published, declared) {
		t.Errorf("compose.yml has the ports %v, Kubernetes %v", published, declared)
	}
	for _, path := range []string{"./kube/base/config.toml:" + configFile(pod) + ":ro", "lectern:/var/lib/lectern"} {
		if !slices.Contains(s.Volumes, path) {
			t.Errorf("compose.yml does not mount %s", path)
		}
	}
}

func configFile(c core.Container) string {
	return c.Args[slices.Index(c.Args, "--config")+1]
}

// Every service is hardened, reachable from this machine alone, of a version that
// is named, and what it mounts is there.
func TestCompose(t *testing.T) {
	c := readComposition(t)
	for name, s := range c.Services {
		ours := strings.HasPrefix(s.Image, "${IMAGE")
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.PidsLimit == 0 || s.MemLimit == "" {
			t.Errorf("%s is not hardened: %+v", name, s)
		}
		if !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(s.User) {
			t.Errorf("%s runs as %q", name, s.User)
		}
		if !s.ReadOnly && name != "clickhouse" {
			t.Errorf("%s can write to its image", name)
		}
		if !ours && !regexp.MustCompile(`:v?[0-9]+\.[0-9]+`).MatchString(s.Image) {
			t.Errorf("%s is any version: %s", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s listens for everybody: %s", name, p)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, volume := c.Volumes[from]; volume {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, from)); err != nil {
				t.Errorf("%s mounts %s: %v", name, v, err)
			}
			if !strings.HasSuffix(v, ":ro") {
				t.Errorf("%s may write to %s", name, from)
			}
		}
		for key, value := range s.Environment {
			if strings.Contains(key, "PASSWORD") && !strings.Contains(key, "FILE") {
				t.Errorf("%s has a password in its environment: %s=%s", name, key, value)
			}
		}
	}
	// Kubernetes' ClickHouse is the same.
	keeper, server := one[*keeperInstallation](t, render(t, "../components/clickhouse"), ""), one[*clickhouseInstallation](t, render(t, "../components/clickhouse"), "")
	image := server.Spec.Templates.PodTemplates[0].Spec.Containers[0].Image
	if image != c.Services["clickhouse"].Image {
		t.Errorf("compose.yml has %s, Kubernetes %s", c.Services["clickhouse"].Image, image)
	}
	if tag := keeper.Spec.Templates.PodTemplates[0].Spec.Containers[0].Image; tag[strings.Index(tag, ":"):] != image[strings.Index(image, ":"):] {
		t.Errorf("ClickHouse is %s, Keeper %s", image, tag)
	}
}

// Prometheus of compose.yml takes its configuration, with the alerts where it
// looks for them, and scrapes the daemon's port.
func TestComposePrometheus(t *testing.T) {
	dir := t.TempDir()
	for from, to := range map[string]string{"../compose/prometheus.yml": "prometheus.yml", "../components/podmonitor/alerts.yaml": "alerts.yaml"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "check", "config", filepath.Join(dir, "prometheus.yml"))
	text, err := os.ReadFile("../compose/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"job_name: lectern\n", `"lectern:8421"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("prometheus.yml has no %s", want)
		}
	}
}

// Grafana of compose.yml is told of data sources of the types that the
// dashboards ask for, and of the directory in which they are mounted.
func TestComposeGrafana(t *testing.T) {
	var sources struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Type string `json:"type"`
		} `json:"datasources"`
	}
	var providers struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Type    string `json:"type"`
			Options struct {
				Path string `json:"path"`
			} `json:"options"`
		} `json:"providers"`
	}
	for file, to := range map[string]any{"../compose/datasources.yaml": &sources, "../compose/dashboards.yaml": &providers} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, to); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	have := make(map[string]bool)
	for _, s := range sources.Datasources {
		have[s.Type] = true
	}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				if !have[target.Datasource.Type] {
					t.Errorf("%s asks a %s, which Grafana is not told of", d.file, target.Datasource.Type)
				}
			}
		}
	}
	if path := providers.Providers[0].Options.Path; !slices.Contains(readComposition(t).Services["grafana"].Volumes, "./kube/components/dashboards:"+path+":ro") {
		t.Errorf("the dashboards are not mounted at %s", path)
	}
}

// The image is built with the Go of go.mod, and make's targets are the team's.
func TestBuildFiles(t *testing.T) {
	find := func(file, pattern string) string {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`(?m)` + pattern).FindSubmatch(text); found != nil {
			return string(found[1])
		}
		t.Errorf("%s has no %s", file, pattern)
		return ""
	}
	if image, module := find("Dockerfile", `^ARG GO_VERSION=(\S+)$`), find("go.mod", `^go (\S+)$`); image != module {
		t.Errorf("the Dockerfile has Go %s, go.mod %s", image, module)
	}
	if workspace, module := find("go.work", `^go (\S+)$`), find("go.mod", `^go (\S+)$`); workspace != module {
		t.Errorf("go.work has Go %s, go.mod %s", workspace, module)
	}
	c := exec.Command("make", "help")
	c.Dir = root
	help, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"init", "setup", "requirements", "build", "up", "down", "run", "test", "bench", "image", "push", "deploy", "rollout"} {
		if !regexp.MustCompile(`(?m)^  make ` + target + ` `).Match(help) {
			t.Errorf("make help does not list %s", target)
		}
	}
}
