package kube

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
)

// Every overlay says which image, to the version or the digest: what "latest" is
// changes under a rollback. No image comes from a registry beside its own.
func TestImages(t *testing.T) {
	pinned := regexp.MustCompile(`(:v?[0-9][^@]*|:dev|@sha256:[0-9a-f]{64})$`)
	for _, dir := range directories(t, "../overlays") {
		r := render(t, dir)
		for _, p := range templates(r) {
			for _, c := range containers(&p.Spec) {
				if !pinned.MatchString(c.Image) {
					t.Errorf("%s: %s/%s is any version: %q", dir, p.name, c.Name, c.Image)
				}
				if base, _, _ := strings.Cut(filepath.Base(c.Image), ":"); base != "lectern" {
					t.Errorf("%s: %s/%s is %q, which no registry of ours has", dir, p.name, c.Name, c.Image)
				}
			}
		}
	}
	each(t, func(t *testing.T, r rendered) {
		for _, p := range templates(r) {
			for _, c := range containers(&p.Spec) {
				if base, _, _ := strings.Cut(filepath.Base(c.Image), ":"); base != "lectern" {
					t.Errorf("%s/%s is %q, which no registry of ours has", p.name, c.Name, c.Image)
				}
			}
		}
	})
}

// A taint by which something takes a node away is not tolerated: whoever tolerates it
// is not told to go.
func TestTolerations(t *testing.T) {
	leaving := []core.Taint{
		{Key: "karpenter.sh/disrupted", Effect: core.TaintEffectNoSchedule},
		{Key: "karpenter.sh/disruption", Value: "disrupting", Effect: core.TaintEffectNoSchedule},
		{Key: "ToBeDeletedByClusterAutoscaler", Value: "1700000000", Effect: core.TaintEffectNoSchedule},
		{Key: "DeletionCandidateOfClusterAutoscaler", Value: "1700000000", Effect: core.TaintEffectPreferNoSchedule},
		{Key: "node.kubernetes.io/out-of-service", Value: "nodeshutdown", Effect: core.TaintEffectNoExecute},
	}
	each(t, func(t *testing.T, r rendered) {
		for _, p := range templates(r) {
			for _, toleration := range p.Spec.Tolerations {
				if toleration.Key == "" {
					t.Errorf("%s tolerates every taint", p.name)
				}
				for _, taint := range leaving {
					// As the API's own ToleratesTaint, for these operators.
					if (toleration.Effect == "" || toleration.Effect == taint.Effect) && (toleration.Key == "" || toleration.Key == taint.Key) &&
						(toleration.Operator == core.TolerationOpExists || toleration.Value == taint.Value) {
						t.Errorf("%s tolerates %s", p.name, taint.Key)
					}
				}
			}
		}
	})
}

// What an update wants on top of what runs, on every node: little, but for those
// who ask for a guarantee.
func TestHeadroom(t *testing.T) {
	most := core.ResourceList{core.ResourceCPU: resource.MustParse("250m"), core.ResourceMemory: resource.MustParse("512Mi")}
	eachCollector(t, func(t *testing.T, r rendered, d *apps.DaemonSet) {
		c := d.Spec.Template.Spec.Containers[0]
		for name, bound := range most {
			request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
			if strings.Contains(r.name, "guaranteed") {
				if request.Cmp(limit) != 0 {
					t.Errorf("%s is requested %s, limited %s: not guaranteed", name, request.String(), limit.String())
				}
			} else if request.Cmp(bound) > 0 {
				t.Errorf("an update wants %s of %s more on every node; %s is what it may", request.String(), name, bound.String())
			}
		}
	})
}

// The tables come by a Job where ClickHouse is the store, and only there. It asks
// where the collectors ask, with their configuration and password, by the same
// image; nobody sends events to it, and it goes on until ClickHouse is there.
func TestSchemaJob(t *testing.T) {
	eachCollector(t, func(t *testing.T, r rendered, d *apps.DaemonSet) {
		jobs := all[*batch.Job](r)
		if setting(t, check(t, r, d), "storage.driver") != "clickhouse" {
			if len(jobs) > 0 {
				t.Error("there is a Job for tables that nobody asks")
			}
			return
		}
		if len(jobs) != 1 || jobs[0].Namespace != d.Namespace {
			t.Fatalf("there are %d Jobs", len(jobs))
		}
		j := jobs[0]
		job, pod := j.Spec.Template.Spec.Containers[0], d.Spec.Template.Spec.Containers[0]
		if job.Image != pod.Image || job.ImagePullPolicy != pod.ImagePullPolicy {
			t.Errorf("the Job is %s, the collector %s", job.Image, pod.Image)
		}
		if !slices.Equal(job.Args[:2], []string{"schema", "--apply"}) || configFile(job) != configFile(pod) {
			t.Errorf("the Job runs %q", job.Args)
		}
		config := func(v []core.Volume) string {
			for _, v := range v {
				if v.Name == "config" {
					return v.String()
				}
			}
			return ""
		}
		if a, b := config(j.Spec.Template.Spec.Volumes), config(d.Spec.Template.Spec.Volumes); a == "" || a != b {
			t.Errorf("the Job's configuration is\n%s\nthe collector's\n%s", a, b)
		}
		where := func(c core.Container) (all []string) {
			for _, e := range c.Env {
				if strings.HasPrefix(e.Name, "LECTERN_CLICKHOUSE_") {
					all = append(all, e.Name+"="+e.Value)
				}
			}
			slices.Sort(all)
			return all
		}
		if !slices.Equal(where(job), where(pod)) {
			t.Errorf("the Job asks at %v, the collector at %v", where(job), where(pod))
		}
		for _, s := range all[*core.Service](r) {
			if labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(j.Spec.Template.Labels)) {
				t.Errorf("the Service %s sends to the Job", s.Name)
			}
		}
		if j.Spec.Template.Spec.RestartPolicy != core.RestartPolicyOnFailure || j.Spec.BackoffLimit == nil || *j.Spec.BackoffLimit < 100 {
			t.Error("the Job gives up while ClickHouse is not there yet")
		}
	})
}

// The kustomization of your own that the documentation shows is one, of what is
// here; its references name a version.
func TestRemoteBase(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/DEPLOY-EKS.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^    # kustomization\.yaml\n((?:    .*\n|\n)+)`).FindSubmatch(text)
	if found == nil {
		t.Fatal("the documentation shows no kustomization.yaml")
	}
	own := regexp.MustCompile(`(?m)^    `).ReplaceAllString(string(found[1]), "")
	reference := regexp.MustCompile(`https://github\.com/lectern/lectern//(\S+)\?ref=(\S+)`)
	references := reference.FindAllStringSubmatch(own, -1)
	if len(references) < 2 {
		t.Fatalf("it refers to %v", references)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(dir, here)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range references {
		if !regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+$`).MatchString(r[2]) {
			t.Errorf("%s is pinned to no version", r[0])
		}
	}
	own = reference.ReplaceAllString(own, up+"/$1")
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	if d := collector(render(t, dir)); d == nil || !strings.Contains(d.Spec.Template.Spec.Containers[0].Image, references[0][2]) {
		t.Errorf("it deploys %+v", d)
	}
}

// The first deployment in the documentation, and `make deploy`, take these steps
// in this order: without the Secret pods have no password, an earlier Job cannot
// be changed, and what is told to roll has to be there.
func TestDeployOrder(t *testing.T) {
	steps := []string{
		"create secret generic lectern-clickhouse", "delete job lectern-schema --ignore-not-found", "apply -k kube/overlays/", "rollout status daemonset/lectern",
		"wait --for=condition=complete job/lectern-schema",
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/DEPLOY-EKS.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, docs, _ := strings.Cut(string(text), "\n## 5. The collectors\n")
	docs, _, _ = strings.Cut(docs, "\n## 6.")
	inOrder(t, "docs/DEPLOY-EKS.md", docs, steps)

	for overlay, want := range map[string][]string{"eks": steps[1:], "local": steps[1:4]} {
		c := exec.Command("make", "--dry-run", "deploy", "OVERLAY="+overlay)
		c.Dir = root
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		inOrder(t, "make deploy OVERLAY="+overlay, string(out), want)
	}
}

func inOrder(t *testing.T, where, text string, steps []string) {
	t.Helper()
	at := 0
	for _, step := range steps {
		next := strings.Index(text[at:], step)
		if next < 0 {
			t.Errorf("%s does not %q, or not behind the step before", where, step)
			return
		}
		at += next + len(step)
	}
}
