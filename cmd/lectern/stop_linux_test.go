package main

import (
	"github.com/lectern/lectern/internal/poll"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// signal tells the daemon something.
func (d *served) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.command.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// left wants the daemon to be gone, with exit code 0.
func (d *served) left() {
	d.t.Helper()
	select {
	case <-d.finished:
	case <-time.After(time.Minute):
		d.t.Fatalf("the daemon does not go:\n%s", d.said())
	}
	if err := d.command.Wait(); err != nil {
		d.t.Fatalf("the daemon left with: %v\n%s", err, d.said())
	}
}

func (d *served) drains() bool { return strings.Contains(d.said(), "lectern is about to stop") }

// After SIGTERM the daemon is as it was, for the first part of stop.drain_time:
// ready, alive, and reading. A second signal ends that.
func TestDrain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	config := configure(t, dir, "stop.drain_time = \"50m\"\nstop.grace = \"1h\"")
	for round, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		d := serveOn(t, config)
		d.signal(syscall.SIGTERM)
		poll.Until(t, "it drains", d.drains)
		for _, page := range []string{"/readyz", "/healthz"} {
			if status, body := d.get(page); status != http.StatusOK {
				t.Errorf("%s while it drains: %d %s", page, status, body)
			}
		}
		d.emit("tcp", "--events", "1000")
		d.emit("udp", "--events", "1000", "--rate", "100000")
		d.signal(second)
		d.left()
		if n := events(t, dir); n != 2000*(round+1) {
			t.Errorf("%d events are stored of %d", n, 2000*(round+1))
		}
	}
	succeed(t, "books", "--config", config)
}

// For the last stop.unready_time of its drain, or all of it, the daemon is not
// ready, alive, and reading.
func TestDrainUnready(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	for round, times := range []string{
		"stop.drain_time = \"30m250ms\"\nstop.unready_time = \"30m\"",
		"stop.drain_time = \"30m\"\nstop.unready_time = \"50m\"",
	} {
		d := serveOn(t, configure(t, dir, times+"\nstop.grace = \"1h\""))
		if status, body := d.get("/readyz"); status != http.StatusOK {
			t.Errorf("before: %d %s", status, body)
		}
		d.signal(syscall.SIGTERM)
		poll.Until(t, "it is not ready", func() bool {
			status, body := d.get("/readyz")
			return status == http.StatusServiceUnavailable && strings.HasPrefix(body, "draining")
		})
		if status, body := d.get("/healthz"); status != http.StatusOK {
			t.Errorf("alive: %d %s", status, body)
		}
		d.emit("tcp", "--events", "1000")
		d.emit("udp", "--events", "1000", "--rate", "100000")
		d.signal(syscall.SIGTERM)
		d.left()
		if n := events(t, dir); n != 2000*(round+1) {
			t.Errorf("%d events are stored of %d", n, 2000*(round+1))
		}
	}
}

// The drain ends by itself; SIGINT leaves it out.
func TestDrainEnds(t *testing.T) {
	for _, test := range []struct {
		drain  string
		signal syscall.Signal
		drains bool
	}{{"50ms", syscall.SIGTERM, true}, {"50m", syscall.SIGINT, false}, {"0s", syscall.SIGTERM, false}} {
		d := serveOn(t, configure(t, filepath.Join(t.TempDir(), "parquet"), "stop.drain_time = \""+test.drain+"\"\nstop.grace = \"1h\""))
		d.signal(test.signal)
		d.left()
		if d.drains() != test.drains {
			t.Errorf("%s, %v: drained %t, want %t", test.drain, test.signal, d.drains(), test.drains)
		}
	}
}

// events counts what is stored.
func events(t *testing.T, dir string) (n int) {
	t.Helper()
	for _, r := range storedRows(t, dir) {
		n += int(r.Opens + r.Reads + r.Finishes + r.Saves + r.Shares)
	}
	return n
}

// What two daemons left on one spool, both killed, is shown together, and the next
// one takes over both.
func TestTwoPlaces(t *testing.T) {
	address, parquet, spool := loopback(t), filepath.Join(t.TempDir(), "parquet"), filepath.Join(t.TempDir(), "spool")
	config := peers(t, address, parquet, spool, "spool.share = true\nwindow.ack_interval = \"50ms\"\nwindow.flush_interval = \"1h\"")
	first := serveOn(t, config)
	first.emit("tcp", "--events", "3000")
	second := serveOn(t, config)
	_ = second.command.Process.Signal(syscall.SIGSTOP) // so that it does not take over
	_ = first.command.Process.Kill()
	<-first.finished
	_ = second.command.Process.Kill()
	<-second.finished

	third := serveOn(t, config)
	third.emit("tcp", "--events", "2000")
	fourth := serveOn(t, config)
	fourth.signal(syscall.SIGSTOP)
	ls := succeed(t, "spool", "ls", "--config", config)
	for _, dir := range []string{spool, filepath.Join(spool, "1")} {
		if !strings.Contains(ls, "In "+dir+":\nCollector ") {
			t.Errorf("ls says nothing of %s:\n%s", dir, ls)
		}
	}
	if out := succeed(t, "spool", "verify", "--config", config); !strings.Contains(out, filepath.Join(spool, "1")+"/log-") {
		t.Errorf("verify says nothing of the place below: %s", out)
	}
	fourth.signal(syscall.SIGCONT)
	third.stop()
	fourth.emit("tcp", "--events", "1000")
	poll.Until(t, "all is taken over", func() bool {
		return fourth.metrics()["lectern_spools_adopted_total"] > 0 && fourth.metrics()["lectern_spool_adopted_blocks"] == 0
	})
	fourth.stop()
	if n := events(t, parquet); n != 6000 {
		t.Errorf("%d events are stored of 6000", n)
	}
	succeed(t, "books", "--config", config)

	// Without share a second one is refused.
	alone := configure(t, filepath.Join(t.TempDir(), "p"), "")
	d := serveOn(t, alone)
	if _, stderr, code := lectern(t, nil, "serve", "--config", alone); code != 1 || !strings.Contains(stderr, "spool.share") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	d.stop()
}
