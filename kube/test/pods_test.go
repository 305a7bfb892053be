package kube

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	scheduling "k8s.io/api/scheduling/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	security "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// collector is the DaemonSet of the collectors, where there is one.
func collector(r rendered) *apps.DaemonSet {
	for _, d := range all[*apps.DaemonSet](r) {
		if d.Name == "lectern" {
			return d
		}
	}
	return nil
}

// eachCollector is each, where there is a collector.
func eachCollector(t *testing.T, f func(t *testing.T, r rendered, d *apps.DaemonSet)) {
	t.Helper()
	each(t, func(t *testing.T, r rendered) {
		if d := collector(r); d != nil {
			f(t, r, d)
		}
	})
}

// What a pod is refused for, by level.
func refusals(t *testing.T, level security.Level, p *core.PodTemplateSpec) (why []string) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range evaluator.EvaluatePod(security.LevelVersion{Level: level, Version: security.LatestVersion()}, &p.ObjectMeta, &p.Spec) {
		if !result.Allowed {
			why = append(why, result.ForbiddenReason+" ("+result.ForbiddenDetail+")")
		}
	}
	return why
}

// template is a pod's, with whose it is.
type template struct {
	name, namespace string
	*core.PodTemplateSpec
}

// templates is every pod that there may be.
func templates(r rendered) (found []template) {
	for _, d := range all[*apps.DaemonSet](r) {
		found = append(found, template{d.Name, d.Namespace, &d.Spec.Template})
	}
	for _, s := range all[*apps.StatefulSet](r) {
		found = append(found, template{s.Name, s.Namespace, &s.Spec.Template})
	}
	for _, j := range all[*batch.Job](r) {
		found = append(found, template{j.Name, j.Namespace, &j.Spec.Template})
	}
	return found
}

// containers is every container of a pod.
func containers(spec *core.PodSpec) []core.Container {
	return append(slices.Clone(spec.InitContainers), spec.Containers...)
}

// Each pod is let into its namespace, and no namespace lets in more than one of
// its pods needs.
func TestPodSecurity(t *testing.T) {
	levels := []security.Level{security.LevelRestricted, security.LevelBaseline, security.LevelPrivileged}
	each(t, func(t *testing.T, r rendered) {
		enforced, wanted := make(map[string]security.Level), make(map[string]security.Level)
		for _, n := range all[*core.Namespace](r) {
			enforced[n.Name] = security.Level(n.Labels[security.EnforceLevelLabel])
		}
		for _, p := range templates(r) {
			if why := refusals(t, enforced[p.namespace], p.PodTemplateSpec); len(why) > 0 {
				t.Errorf("the namespace %s (%s) refuses the pods of %s: %s", p.namespace, enforced[p.namespace], p.name, strings.Join(why, "; "))
			}
			needs := slices.IndexFunc(levels, func(l security.Level) bool { return len(refusals(t, l, p.PodTemplateSpec)) == 0 })
			if needs > slices.Index(levels, wanted[p.namespace]) {
				wanted[p.namespace] = levels[needs]
			}
		}
		for name, level := range wanted {
			if enforced[name] != level {
				t.Errorf("the namespace %s lets in %q, its pods are %q", name, enforced[name], level)
			}
		}
	})
	base := render(t, "../base")
	if why := refusals(t, security.LevelRestricted, &collector(base).Spec.Template); len(why) > 0 {
		t.Errorf("the base is not restricted: %s", strings.Join(why, "; "))
	}
	if v := volume(collector(base), "/var/lib/lectern/spool"); v == nil || v.EmptyDir == nil {
		t.Errorf("the base's spool is %+v", v)
	}
}

// volume is what is mounted where a path is.
func volume(d *apps.DaemonSet, path string) *core.Volume {
	spec := d.Spec.Template.Spec
	var at core.VolumeMount
	for _, m := range spec.Containers[0].VolumeMounts {
		if (path == m.MountPath || strings.HasPrefix(path, m.MountPath+"/")) && len(m.MountPath) > len(at.MountPath) {
			at = m
		}
	}
	for i := range spec.Volumes {
		if spec.Volumes[i].Name == at.Name {
			return &spec.Volumes[i]
		}
	}
	return nil
}

// A pod with a port of the node cannot stand beside its successor: with a surge
// the update hangs for ever, without one and without a port it loses traffic.
func TestUpdateStrategy(t *testing.T) {
	eachCollector(t, func(t *testing.T, r rendered, d *apps.DaemonSet) {
		spec := d.Spec.Template.Spec
		host := false
		for _, c := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
			for _, p := range c.Ports {
				// On the host's network each port that is declared is one of the host.
				host = host || p.HostPort != 0 || spec.HostNetwork
			}
		}
		u := d.Spec.UpdateStrategy.RollingUpdate
		surge, away := u.MaxSurge.IntValue(), u.MaxUnavailable.IntValue()
		if host && (surge != 0 || away != 1) {
			t.Errorf("with ports of the node: maxSurge %d, maxUnavailable %d; want 0 and 1", surge, away)
		}
		if !host && (surge != 1 || away != 0) {
			t.Errorf("without ports of the node: maxSurge %d, maxUnavailable %d; want 1 and 0", surge, away)
		}
		env := environment(t, r, d)
		if spec.HostNetwork && (env["LECTERN_LISTEN_SHARE_PORT"] != "true" || spec.DNSPolicy != core.DNSClusterFirstWithHostNet) {
			t.Errorf("on the host's network without sharing its port, or without the cluster's DNS (%s)", spec.DNSPolicy)
		}
		if hostPath := volume(d, "/var/lib/lectern/spool").HostPath != nil; hostPath && env["LECTERN_SPOOL_SHARE"] != "true" {
			t.Error("old and new pod stand on one spool, and it is not shared")
		}
	})
}

func TestProbes(t *testing.T) {
	eachCollector(t, func(t *testing.T, _ rendered, d *apps.DaemonSet) {
		c := d.Spec.Template.Spec.Containers[0]
		for name, p := range map[string]*core.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
			if p == nil || p.HTTPGet == nil {
				t.Fatalf("there is no %s probe over HTTP", name)
			}
			if p.HTTPGet.Port.IntValue() != 8421 { // by number: pods on the host's network declare none
				t.Errorf("the %s probe asks port %v", name, p.HTTPGet.Port.String())
			}
		}
		if reflect.DeepEqual(c.ReadinessProbe.ProbeHandler, c.LivenessProbe.ProbeHandler) {
			t.Error("readiness and liveness ask the same: what should get no traffic would be restarted")
		}
		if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
			t.Errorf("liveness asks %s, readiness %s", c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path)
		}
		patience := func(p *core.Probe) int32 { return p.PeriodSeconds * p.FailureThreshold }
		if patience(c.LivenessProbe) < 2*patience(c.ReadinessProbe) {
			t.Errorf("liveness gives up after %d s, readiness after %d s", patience(c.LivenessProbe), patience(c.ReadinessProbe))
		}
	})
}

// What hardens a pod beyond Pod Security, and bounds what it takes.
func TestPods(t *testing.T) {
	each(t, func(t *testing.T, r rendered) {
		for _, p := range templates(r) {
			if p.Spec.AutomountServiceAccountToken == nil || *p.Spec.AutomountServiceAccountToken {
				t.Errorf("%s has a token", p.name)
			}
			if p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks {
				t.Errorf("%s is told of Services by variables, which nobody has a use for", p.name)
			}
			if p.Spec.NodeSelector["kubernetes.io/os"] != "linux" {
				t.Errorf("%s runs on any system", p.name)
			}
			for _, c := range containers(&p.Spec) {
				if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
					t.Errorf("%s/%s can write to its image", p.name, c.Name)
				}
				for _, resource := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory} {
					limit, request := c.Resources.Limits[resource], c.Resources.Requests[resource]
					if limit.IsZero() || request.IsZero() || limit.Cmp(request) < 0 {
						t.Errorf("%s/%s: %s is requested %s, limited %s", p.name, c.Name, resource, request.String(), limit.String())
					}
				}
			}
		}
	})
	eachCollector(t, func(t *testing.T, r rendered, d *apps.DaemonSet) {
		spec := d.Spec.Template.Spec
		if spec.PriorityClassName != one[*scheduling.PriorityClass](t, r, "").Name {
			t.Errorf("the priority class is %q", spec.PriorityClassName)
		}
		if spec.ServiceAccountName != one[*core.ServiceAccount](t, r, "").Name {
			t.Errorf("the account is %q", spec.ServiceAccountName)
		}
		if v := volume(d, "/var/lib/lectern"); v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil {
			t.Errorf("the state is %+v; want an emptyDir with a limit", v)
		} else if room := spec.Containers[0].Resources.Limits[core.ResourceEphemeralStorage]; v.EmptyDir.SizeLimit.Cmp(room) >= 0 {
			t.Errorf("the state may be %s, the whole container %s", v.EmptyDir.SizeLimit, room.String())
		}
		for _, c := range spec.InitContainers {
			if c.Image != spec.Containers[0].Image || c.ImagePullPolicy != spec.Containers[0].ImagePullPolicy {
				t.Errorf("the init container %s is another image", c.Name)
			}
			if add := c.SecurityContext.Capabilities.Add; !slices.Equal(add, []core.Capability{"CHOWN", "FOWNER"}) {
				t.Errorf("the init container %s may %v", c.Name, add)
			}
		}
	})
}

// The certificates' files are where the daemon looks for them, in a directory that
// follows its Secret: nothing is mounted by subPath.
func TestCertificatesFollowTheirSecret(t *testing.T) {
	r := renderWith(t, "../components/tls")
	d := one[*apps.DaemonSet](t, r, "lectern")
	dir := ""
	for _, m := range d.Spec.Template.Spec.Containers[0].VolumeMounts {
		if m.SubPath != "" || m.SubPathExpr != "" {
			t.Errorf("%s is mounted by a path of its volume, and never changes", m.MountPath)
		}
		if m.Name == "tls" {
			dir = m.MountPath
		}
	}
	files := map[string]string{"LECTERN_TLS_CERTIFICATE": "tls.crt", "LECTERN_TLS_KEY": "tls.key", "LECTERN_TLS_CLIENT_CA": "ca.crt"}
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		if file, ok := files[e.Name]; ok && e.Value != dir+"/"+file {
			t.Errorf("%s is %s, want %s/%s", e.Name, e.Value, dir, file)
		}
		delete(files, e.Name)
	}
	if v := volume(d, dir); len(files) > 0 || v.Secret == nil || v.Secret.SecretName != "lectern-tls" || v.Secret.Items != nil {
		t.Errorf("not set: %v; the volume is %+v", files, v)
	}
}

// The token of the operations port is where the daemon looks for it, in a directory that
// follows its Secret, and in compose.yml, which has it as well, at the same place.
func TestTokenFollowsItsSecret(t *testing.T) {
	r := renderWith(t, "../components/ops-token")
	d := one[*apps.DaemonSet](t, r, "lectern")
	file := environment(t, r, d)["LECTERN_OPS_TOKEN_FILE"]
	v := volume(d, path.Dir(file))
	if path.Base(file) != "token" || v.Secret == nil || v.Secret.SecretName != "lectern-ops-token" || v.Secret.Items != nil || v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440 {
		t.Errorf("the token is to be %q, and the volume there is %+v", file, v)
	}
	for _, m := range d.Spec.Template.Spec.Containers[0].VolumeMounts {
		if m.SubPath != "" || m.SubPathExpr != "" || m.MountPath == path.Dir(file) && !m.ReadOnly {
			t.Errorf("%s is mounted as %+v", m.MountPath, m)
		}
	}
	c := readComposition(t)
	if got := c.Services["lectern"].Environment["LECTERN_OPS_TOKEN_FILE"]; got != file {
		t.Errorf("compose.yml has the token at %q, Kubernetes at %q", got, file)
	}
	if !slices.ContainsFunc(c.Services["lectern"].Secrets, func(s any) bool {
		m, _ := s.(map[string]any)
		return m["source"] == "ops-token" && m["target"] == file
	}) || c.Secrets["ops-token"].File != "./data/secrets/ops-token" {
		t.Errorf("compose.yml mounts %v of %v", c.Services["lectern"].Secrets, c.Secrets)
	}
}

// Services and the network policy name the ports that the daemon listens on, and
// select its pods.
func TestServices(t *testing.T) {
	eachCollector(t, func(t *testing.T, r rendered, d *apps.DaemonSet) {
		listens := map[string]bool{"8420/UDP": true, "8420/TCP": true, "8421/TCP": true}
		for _, e := range d.Spec.Template.Spec.Containers[0].Env {
			if e.Name == "LECTERN_TLS_ADDRESS" {
				listens[strings.TrimPrefix(e.Value, ":")+"/TCP"] = true
			}
		}
		for _, s := range all[*core.Service](r) {
			if isEdge(s.Spec.Selector) {
				continue // TestEdges
			}
			if !selects(s.Spec.Selector, d) || s.Namespace != d.Namespace {
				t.Errorf("the Service %s selects %v in %s: not the collectors", s.Name, s.Spec.Selector, s.Namespace)
			}
			for _, p := range s.Spec.Ports {
				if !listens[fmt.Sprintf("%d/%s", p.TargetPort.IntValue(), p.Protocol)] {
					t.Errorf("the Service %s leads to %s/%s, where nobody listens", s.Name, p.TargetPort.String(), p.Protocol)
				}
			}
		}
		local := one[*core.Service](t, r, "lectern").Spec
		if local.InternalTrafficPolicy == nil || *local.InternalTrafficPolicy != core.ServiceInternalTrafficPolicyLocal {
			t.Error("the Service lectern leaves the node")
		}
		p := one[*networking.NetworkPolicy](t, r, "lectern").Spec
		policed, err := meta.LabelSelectorAsSelector(&p.PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range templates(r) {
			if isEdge(pod.Labels) {
				continue
			}
			if pod.namespace == d.Namespace && !policed.Matches(labels.Set(pod.Labels)) || len(p.PolicyTypes) != 2 {
				t.Errorf("the network policy is for %v, in %v: not for %s", policed, p.PolicyTypes, pod.name)
			}
		}
		for _, rule := range p.Ingress {
			for _, port := range rule.Ports {
				if !listens[fmt.Sprintf("%d/%s", port.Port.IntValue(), *port.Protocol)] {
					t.Errorf("the network policy lets in %s/%s", port.Port.String(), *port.Protocol)
				}
				if port.Port.IntValue() == 8421 && len(rule.From) == 0 {
					t.Error("the network policy lets everybody see the metrics, and what else is served there")
				}
			}
		}
		for _, m := range all[*monitoring.PodMonitor](r) {
			if !selects(m.Spec.Selector.MatchLabels, d) || m.Namespace != d.Namespace {
				t.Errorf("the PodMonitor selects %v in %s", m.Spec.Selector.MatchLabels, m.Namespace)
			}
			for _, e := range m.Spec.PodMetricsEndpoints {
				declared := slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p core.ContainerPort) bool {
					return e.Port != nil && p.Name == *e.Port && p.ContainerPort == 8421
				})
				renamed := slices.ContainsFunc(e.RelabelConfigs, func(c monitoring.RelabelConfig) bool {
					return c.TargetLabel == "__address__" && c.Replacement != nil && strings.HasSuffix(*c.Replacement, ":8421")
				})
				if declared == renamed {
					t.Errorf("the PodMonitor finds the port by its name: %t, makes the address itself: %t; want one of the two", declared, renamed)
				}
			}
		}
	})
	nlb := one[*core.Service](t, render(t, "../overlays/eks"), "lectern-nlb").Spec
	if nlb.ExternalTrafficPolicy != core.ServiceExternalTrafficPolicyLocal || nlb.LoadBalancerClass == nil || *nlb.LoadBalancerClass != "service.k8s.aws/nlb" {
		t.Errorf("the load balancer is %+v", nlb)
	}
}

func selects(labels map[string]string, d *apps.DaemonSet) bool {
	for k, v := range labels {
		if d.Spec.Template.Labels[k] != v {
			return false
		}
	}
	return len(labels) > 0
}

// The operator's objects name templates that there are, the Keeper that there is,
// and are spread over nodes.
func TestClickHouse(t *testing.T) {
	for _, dir := range []string{"../components/clickhouse", "../overlays/eks-clickhouse"} {
		t.Run(dir, func(t *testing.T) { checkClickHouse(t, render(t, dir)) })
	}
}

func checkClickHouse(t *testing.T, r rendered) {
	t.Helper()
	chi, chk := one[*clickhouseInstallation](t, r, ""), one[*keeperInstallation](t, r, "")
	for name, o := range map[string]struct {
		defaults  altinityDefaults
		templates altinityTemplates
		label     string
	}{
		"ClickHouse": {chi.Spec.Defaults, chi.Spec.Templates, "clickhouse.altinity.com/chi"},
		"Keeper":     {chk.Spec.Defaults, chk.Spec.Templates, "clickhouse-keeper.altinity.com/chk"},
	} {
		pods, claims, services := o.templates.names()
		use := o.defaults.Templates
		if !pods[use.PodTemplate] || !claims[use.DataVolumeClaimTemplate] || use.ServiceTemplate != "" && !services[use.ServiceTemplate] || use.ShardServiceTemplate != "" && !services[use.ShardServiceTemplate] {
			t.Errorf("%s wants the templates %+v; there are %v, %v, %v", name, use, pods, claims, services)
		}
		spread := o.templates.PodTemplates[0].Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		if len(spread) != 1 || spread[0].LabelSelector.MatchLabels[o.label] != "lectern" || spread[0].TopologyKey != core.LabelHostname {
			t.Errorf("%s may have two pods on one node: %+v", name, spread)
		}
	}
	if n := chk.Spec.Configuration.Clusters[0].Layout.ReplicasCount; n%2 == 0 || n < 3 {
		t.Errorf("%d Keepers agree no better than one less", n)
	}
	if nodes := chi.Spec.Configuration.Zookeeper.Nodes; len(nodes) != 1 || nodes[0].Host != "keeper-"+chk.Name {
		t.Errorf("ClickHouse asks the Keeper %+v", nodes)
	}
	for user, password := range chi.Spec.Configuration.Users {
		if _, plain := password.(string); plain && strings.Contains(user, "password") {
			t.Errorf("%s stands in the manifest", user)
		}
	}
}
