package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// hostPath runs what components/spool-hostpath does: the init container, as root
// with the two capabilities it names, gives a directory of root's to the daemon's
// user; a second time, too, when others may not look into it any more. The daemon
// keeps its spool there.
func (d *docker) hostPath(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "kube/components/spool-hostpath/daemonset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var component struct {
		Spec struct {
			Template struct{ Spec core.PodSpec }
		}
	}
	if err := yaml.Unmarshal(text, &component); err != nil {
		t.Fatal(err)
	}
	c := component.Spec.Template.Spec.InitContainers[0]
	spool := filepath.Join(d.dir, "spool")
	if err := os.Mkdir(spool, 0o755); err != nil { // as the kubelet makes a DirectoryOrCreate
		t.Fatal(err)
	}
	mount := "type=bind,src=" + spool + ",dst=" + c.VolumeMounts[1].MountPath
	args := []string{"run", "--rm", "--network", "none", "--read-only", "--user", "0:0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--memory", "64m", "--mount", mount, "--mount", "type=bind,readonly,src=" + absolute(t, "kube/base/config.toml") + ",dst=/etc/lectern/config.toml"}
	for _, capability := range c.SecurityContext.Capabilities.Add {
		args = append(args, "--cap-add", string(capability))
	}
	args = append(append(args, "lectern-amd64"), c.Args...)
	for range 2 {
		d.run(cli, args...)
		if got := d.run("stat", "--format", "%u:%g %a", spool); got != "65532:65532 700" {
			t.Fatalf("the directory is %s", got)
		}
	}

	serve := []string{"run", "-d", "--name", "spooler", "--network", "host", "--read-only", "--user", "65532", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--memory", "128m", "--mount", mount, "--tmpfs", "/var/lib/lectern/data:uid=65532,size=64m"}
	for _, e := range append([]string{"LECTERN_SPOOL_DIR=" + c.VolumeMounts[1].MountPath, "LECTERN_SPOOL_SHARE=true"}, small...) {
		serve = append(serve, "--env", e)
	}
	d.run(cli, append(serve, "lectern-amd64")...)
	d.untilReady(t, "spooler")
	d.emit(t, "--to", "tcp://127.0.0.1:8420", "--events", "1000")
	d.stop(t, "spooler")
	if out := d.logs("spooler"); !strings.Contains(out, "everything that was counted is stored, or in the spool") {
		t.Errorf("its last words:\n%s", out)
	}
	d.run(cli, "rm", "spooler")
	if files := d.run("ls", "-A", spool); files == "" {
		t.Error("the spool's directory is empty: it was kept elsewhere")
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
