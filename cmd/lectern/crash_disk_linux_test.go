package main

import (
	"context"
	"errors"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/emit"
)

// namespaceVariable is set in the process that has mounts of its own.
const namespaceVariable = "LECTERN_TEST_NAMESPACE"

// A full disk stops what it must and nothing else, is said and counted, and when
// there is room again everything goes on by itself, with every event in its place.
func TestDiskFull(t *testing.T) {
	if os.Getenv(namespaceVariable) == "" {
		inNamespace(t, "TestDiskFull")
		return
	}
	t.Run("store", storeFull)
	// What may wait in memory fills: 80,000 rows.
	t.Run("memory", func(t *testing.T) {
		spoolFull(t, "limits.rows_waiting_max = 80000", 300_000, 1, "lectern_block_write_failures_total")
	})
	// The log fills, 64 MiB, some 16 bytes an event: there is no room for the next.
	t.Run("log", func(t *testing.T) {
		if crashCount(0) == 0 {
			t.Skip("4,700,000 events take a while: make test-crash sends them")
		}
		spoolFull(t, "limits.rows_waiting_max = 20000000", 4_700_000, 1<<63, "lectern_seal_failures_total")
	})
}

// inNamespace runs a test again, in a process whose mounts nobody else sees.
func inNamespace(t *testing.T, name string) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.v", "-test.timeout=5m", "-test.run=^"+name+"$")
	c.Env = append(os.Environ(), namespaceVariable+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		t.Logf("%s", out)
	case errors.As(err, &exit):
		t.Errorf("%v\n%s", err, out)
	default:
		t.Skipf("it needs root, or user namespaces, to mount a small disk: %v", err)
	}
}

// smallDisk mounts a disk of so many MiB.
func smallDisk(t *testing.T, dir string, size int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", size)); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// eater takes all room of a disk, at once whenever some becomes free.
type eater struct {
	file    *os.File
	stop    chan struct{}
	stopped sync.WaitGroup
}

func eat(t *testing.T, dir string) *eater {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "eater"))
	if err != nil {
		t.Fatal(err)
	}
	e := &eater{file: f, stop: make(chan struct{})}
	var size int64
	// Ever smaller pieces, down to a page.
	more := func() {
		for step := int64(1 << 20); step >= 4096; step /= 16 {
			for unix.Fallocate(int(f.Fd()), 0, size, step) == nil {
				size += step
			}
		}
	}
	more()
	e.stopped.Go(func() {
		for {
			select {
			case <-e.stop:
				return
			default:
				more()
			}
		}
	})
	t.Cleanup(e.vomit)
	return e
}

// vomit gives all back.
func (e *eater) vomit() {
	select {
	case <-e.stop:
		return
	default:
	}
	close(e.stop)
	e.stopped.Wait()
	_ = e.file.Close()
	_ = os.Remove(e.file.Name())
}

// sender sends events over TCP, which wait in memory as long as they must.
type sender struct {
	user uint64
	*emit.TCP
	sent uint64
}

func (s *sender) send(t *testing.T, n int) {
	t.Helper()
	for range n {
		s.sent++
		e := crashEvent(s.sent, time.Now().UnixMilli())
		e.User = s.user
		if err := s.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Flush()
}

func newSender(t *testing.T, address string) *sender {
	t.Helper()
	out, err := emit.DialTCP(context.Background(), address, emit.Options{Stream: 1, FlushAge: 10 * time.Millisecond, BufferSize: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return &sender{TCP: out, user: 1}
}

// finish waits until all is acknowledged.
func (s *sender) finish(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Acked != s.sent {
		t.Errorf("%d of %d events are acknowledged", got.Acked, s.sent)
	}
}

// The store's disk is full: acknowledged is as before, and the spool holds it.
func storeFull(t *testing.T) {
	h := home(t, crashWindow)
	smallDisk(t, h.parquet, 16)
	d := serveOn(t, h.config)
	s := newSender(t, h.address)
	s.send(t, 5000)
	poll.Until(t, "a block is stored", func() bool { return d.metrics()["lectern_blocks_stored_total"] > 0 })
	e := eat(t, h.parquet)
	s.send(t, 5000)
	poll.Until(t, "all is acknowledged while the store is full", func() bool { return s.Stats().Acked == s.sent })
	poll.Until(t, "a block is tried again", func() bool { return d.metrics()["lectern_block_retries_total"] > 1 })
	if m := d.metrics(); m["lectern_spool_blocks"] == 0 {
		t.Error("no block waits in the spool")
	}
	if !strings.Contains(d.said(), "no space left on device") {
		t.Error("the log does not name the reason")
	}
	// A restart changes nothing.
	d.kill()
	d = serveOn(t, h.config)
	s.send(t, 5000)
	poll.Until(t, "all is acknowledged after a restart", func() bool { return s.Stats().Acked == s.sent })
	e.vomit()
	poll.Until(t, "everything is stored", func() bool { return d.metrics()["lectern_spool_blocks"] == 0 })
	s.send(t, 1000)
	s.finish(t)
	d.stop()
	checkBooks(t, h.config, h.spool)
	if err := compare(storedEvents(t, h.parquet)[1], all(s.sent, counted)); err != nil {
		t.Error(err)
	}
	t.Logf("%d events, all stored", s.sent)
}

// The spool's disk is full, and what it gives back for a moment somebody else
// takes: it writes no run, and no new log. It acknowledges fewer events than it
// is sent, counts failures, and counts datagrams coarsely.
func spoolFull(t *testing.T, lines string, events int, user uint64, failures string) {
	h := home(t, crashWindow+"\nlisten.loops = 1\nlimits.keys_max = 65536\n"+lines)
	smallDisk(t, h.spool, 280)
	d := serveOn(t, h.config)
	s := newSender(t, h.address)
	s.user = user
	s.send(t, 2000)
	poll.Until(t, "the first are acknowledged", func() bool { return s.Stats().Acked == s.sent })

	e := eat(t, h.spool)
	s.send(t, events)
	poll.Until(t, "there is no room", func() bool { return d.metrics()["lectern_cuts_denied_total"] > 0 })
	var acked uint64
	poll.Until(t, "nothing more is acknowledged", func() bool {
		// A loop may wait for room for a while before it says the last ack.
		before := acked
		time.Sleep(1500 * time.Millisecond)
		acked = s.Stats().Acked
		return before == acked
	})
	if acked == s.sent {
		t.Errorf("all %d events are acknowledged, as if there were room", acked)
	}
	if status, said := d.get("/readyz"); status != http.StatusServiceUnavailable || !strings.HasPrefix(said, "full") {
		t.Errorf("/readyz answers %d %s", status, said)
	}
	u, err := emit.DialUDP(context.Background(), h.address, emit.Options{Stream: 2})
	if err != nil {
		t.Fatal(err)
	}
	datagrams := uint64(0)
	poll.Until(t, "datagrams are counted coarsely", func() bool {
		for range 5000 {
			datagrams++
			_ = u.Add(crashEvent(datagrams, time.Now().UnixMilli()))
		}
		return d.metrics()[`lectern_events_coarse_users_total`] > 0
	})
	m := d.metrics()
	if m[failures] == 0 {
		t.Errorf("%s is 0", failures)
	}
	said := d.said()
	if !strings.Contains(said, "no space left on device") {
		t.Error("the log does not name the reason")
	}
	t.Logf("full: %d of %d acknowledged, %.0f freezes failed, %.0f seals failed, %.0f cuts denied, %.0f events coarse, %d lines logged", acked, s.sent,
		m["lectern_block_write_failures_total"], m["lectern_seal_failures_total"], m["lectern_cuts_denied_total"], m[`lectern_events_coarse_users_total`], strings.Count(said, "\n"))

	e.vomit()
	poll.Until(t, "all is acknowledged", func() bool { return s.Stats().Acked == s.sent })
	s.send(t, 1000)
	s.finish(t)
	_ = u.Close(context.Background())
	if status, said := d.get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz answers %d %s", status, said)
	}
	d.stop()
	checkBooks(t, h.config, h.spool)
	stored := storedEvents(t, h.parquet)
	if err := compare(stored[1], all(s.sent, counted)); err != nil {
		t.Errorf("over TCP: %v", err)
	}
	delete(stored[2], 0) // those that were counted without their contents
	if err := compare(stored[2], all(datagrams, maybe)); err != nil {
		t.Errorf("over UDP: %v", err)
	}
	t.Logf("in the end: %d events over TCP, all stored; %d of %d over UDP", s.sent, len(stored[2]), datagrams)
}
