// Package kube tests what is deployed: the manifests beside it, the alerts and
// dashboards in them, and compose.yml. It is a module of its own, so that the
// daemon's has nothing of Kubernetes in it.
package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	scheduling "k8s.io/api/scheduling/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// root is the project's directory, from this one.
const root = "../.."

// binary is the daemon's, built of this tree.
var binary string

func TestMain(m *testing.M) {
	if binary = os.Getenv("LECTERN_TEST_INSIDE_NODE"); binary != "" { // built by the test that runs this one
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "lectern-kube-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "lectern")
	build := exec.Command("go", "build", "-o", binary, "./cmd/lectern")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("cannot build lectern: %v\n%s", err, out))
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// absent says that a test did not run for want of a program: with CI=true that
// is a failure.
func absent(t *testing.T, program, how string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("there is no %s; %s", program, how)
	}
	t.Skipf("NOT RUN: there is no %s; %s", program, how)
}

// kinds is every kind that the manifests may have, with its type.
var kinds = map[string]func() any{
	"v1/Namespace":                                      func() any { return new(core.Namespace) },
	"v1/ServiceAccount":                                 func() any { return new(core.ServiceAccount) },
	"v1/Service":                                        func() any { return new(core.Service) },
	"v1/ConfigMap":                                      func() any { return new(core.ConfigMap) },
	"apps/v1/DaemonSet":                                 func() any { return new(apps.DaemonSet) },
	"apps/v1/StatefulSet":                               func() any { return new(apps.StatefulSet) },
	"policy/v1/PodDisruptionBudget":                     func() any { return new(disruption.PodDisruptionBudget) },
	"batch/v1/Job":                                      func() any { return new(batch.Job) },
	"networking.k8s.io/v1/NetworkPolicy":                func() any { return new(networking.NetworkPolicy) },
	"scheduling.k8s.io/v1/PriorityClass":                func() any { return new(scheduling.PriorityClass) },
	"monitoring.coreos.com/v1/PodMonitor":               func() any { return new(monitoring.PodMonitor) },
	"monitoring.coreos.com/v1/PrometheusRule":           func() any { return new(monitoring.PrometheusRule) },
	"clickhouse.altinity.com/v1/ClickHouseInstallation": func() any { return new(clickhouseInstallation) },
	"clickhouse-keeper.altinity.com/v1/ClickHouseKeeperInstallation": func() any { return new(keeperInstallation) },
}

// rendered is what kustomize makes of one directory, each object as its type.
type rendered struct {
	name    string
	objects []any
}

// all is every object of a type.
func all[T any](r rendered) (found []T) {
	for _, o := range r.objects {
		if object, ok := o.(T); ok {
			found = append(found, object)
		}
	}
	return found
}

// one is the object of this name; an empty one is of any.
func one[T meta.Object](t *testing.T, r rendered, name string) (found T) {
	t.Helper()
	n := 0
	for _, o := range all[T](r) {
		if name == "" || o.GetName() == name {
			found = o
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%s has %d objects %q of %T; want 1", r.name, n, name, found)
	}
	return found
}

// kustomize is the command that renders a directory. Debian's kubectl of 2021
// and before knows no components, and a new machine may have none: then the same
// version of kustomize that kubectl has in it is built from its module.
var kustomize = sync.OnceValue(func() []string {
	var version struct {
		KustomizeVersion string `json:"kustomizeVersion"`
	}
	out, err := exec.Command("kubectl", "version", "--client", "-o", "json").Output()
	if err == nil && json.Unmarshal(out, &version) == nil && version.KustomizeVersion >= "v5" {
		return []string{"kubectl", "kustomize"}
	}
	return []string{"go", "run", "sigs.k8s.io/kustomize/kustomize/v5@v5.5.0", "build"}
})

// render renders a directory and decodes all of it strictly: a field that its
// type does not have, or that stands twice, is an error.
func render(t *testing.T, dir string) rendered {
	t.Helper()
	var out, complaint bytes.Buffer
	c := exec.Command(kustomize()[0], append(slices.Clone(kustomize()[1:]), dir)...)
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", c, err, complaint.String())
	}
	if complaint.Len() > 0 {
		t.Errorf("%s warns: %s", c, complaint.String())
	}
	r := rendered{name: filepath.ToSlash(dir)}
	for document := range strings.SplitSeq(out.String(), "\n---\n") {
		object, err := decode([]byte(document))
		if err != nil {
			t.Fatalf("%s: %v in\n%s", dir, err, document)
		}
		r.objects = append(r.objects, object)
	}
	return r
}

func decode(document []byte) (any, error) {
	var kind meta.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, err
	}
	make, ok := kinds[kind.APIVersion+"/"+kind.Kind]
	if !ok {
		return nil, fmt.Errorf("%s/%s is no kind that is expected here", kind.APIVersion, kind.Kind)
	}
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, err
	}
	// As the API server does it: with the case of each field.
	object := make()
	strict, err := kjson.UnmarshalStrict(text, object)
	return object, errors.Join(append(strict, err)...)
}

// each runs a test on the base, on every overlay, and on the base with each
// component and with each two of those that change the pods.
func each(t *testing.T, f func(t *testing.T, r rendered)) {
	t.Helper()
	for _, r := range renderedAll(t) {
		t.Run(strings.TrimLeft(r.name, "./"), func(t *testing.T) { f(t, r) })
	}
}

var (
	renderOnce sync.Once
	renders    []rendered
)

func renderedAll(t *testing.T) []rendered {
	t.Helper()
	renderOnce.Do(func() {
		renders = append(renders, render(t, "../base"))
		for _, dir := range directories(t, "../overlays") {
			renders = append(renders, render(t, dir))
		}
		components := directories(t, "../components")
		for _, c := range components {
			renders = append(renders, renderWith(t, c))
		}
		renders = append(renders,
			renderWith(t, "../components/spool-hostpath", "../components/hostport"),
			renderWith(t, "../components/spool-hostpath", "../components/parquet-hostpath", "../components/guaranteed"),
			renderWith(t, "../components/spool-hostpath", "../components/podmonitor", "../components/hostnetwork"))
	})
	if len(renders) < 12 {
		t.Fatalf("only %d directories could be rendered", len(renders))
	}
	return renders
}

func directories(t *testing.T, parent string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(parent, "*", "kustomization.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no kustomization below %s: %v", parent, err)
	}
	for i := range files {
		files[i] = filepath.Dir(files[i])
	}
	return files
}

// renderWith renders the base with components.
func renderWith(t *testing.T, components ...string) rendered {
	t.Helper()
	// kustomize takes relative paths only, and wants them without symbolic links.
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	relative := func(path string) string {
		absolute, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		if absolute, err = filepath.Rel(dir, absolute); err != nil {
			t.Fatal(err)
		}
		return absolute
	}
	k := map[string]any{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": []string{relative("../base")}}
	var list, names []string
	for _, c := range components {
		list, names = append(list, relative(c)), append(names, filepath.Base(c))
	}
	k["components"] = list
	text, err := yaml.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	r := render(t, dir)
	r.name = "base with " + strings.Join(names, " and ")
	return r
}
