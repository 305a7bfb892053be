package main

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/internal/load"
)

// TestMemoryStaysWithinWhatCheckSays fills a daemon with a million sources, each
// with a key of its own, several times over, and compares the most that it ever
// had in memory with the sum that `lectern check` prints.
func TestMemoryStaysWithinWhatCheckSays(t *testing.T) {
	const sources = 1_000_000
	config := configure(t, t.TempDir(), fmt.Sprintf("limits.sources_max = %d\nlimits.address_sources_max = 0\nspool.size_max = \"2GiB\"\nlisten.receive_buffer = \"4MiB\"\n", sources))
	promised, buffers := promisedMemory(t, config)
	d := serveOn(t, config)
	idle := memoryOf(t, d.command.Process.Pid, "VmRSS")
	maker, err := load.NewMaker(load.Shape{Stream: 1, Sources: sources, Keys: 1 << 40, Events: 1, Size: 1400, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	u, err := load.DialUDP(netip.MustParseAddrPort(d.address), load.UDPOptions{Flows: 64, Burst: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	const rounds = 3
	for maker.Frames < rounds*sources {
		// Never more on the way than a small buffer holds.
		if err := u.Send(maker, 8192); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < 10*time.Second; {
			if now := d.metrics(); now["lectern_udp_datagrams_total"]+now["lectern_udp_kernel_drops_total"] >= float64(maker.Frames) {
				break
			}
		}
	}
	now := d.metrics()
	most := memoryOf(t, d.command.Process.Pid, "VmHWM")
	t.Logf("%.0f sources, %.0f events: at most %.0f MiB in memory (%.0f MiB when idle); check says %.0f MiB, %.0f of them the kernel's",
		now["lectern_sources"], now["lectern_events_accepted_total"], most, idle, promised, buffers)
	if now["lectern_sources"] < sources*0.99 {
		t.Errorf("%.0f sources are live, want nearly %d", now["lectern_sources"], sources)
	}
	if most > promised-buffers {
		t.Errorf("at most %.0f MiB in memory, and check promises %.0f MiB without the kernel's buffers", most, promised-buffers)
	}
	d.stop()
}

// promisedMemory is what `lectern check` says that a daemon takes at the most, in MiB,
// and how much of it is the kernel's and no part of the process.
func promisedMemory(t *testing.T, config string) (all, buffers float64) {
	t.Helper()
	said := succeed(t, "check", "--config", config)
	m := regexp.MustCompile(`together +([0-9.]+) MiB`).FindStringSubmatch(said)
	kernel := regexp.MustCompile(`receive buffers +([0-9.]+) MiB`).FindStringSubmatch(said)
	if m == nil || kernel == nil {
		t.Fatal(said)
	}
	all, _ = strconv.ParseFloat(m[1], 64)
	buffers, _ = strconv.ParseFloat(kernel[1], 64)
	return all, buffers
}

// memoryOf reads a line of /proc/PID/status, in MiB.
func memoryOf(t *testing.T, pid int, line string) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) == 3 && f[0] == line+":" {
			kib, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatalf("no %s:\n%s", line, b)
	return 0
}
