package main

import (
	"bytes"
	"errors"
	"github.com/lectern/lectern/internal/poll"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// SIGHUP, of a terminal that is closed or a rotation of logs, changes nothing where
// the configuration is what it was.
func TestHangUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	d := serveOn(t, configure(t, dir, "window.ack_interval = \"1m\"\nwindow.flush_interval = \"1m\""))
	d.emit("udp", "--events", "500", "--rate", "100000")
	for range 3 {
		d.signal(syscall.SIGHUP)
	}
	poll.Until(t, "it is told", func() bool {
		return strings.Contains(d.said(), "the configuration was read again\" why=SIGHUP changed=\"\"")
	})
	d.emit("udp", "--events", "500", "--rate", "100000")
	d.signal(syscall.SIGTERM)
	d.left()
	if n := events(t, dir); n != 1000 {
		t.Errorf("%d events are stored of 1000", n)
	}
}

// A daemon whose standard error nobody reads any more goes on, and counts the
// lines of its log that are lost by that.
func TestLogWithoutReader(t *testing.T) {
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "parquet")
	config := configure(t, dir, "window.ack_interval = \"1m\"\nwindow.flush_interval = \"1m\"")
	d := &served{t: t, config: config, ready: make(chan struct{}), finished: make(chan struct{})}
	d.command = exec.Command(path, "serve", "--config", config)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.command.Stderr = write
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.command.Process.Kill() })
	_ = write.Close()
	go d.listen(read)
	select {
	case <-d.ready:
	case <-d.finished:
		t.Fatalf("the daemon did not start:\n%s", d.said())
	}
	d.emit("udp", "--events", "500", "--rate", "100000")
	_ = read.Close()
	for n := range 3 { // each is a line of the log
		d.signal(syscall.SIGHUP)
		poll.Until(t, "the lines are counted", func() bool { return d.metrics()["lectern_log_lines_lost_total"] == float64(n+1) })
	}
	d.emit("udp", "--events", "500", "--rate", "100000")
	d.signal(syscall.SIGTERM)
	d.left()
	if n := events(t, dir); n != 1000 {
		t.Errorf("%d events are stored of 1000", n)
	}
}

type half struct{ bytes.Buffer }

func (h *half) Write(b []byte) (int, error) {
	n, _ := h.Buffer.Write(b[:len(b)/2])
	return n, errors.New("no space left on device")
}

// A line of which a part could be written is lost, and the one who logs is told
// nothing of it.
func TestLogOutput(t *testing.T) {
	o := newLogOutput(new(half))
	for range 2 {
		if n, err := o.Write([]byte("a line\n")); n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	o.close()
	if n := o.lost.Load(); n != 2 {
		t.Errorf("%d lines are lost of 2", n)
	}
	var all bytes.Buffer
	o = newLogOutput(&all)
	for range 10 {
		_, _ = o.Write([]byte("a line\n"))
	}
	o.close()
	if want := strings.Repeat("a line\n", 10); all.String() != want || o.lost.Load() != 0 {
		t.Errorf("%q was written, and %d are lost", all.String(), o.lost.Load())
	}
}

// hung is a reader that takes nothing until it is let.
type hung chan struct{}

func (h hung) Write(b []byte) (int, error) { <-h; return len(b), nil }

// Whoever logs does not wait for a reader that hangs.
func TestLogWhoseReaderHangs(t *testing.T) {
	reader := make(hung)
	o := newLogOutput(reader)
	for range logWaiting + 100 {
		_, _ = o.Write([]byte("a line\n"))
	}
	if n := o.lost.Load(); n != 99 && n != 100 { // one may be on its way
		t.Errorf("%d lines are lost", n)
	}
	close(reader)
	o.close()
}
