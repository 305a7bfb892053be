// Package image tests the image: it is built from the Dockerfile as it is, and
// run as hardened as in Kubernetes, by a Docker daemon of the test's own.
package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// sizeMax is what an image may weigh, in bytes: it is pulled by every node.
const sizeMax = 25_000_000

const (
	version = "v9.8.7"
	commit  = "0123456789abcdef0123456789abcdef01234567"
)

func TestImage(t *testing.T) {
	need(t)
	d := startDocker(t)
	d.importStandIn(t)
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		t.Run("build/"+arch, func(t *testing.T) { d.build(t, arch, machine) })
	}
	if t.Failed() {
		return
	}
	t.Run("run", func(t *testing.T) { d.hardened(t) })
	t.Run("hostpath", func(t *testing.T) { d.hostPath(t) })
	t.Run("compose", func(t *testing.T) { d.compose(t) })
	t.Run("push", func(t *testing.T) { d.push(t) })
}

// build builds the image for an architecture as `make image` does, and looks
// into it.
func (d *docker) build(t *testing.T, arch string, machine elf.Machine) {
	d.run("make", "image", "DOCKER="+cli, "PLATFORM=linux/"+arch, "IMAGE=lectern-"+arch, "VERSION="+version, "COMMIT="+commit)
	var images []struct {
		Architecture, Os string
		Size             int64
		Config           struct {
			User       string
			Entrypoint []string
			Labels     map[string]string
		}
	}
	for _, tag := range []string{version, "dev"} {
		if err := json.Unmarshal([]byte(d.run(cli, "image", "inspect", "lectern-"+arch+":"+tag)), &images); err != nil {
			t.Fatal(err)
		}
	}
	i := images[0]
	t.Logf("%s: %.1f MB", arch, float64(i.Size)/1e6)
	if i.Size > sizeMax {
		t.Errorf("the image is %d bytes, more than %d", i.Size, sizeMax)
	}
	if i.Architecture != arch || i.Os != "linux" {
		t.Errorf("the image is for %s/%s", i.Os, i.Architecture)
	}
	if i.Config.User != "65532:65532" {
		t.Errorf("it runs as %q", i.Config.User)
	}
	if l := i.Config.Labels; l["org.opencontainers.image.version"] != version || l["org.opencontainers.image.revision"] != commit {
		t.Errorf("its labels are %v", l)
	}

	binary := d.extract(t, arch)
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != machine {
		t.Errorf("the binary is for %v, not %v", f.Machine, machine)
	}
	if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 || f.Section(".interp") != nil {
		t.Errorf("the binary is not static: it wants %v (%v)", libraries, err)
	}
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if want := version + "+" + commit[:12]; !bytes.Contains(text, []byte(want)) {
		t.Errorf("the binary does not name its version, %s", want)
	}
}

// extract takes the image's files out, and checks that they are what is meant to
// be in it. It returns where the binary is.
func (d *docker) extract(t *testing.T, arch string) string {
	id := d.run(cli, "create", "--platform", "linux/"+arch, "lectern-"+arch)
	defer d.run(cli, "rm", id)
	dir := filepath.Join(d.dir, arch)
	d.run("mkdir", "-p", dir)
	d.run(cli, "export", "-o", filepath.Join(dir, "image.tar"), id)
	f, err := os.Open(filepath.Join(dir, "image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var files []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Size == 0 || h.Typeflag != tar.TypeReg {
			if h.Name == "var/lib/lectern/" && (h.Uid != 65532 || h.Gid != 65532) {
				t.Errorf("%s is of %d:%d", h.Name, h.Uid, h.Gid)
			}
			continue // Docker's own mount points are empty files
		}
		files = append(files, h.Name)
		if h.Name == "lectern" {
			out, err := os.OpenFile(filepath.Join(dir, "lectern"), os.O_CREATE|os.O_WRONLY, 0o755)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(out, r); err != nil {
				t.Fatal(err)
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := []string{"etc/ssl/certs/ca-certificates.crt", "lectern"}; !slices.Equal(files, want) {
		t.Errorf("in the image are %q; want %q", files, want)
	}
	return filepath.Join(dir, "lectern")
}

// state is the volume of the spool and the store.
const state = "lectern-state"

// small is a daemon that fits into 128 MiB.
var small = []string{
	"LECTERN_LISTEN_ADDRESS=127.0.0.1:8420", "LECTERN_OPS_ADDRESS=127.0.0.1:8421", "LECTERN_LISTEN_LOOPS=1",
	"LECTERN_LIMITS_KEYS_MAX=65536", "LECTERN_LIMITS_ROWS_WAITING_MAX=65536", "LECTERN_LIMITS_SOURCES_MAX=1000",
	"LECTERN_LIMITS_CONNECTIONS_MAX=100", "LECTERN_SPOOL_SIZE_MAX=256MiB", "LECTERN_WINDOW_FLUSH_INTERVAL=1s",
	"LECTERN_WINDOW_ACK_INTERVAL=200ms", "GOMEMLIMIT=100MiB",
}

// hardened runs the image with nothing that it does not need: it takes UDP and
// TCP, is told to go while a client sends, leaves with 0, comes back on what it
// left, and every event is there once.
func (d *docker) hardened(t *testing.T) {
	args := []string{"run", "-d", "--name", "lectern", "--network", "host", "--read-only", "--user", "65532", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--memory", "128m", "--memory-swap", "128m", "--pids-limit", "64",
		"--mount", "type=volume,src=" + state + ",dst=/var/lib/lectern"}
	for _, e := range small {
		args = append(args, "--env", e)
	}
	d.run(cli, append(args, "lectern-amd64")...)
	d.untilReady(t, "lectern")
	d.checkProcess(t, "lectern")

	if out := d.run(cli, "exec", "lectern", "/lectern", "version"); !strings.HasPrefix(out, "lectern "+version+"+"+commit[:12]+" ") {
		t.Errorf("it says it is %q", out)
	}
	const datagrams, acknowledged = 50_000, 1_000_000
	d.emit(t, "--to", "udp://127.0.0.1:8420", "--stream", "1", "--events", fmt.Sprint(datagrams), "--rate", "50000")

	name, emit := d.inside(filepath.Join(d.dir, "amd64", "lectern"), "emit", "--to", "tcp://127.0.0.1:8420", "--stream", "2",
		"--events", fmt.Sprint(acknowledged), "--rate", "150000", "--contents", "100", "--users", "100")
	sender := d.command(name, emit...)
	var said bytes.Buffer
	sender.Stdout, sender.Stderr = &said, &said
	if err := sender.Start(); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- sender.Wait() }()
	until(t, "a tenth is acknowledged", time.Minute, func() error {
		if n := d.metric(t, "lectern_events_accepted_total"); n < datagrams+acknowledged/10 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	d.stop(t, "lectern")
	select {
	case err := <-sent:
		t.Fatalf("the client was done before the daemon stopped, so nothing was tried: %v\n%s", err, said.String())
	default:
	}
	d.run(cli, "start", "lectern")
	d.untilReady(t, "lectern")
	select {
	case err := <-sent:
		if err != nil {
			t.Fatalf("the client: %v\n%s", err, said.String())
		}
	case <-time.After(2 * time.Minute):
		_ = sender.Process.Kill()
		t.Fatalf("the client has no acks:\n%s", d.logs("lectern"))
	}
	d.stop(t, "lectern")
	d.checkBooks(t, state, "data/parquet", map[string]int64{"1": datagrams, "2": acknowledged})
	d.run(cli, "rm", "lectern")
}

// stop tells a container to go, which it must do by itself.
func (d *docker) stop(t *testing.T, name string) {
	t.Helper()
	d.run(cli, "stop", "--time", "60", name)
	if code := d.run(cli, "inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", name); code != "0 false" {
		t.Errorf("told to go it left with %s (exit code, killed for memory):\n%s", code, d.logs(name))
	}
}

func (d *docker) logs(name string) string {
	out, _ := d.try("sh", "-c", cli+" logs "+name+" 2>&1")
	return tail(out, 20)
}

func (d *docker) emit(t *testing.T, args ...string) {
	t.Helper()
	name, all := d.inside(append([]string{filepath.Join(d.dir, "amd64", "lectern"), "emit"}, args...)...)
	d.run(name, all...)
}

func (d *docker) untilReady(t *testing.T, name string) {
	t.Helper()
	until(t, "ready", 30*time.Second, func() error {
		if _, err := d.get("http://127.0.0.1:8421/readyz"); err != nil {
			return fmt.Errorf("%w\n%s", err, d.logs(name))
		}
		return nil
	})
}

// metric is the sum of a metric's values, over all of its labels.
func (d *docker) metric(t *testing.T, name string) (sum int64) {
	t.Helper()
	page, err := d.get("http://127.0.0.1:8421/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (\d+)$`).FindAllStringSubmatch(page, -1) {
		var n int64
		_, _ = fmt.Sscan(found[1], &n)
		sum += n
	}
	return sum
}

// checkProcess asks the kernel what the container's process may do.
func (d *docker) checkProcess(t *testing.T, name string) {
	t.Helper()
	status, err := os.ReadFile("/proc/" + d.run(cli, "inspect", "--format", "{{.State.Pid}}", name) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !strings.Contains(string(status), want+"\n") {
			t.Errorf("the process is not hardened: no %q in\n%s", want, status)
		}
	}
}

// checkBooks compares what the store of a volume has with what was sent.
func (d *docker) checkBooks(t *testing.T, volume, dir string, want map[string]int64) {
	t.Helper()
	out := d.run(cli, "run", "--rm", "--network", "none", "--read-only", "--user", "65532", "--cap-drop", "ALL",
		"--mount", "type=volume,src="+volume+",dst=/var/lib/lectern", "lectern-amd64", "books", "--json", "--dir", dir)
	var books struct {
		Streams []struct {
			Stream                       string
			Sent, Accepted, Stored, Lost int64
		}
		AddsUp bool `json:"adds_up"`
	}
	if err := json.Unmarshal([]byte(out), &books); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := make(map[string]int64)
	for _, s := range books.Streams {
		got[s.Stream] = s.Stored
		if s.Sent != want[s.Stream] || s.Accepted != want[s.Stream] || s.Lost != 0 {
			t.Errorf("stream %s: %+v; want %d", s.Stream, s, want[s.Stream])
		}
	}
	for stream, n := range want {
		if got[stream] != n {
			t.Errorf("of stream %s %d events are stored; want %d", stream, got[stream], n)
		}
	}
	if !books.AddsUp {
		t.Errorf("the books do not add up: %s", out)
	}
	t.Logf("stored, by stream: %v", got)
}
