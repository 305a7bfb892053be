package main

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lectern/lectern/internal/load"
)

// TestBench runs the load against a daemon of its own, over each transport.
func TestBench(t *testing.T) {
	for _, args := range [][]string{
		{"--network", "udp", "--rate", "100000", "--frame", "1", "--flows", "3", "--sources", "7", "--events", "20000"},
		{"--network", "udp", "--rate", "400000", "--flows", "3", "--sources", "7", "--events", "100000", "--zipf", "1.1"},
		{"--network", "tcp", "--events", "100000", "--keys", "1000"},
		{"--network", "tcp-acks", "--events", "100000", "--keys", "1000"},
	} {
		out := succeed(t, append([]string{"bench", "--json", "--seconds", "60"}, args...)...)
		var r benchResult
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %q: %v", args, out, err)
		}
		if !r.Counters || r.Events < 20_000 || r.Refused != 0 || r.Duplicate != 0 || int64(r.Events) != int64(r.Accepted+r.Shed)+r.Lost {
			t.Errorf("%v: %s", args, out)
		}
		if strings.HasPrefix(r.Network, "tcp") && r.Accepted != r.Events {
			t.Errorf("%v: over TCP nothing is lost: %s", args, out)
		}
	}
}

func TestBenchSaysWhatItDoesNotTake(t *testing.T) {
	for _, args := range [][]string{
		{"--network", "sctp"}, {"--acks"}, {"--network", "tcp", "--sources", "3"}, {"--to", "10.0.0.1:1"},
		{"--stream", "65535"}, {"--events", "0"}, {"--zipf", "0.5"}, {"--size", "50"}, {"--flows", "-1"}, {"more"},
	} {
		if stdout, stderr, code := lectern(t, nil, append([]string{"bench"}, args...)...); code != 2 || stdout != "" || !strings.Contains(stderr, "lectern bench: ") {
			t.Errorf("%v: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestBenchToNobody(t *testing.T) {
	d := serveOn(t, configure(t, t.TempDir(), ""))
	_, said, status := lectern(t, nil, "bench", "--to", "tcp://"+strings.TrimPrefix(d.ops, "http://"), "--events", "1000")
	if status != 1 || !strings.Contains(said, "what answers is no collector") && !strings.Contains(said, "the connection is lost") {
		t.Errorf("to a server of another kind: exit %d, %q", status, said)
	}
	_, stderr, code := lectern(t, nil, "bench", "--to", "udp://127.0.0.1:1", "--events", "1000", "--sources", "10")
	if code != 1 || !strings.Contains(stderr, "is a collector listening there?") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

// TestReceiverThatFallsBehind stops a daemon with a tiny buffer for two seconds
// while datagrams come, several at a time (GSO, so that its kernel coalesces
// them). Most are lost, and which is known to the event: those that the books
// call accepted and lost are those that were sent, the tail of each source too,
// by its last beats.
func TestReceiverThatFallsBehind(t *testing.T) {
	dir := t.TempDir()
	d := serveOn(t, configure(t, dir, `listen.receive_buffer = "64KiB"`+"\nlisten.loops = 1\n"))
	m, err := load.NewMaker(load.Shape{Stream: 1, Sources: 8, Keys: 1000, Size: 1400, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	u, err := load.DialUDP(netip.MustParseAddrPort(d.address), load.UDPOptions{Flows: 4, Burst: 16, GSO: true})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	beats := func(done func(map[string]float64) bool) map[string]float64 {
		for range 500 {
			if err := u.Beats(m, 0, m.Sources()); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				if now := d.metrics(); done(now) {
					return now
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		t.Fatal("no beat came through")
		return nil
	}
	beats(func(now map[string]float64) bool { return now["lectern_sources"] == float64(m.Sources()) })
	if err := u.Send(m, 64); err != nil {
		t.Fatal(err)
	}
	if err := d.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const datagrams = 20_000
	began := time.Now()
	for sent := 0; sent < datagrams; sent += 1000 {
		if err := u.Send(m, 1000); err != nil {
			t.Fatal(err)
		}
	}
	// What it must survive is the pause itself.
	time.Sleep(time.Until(began.Add(2 * time.Second)))
	if err := d.command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	now := beats(func(now map[string]float64) bool { return now["lectern_events_sent_total"] == float64(m.Events) })
	accepted, lost := now["lectern_events_accepted_total"], now["lectern_events_lost_total"]-now["lectern_events_found_total"]
	drops := now["lectern_udp_kernel_drops_total"]
	t.Logf("%d events sent: %.0f accepted, %.0f lost; the kernel counts %.0f dropped buffers, %.0f datagrams are missing",
		m.Events, accepted, lost, drops, lost/float64(m.PerFrame()))
	if accepted+lost != float64(m.Events) || lost == 0 || accepted == 0 || math.Mod(lost, float64(m.PerFrame())) != 0 {
		t.Errorf("%.0f accepted and %.0f lost of %d sent", accepted, lost, m.Events)
	}
	if drops == 0 || drops > lost/float64(m.PerFrame())+float64(m.Sources()*500) {
		t.Errorf("the kernel counts %.0f dropped buffers", drops)
	}
	d.stop()
	out := succeed(t, "books", "--json", "--dir", dir)
	var books struct{ Streams []bookLine }
	if err := json.Unmarshal([]byte(out), &books); err != nil || len(books.Streams) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	if b := books.Streams[0]; b.Sent != m.Events || float64(b.Accepted) != accepted || float64(b.Lost+b.Open) != lost || b.Stored != b.Accepted || !b.AddsUp {
		t.Errorf("the ledger says %+v; sent %d, accepted %.0f, lost %.0f", b, m.Events, accepted, lost)
	}
}
