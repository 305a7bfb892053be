package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openFiles is how many descriptors a process has.
func openFiles(t *testing.T, pid int) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// Whoever opens connections to the operations port and holds them takes neither the
// descriptors of the event port nor memory: both ports go on, and so does the
// daemon.
func TestStrangersOnTheOperationsPort(t *testing.T) {
	d := serveOn(t, configure(t, t.TempDir(), "listen.loops = 1\nlimits.keys_max = 65536\n"))
	pid := d.command.Process.Pid
	d.emit("tcp", "--events", "1000")
	before := openFiles(t, pid)
	few := uint64(before + 60)
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: few, Max: few}, nil); err != nil {
		t.Fatal(err)
	}
	idle := memoryOf(t, pid, "VmRSS")
	for i := range 1000 {
		k, err := net.Dial("tcp", strings.TrimPrefix(d.ops, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		_ = k.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(k, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(k).ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
			t.Fatalf("connection %d: %q, %v", i, line, err)
		}
	}
	if after := openFiles(t, pid); after > before+40 {
		t.Errorf("the daemon has %d descriptors open, %d before", after, before)
	}
	if status, page := d.get("/metrics"); status != http.StatusOK || !strings.Contains(page, "\nlectern_ops_connections 32\n") {
		t.Errorf("/metrics: %d\n%s", status, page)
	}
	d.emit("tcp", "--events", "1000")
	if grown := memoryOf(t, pid, "VmRSS") - idle; grown > 48 {
		t.Errorf("its memory grew by %.0f MiB", grown)
	}
	d.stop()
	if n := strings.Count(d.said(), "\n"); n > 20 {
		t.Errorf("it said %d lines", n)
	}
}
