package kube

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// The Job as it is rendered, in ClickHouse's own engine: it fails while there is
// none and comes to its end when there is, however many run at once, and again.
func TestSchemaJobRuns(t *testing.T) {
	r := render(t, "../base")
	pod := one[*batch.Job](t, r, "lectern-schema").Spec.Template.Spec
	job := pod.Containers[0]
	var text string
	for _, m := range all[*core.ConfigMap](r) {
		text += m.Data[filepath.Base(configFile(job))]
	}
	dir := t.TempDir()
	config, password := filepath.Join(dir, "config.toml"), filepath.Join(dir, "password")
	for path, content := range map[string]string{config: text, password: "s3cret-w0rd\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(address string) (string, error) {
		args := strings.Split(strings.ReplaceAll(strings.Join(job.Args, "\x00"), configFile(job), config), "\x00")
		c := exec.Command(binary, args...)
		c.Env = []string{"LECTERN_CLICKHOUSE_ADDRESS=" + address, "LECTERN_CLICKHOUSE_PASSWORD_FILE=" + password}
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		err := c.Run()
		return out.String(), err
	}
	if out, err := run("127.0.0.1:1"); err == nil {
		t.Errorf("without ClickHouse it comes to its end: %s", out)
	}

	s := clickhousetest.Start(t, clickhousetest.Options{User: "lectern", Password: "s3cret-w0rd"})
	const atOnce = 8
	var outs [atOnce]string
	var errs [atOnce]error
	var running sync.WaitGroup
	for i := range atOnce {
		running.Go(func() { outs[i], errs[i] = run(s.Address()) })
	}
	running.Wait()
	for i := range atOnce {
		if errs[i] != nil {
			t.Errorf("one of several at once: %v: %s", errs[i], outs[i])
		}
	}
	if out, err := run(s.Address()); err != nil || !strings.Contains(out, "as they should be") {
		t.Errorf("again: %v: %s", err, out)
	}
}
