package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// manager is a service manager: a socket that daemons write to.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func heard(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 4096)
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// A daemon says when it is ready, shows signs of life, and says when it begins to
// end and how long that may take.
func TestServiceManagerHearsOfTheDaemon(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@lectern-test-%d", os.Getpid())} {
		c := manager(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		t.Setenv("WATCHDOG_USEC", "20000")
		t.Setenv("WATCHDOG_PID", "")
		d := serveOn(t, configure(t, filepath.Join(t.TempDir(), "parquet"), "stop.grace = \"17s\""))
		if said := heard(t, c); !strings.HasPrefix(said, "READY=1\n") {
			t.Errorf("first it says %q", said)
		}
		for range 3 {
			if said := heard(t, c); said != "WATCHDOG=1" {
				t.Errorf("while it runs it says %q", said)
			}
		}
		d.signal(syscall.SIGTERM)
		var last []string
		for {
			said := heard(t, c)
			if said != "WATCHDOG=1" {
				last = strings.Split(said, "\n")
				break
			}
		}
		if len(last) != 3 || last[0] != "STOPPING=1" || last[2] != "EXTEND_TIMEOUT_USEC=17000000" {
			t.Errorf("when it ends it says %q", last)
		}
		d.left()
	}
}

// Signs of life come twice in the time that is allowed, and none when an event
// loop hangs.
func TestWatchdog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	c := manager(t, name)
	env := map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"}
	m := newServiceManager(func(key string) string { return env[key] }, slog.New(slog.DiscardHandler))
	asked := 0
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 61*time.Second)
		defer cancel()
		m.watch(ctx, func() bool { asked++; return asked <= 3 })
	})
	if asked != 5 { // at 0, 15, 30, 45 and 60 s
		t.Errorf("it looked %d times in 61 s", asked)
	}
	m.tell("END")
	signs := 0
	for said := heard(t, c); said != "END"; said = heard(t, c) {
		if said != "WATCHDOG=1" {
			t.Errorf("it says %q", said)
		}
		signs++
	}
	if signs != 3 {
		t.Errorf("it showed %d signs of life, and was alive 3 times", signs)
	}
}

// Without a service manager, or with another's watchdog, nothing is said.
func TestNoServiceManager(t *testing.T) {
	for _, env := range []map[string]string{
		nil, {"NOTIFY_SOCKET": "x"}, {"WATCHDOG_USEC": "1000"}, {"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "many"}, {"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "-5"},
		{"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
	} {
		m := newServiceManager(func(key string) string { return env[key] }, slog.New(slog.DiscardHandler))
		m.watch(context.Background(), func() bool { t.Errorf("%v: it watches", env); return false })
	}
	newServiceManager(func(string) string { return "" }, nil).tell("READY=1")
	// One that does not listen is a line in the log, and no end.
	var log strings.Builder
	m := &serviceManager{socket: filepath.Join(t.TempDir(), "nobody"), logger: slog.New(slog.NewTextHandler(&log, nil))}
	m.ready()
	if !strings.Contains(log.String(), "does not hear") {
		t.Errorf("it says %q", log.String())
	}
}
