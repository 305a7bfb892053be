package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// docker is a daemon of the test's own: its own network namespace, in which
// only the loopback interface and its own bridge are, its own directory, its
// own socket. Nothing of it outlives the test.
type docker struct {
	t   *testing.T
	dir string
	pid string
}

// root is the project's directory, from this one.
const root = "../../.."

// cli is Debian's client. Another one in front of it in the PATH may want a
// plugin for BuildKit that Debian's has built in.
const cli = "/usr/bin/docker"

// need stops the test where something it needs is absent: with CI=true that is a
// failure.
func need(t *testing.T) {
	t.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, path := range []string{"/usr/sbin/dockerd", cli, "/usr/bin/docker-compose", "/usr/bin/docker-registry", "/bin/busybox", "/usr/bin/nsenter", "/usr/sbin/iptables"} {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, path)
		}
	}
	if len(missing) == 0 {
		return
	}
	what := fmt.Sprintf("the image was NOT tested, for want of %s; as root, `make test-image` installs it", strings.Join(missing, ", "))
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// startDocker starts the daemon and waits until it answers.
func startDocker(t *testing.T) *docker {
	t.Helper()
	dir, err := os.MkdirTemp("", "lectern-image-")
	if err != nil {
		t.Fatal(err)
	}
	d := &docker{t: t, dir: dir}
	var log bytes.Buffer
	start := exec.Command("unshare", "--net", "--mount", "--propagation", "private", "bash", "-c",
		`ip link set lo up && exec dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" -H "unix://$1/docker.sock"`, "dockerd", dir)
	start.Stdout, start.Stderr = &log, &log
	start.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := start.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = start.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = start.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = syscall.Kill(-start.Process.Pid, syscall.SIGKILL)
			<-ended
		}
		if t.Failed() {
			t.Logf("the docker daemon's last words:\n%s", tail(log.String(), 15))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cannot remove %s: %v", dir, err)
		}
	})
	d.pid = fmt.Sprint(start.Process.Pid)
	until(t, "dockerd answers", 30*time.Second, func() error {
		select {
		case <-ended:
			t.Fatalf("dockerd ended:\n%s", tail(log.String(), 15))
		default:
		}
		_, err := d.try(cli, "version")
		return err
	})
	return d
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// until polls until f has no error.
func until(t *testing.T, what string, within time.Duration, f func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v passed, and not yet: %s: %v", within, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (d *docker) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = root
	c.Env = append(os.Environ(), "DOCKER_HOST=unix://"+filepath.Join(d.dir, "docker.sock"), "DOCKER_BUILDKIT=1",
		"DOCKER_CONFIG="+filepath.Join(d.dir, "config"), "DOCKER_CLI_EXPERIMENTAL=enabled")
	return c
}

// try runs a command against the daemon and returns its standard output.
func (d *docker) try(name string, args ...string) (string, error) {
	c := d.command(name, args...)
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(out.String()+complaint.String(), 30))
	}
	return strings.TrimSpace(out.String()), nil
}

// run is try, and must succeed.
func (d *docker) run(name string, args ...string) string {
	d.t.Helper()
	out, err := d.try(name, args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// inside puts a command into the network namespace of the daemon, which is that
// of containers with --network host.
func (d *docker) inside(args ...string) (string, []string) {
	return "nsenter", append([]string{"-t", d.pid, "-n", "--"}, args...)
}

// get is the body that an address inside answers with.
func (d *docker) get(url string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.dial}}
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	return string(body), err
}

// dial connects from inside. A socket belongs to the namespace of the thread
// that made it; the thread is not used for anything else afterwards.
func (d *docker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed)
	go func() {
		runtime.LockOSThread() // and never unlocked: it ends with the goroutine
		ns, err := os.Open("/proc/" + d.pid + "/ns/net")
		if err != nil {
			done <- dialed{nil, err}
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- dialed{nil, fmt.Errorf("cannot go into the network namespace: %w", err)}
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		done <- dialed{conn, err}
	}()
	result := <-done
	return result.conn, result.err
}
