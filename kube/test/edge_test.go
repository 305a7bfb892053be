package kube

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
)

const edgeName = "lectern-edge"

// isEdge says whether labels, or a selector, are those of the edges.
func isEdge(labels map[string]string) bool { return labels["app.kubernetes.io/name"] == edgeName }

// The edges of components/edge: what leads to them, what they may reach, and that
// they start with what they are given.
func TestEdges(t *testing.T) {
	r := renderWith(t, "../components/edge")
	d := collector(r)
	s := one[*apps.StatefulSet](t, r, edgeName)
	pod := s.Spec.Template
	if s.Namespace != d.Namespace || !isEdge(pod.Labels) || !isEdge(s.Spec.Selector.MatchLabels) {
		t.Errorf("the edges are in %s, with labels %v", s.Namespace, pod.Labels)
	}
	listens := make(map[int32]bool)
	for _, p := range pod.Spec.Containers[0].Ports {
		listens[p.ContainerPort] = true
	}
	pages := one[*core.Service](t, r, edgeName).Spec
	if pages.SessionAffinity != core.ServiceAffinityClientIP {
		t.Error("a page may come to another edge each time, which cannot know what it has sent")
	}
	for _, name := range []string{edgeName, edgeName + "-ops"} {
		service := one[*core.Service](t, r, name)
		if !isEdge(service.Spec.Selector) || service.Namespace != s.Namespace {
			t.Errorf("the Service %s selects %v", name, service.Spec.Selector)
		}
		for _, p := range service.Spec.Ports {
			if !listens[int32(p.TargetPort.IntValue())] {
				t.Errorf("the Service %s leads to port %s, where nobody listens", name, p.TargetPort.String())
			}
		}
	}
	if s.Spec.ServiceName != edgeName+"-ops" {
		t.Errorf("the StatefulSet's Service is %q", s.Spec.ServiceName)
	}
	policy := one[*networking.NetworkPolicy](t, r, edgeName).Spec
	if !isEdge(policy.PodSelector.MatchLabels) || len(policy.PolicyTypes) != 2 {
		t.Errorf("the network policy is for %v, in %v", policy.PodSelector, policy.PolicyTypes)
	}
	for _, rule := range policy.Ingress {
		for _, port := range rule.Ports {
			if !listens[int32(port.Port.IntValue())] || port.Port.IntValue() == 8481 && len(rule.From) == 0 {
				t.Errorf("the network policy lets in %v from %v", port.Port, rule.From)
			}
		}
	}
	reaches := slices.ContainsFunc(policy.Egress, func(rule networking.NetworkPolicyEgressRule) bool {
		return slices.ContainsFunc(rule.To, func(to networking.NetworkPolicyPeer) bool {
			return to.PodSelector != nil && selects(to.PodSelector.MatchLabels, d)
		})
	})
	if !reaches {
		t.Error("the network policy lets the edges reach no collector")
	}
	if budget := one[*disruption.PodDisruptionBudget](t, r, edgeName).Spec; !isEdge(budget.Selector.MatchLabels) {
		t.Errorf("the disruption budget is for %v", budget.Selector)
	}
	edgeConfigIsGood(t, &pod)
}

// edgeConfigIsGood has `lectern check` look at what an edge reads.
func edgeConfigIsGood(t *testing.T, pod *core.PodTemplateSpec) {
	t.Helper()
	text, err := os.ReadFile("../base/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(binary, "check", "--without-files", "--config", path)
	c.Env = os.Environ()
	queues := ""
	for _, v := range pod.Spec.Containers[0].Env {
		c.Env = append(c.Env, fmt.Sprintf("%s=%s", v.Name, v.Value))
		if v.Name == "LECTERN_EDGE_DIR" {
			queues = v.Value
		}
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("lectern check: %v\n%s", err, out)
	}
	mounted := slices.ContainsFunc(pod.Spec.Containers[0].VolumeMounts, func(m core.VolumeMount) bool {
		return m.Name == "queues" && strings.HasPrefix(queues, m.MountPath+"/")
	})
	if !mounted {
		t.Errorf("the queues are in %q, which is on no volume", queues)
	}
}
