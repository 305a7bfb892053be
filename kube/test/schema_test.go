package kube

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

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

// The documented first deployment, in its worst order: the collector is there
// before the tables, counts and acknowledges, and brings all of it to the store
// once the Job has made them.
func TestFirstDeployment(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{User: "lectern", Password: "s3cret-w0rd"})
	r := render(t, "../base")
	pod := collector(r).Spec.Template.Spec.Containers[0]
	job := one[*batch.Job](t, r, "lectern-schema").Spec.Template.Spec.Containers[0]
	var text string
	for _, m := range all[*core.ConfigMap](r) {
		text += m.Data[filepath.Base(configFile(pod))]
	}
	dir := t.TempDir()
	config, password := filepath.Join(dir, "config.toml"), filepath.Join(dir, "password")
	for path, content := range map[string]string{config: text, password: "s3cret-w0rd\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) *exec.Cmd {
		c := exec.Command(binary, strings.Split(strings.ReplaceAll(strings.Join(args, "\x00"), configFile(pod), config), "\x00")...)
		c.Env = []string{
			"LECTERN_CLICKHOUSE_ADDRESS=" + s.Address(), "LECTERN_CLICKHOUSE_PASSWORD_FILE=" + password, "LECTERN_SPOOL_DIR=" + filepath.Join(dir, "spool"),
			"LECTERN_SPOOL_SIZE_MAX=256MiB", "LECTERN_LISTEN_ADDRESS=127.0.0.1:0", "LECTERN_OPS_ADDRESS=127.0.0.1:0", "LECTERN_STOP_DRAIN_TIME=0s",
			"LECTERN_STOP_UNREADY_TIME=0s", "LECTERN_LOG_FORMAT=text",
		}
		return c
	}
	daemon := command(pod.Args...)
	pipe, err := daemon.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	said := bufio.NewScanner(pipe)
	address := ""
	for ready := regexp.MustCompile(`msg="lectern is ready" events=(\S+)`); address == ""; {
		if !said.Scan() {
			t.Fatal("without tables the collector does not start")
		}
		if m := ready.FindStringSubmatch(said.Text()); m != nil {
			address = m[1]
		}
	}
	go func() { _, _ = io.Copy(io.Discard, pipe) }()
	if out, err := command("emit", "--to", "tcp://"+address, "--events", "1000").CombinedOutput(); err != nil {
		t.Fatalf("without tables it does not acknowledge: %v\n%s", err, out)
	}
	if out, err := command(job.Args...).CombinedOutput(); err != nil {
		t.Fatalf("the Job: %v\n%s", err, out)
	}
	stored := ""
	for deadline := time.Now().Add(2 * time.Minute); stored != "1000"; time.Sleep(100 * time.Millisecond) {
		stored = s.Query("SELECT toString(sum(opens + reads + finishes + saves + shares)) FROM lectern.reads WHERE stream < 65535")[0][0]
		if time.Now().After(deadline) {
			t.Fatalf("%s events of 1000 are stored", stored)
		}
	}
}
