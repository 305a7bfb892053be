package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/wire"
)

// A run with a queue beside a collector that is down keeps what comes, and the
// next one sends it, each event once.
func TestEmitQueueWithoutACollector(t *testing.T) {
	dir, addr := t.TempDir(), loopback(t)
	args := []string{"--to", "tcp://" + addr, "--queue", dir, "--events"}
	wait := emitQueueWait
	emitQueueWait = 100 * time.Millisecond
	code, summary, stderr := emitRun(t, t.Context(), nil, append(args, "5000")...)
	emitQueueWait = wait
	if code != 0 || summary.Events != 5000 || summary.Queued != 5000 || summary.Sent != 0 || len(summary.Dropped) != 0 {
		t.Errorf("exit %d, %+v, %q", code, summary, stderr)
	}
	for _, want := range []string{"5000 events", dir, "refused"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q does not say %q", stderr, want)
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	received := make(chan []byte, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			received <- emitAcknowledge(conn, nil)
			_ = conn.Close()
		}
	}()
	code, summary, stderr = emitRun(t, t.Context(), nil, append(args, "10")...)
	events, _ := emitDecode(t, <-received)
	if code != 0 || stderr != "" || summary.Events != 10 || summary.Recovered != 5000 || summary.Sent != 5010 || summary.Queued != 0 || len(events) != 5010 {
		t.Errorf("the next run: exit %d, %+v, %d events arrived, %q", code, summary, len(events), stderr)
	}
}

// What the host of a dead port has answered for is no half of what was lost.
func TestEmitToADeadPort(t *testing.T) {
	code, summary, stderr := emitRun(t, t.Context(), nil, "--to", "udp://"+loopback(t), "--events", "10000")
	lost := summary.Dropped["unreachable"] + summary.Dropped["send_error"]
	if code != 1 || summary.Events != 10_000 || summary.Sent != 0 || lost != 10_000 || !strings.Contains(stderr, "none of 10000 events arrived") {
		t.Errorf("exit %d, %+v, %q", code, summary, stderr)
	}
}

// A source that has to end is named, as is what is in doubt, and the run goes on.
func TestEmitSourceEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	received := make(chan []byte, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			frame := make([]byte, wire.FrameSizeMax)
			_, _ = io.ReadFull(conn, frame[:wire.HeaderSize])
			h, _ := wire.ParseHeader(frame)
			_, _ = conn.Write(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Credit: 1 << 20}))
			_, _ = io.ReadFull(conn, frame[:wire.HeaderSize]) // some events
			_, _ = conn.Write(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: 1 << 40, Credit: 1 << 20}))
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
		if conn, err := l.Accept(); err == nil {
			received <- emitAcknowledge(conn, nil)
			_ = conn.Close()
		}
	}()
	code, summary, stderr := emitRun(t, t.Context(), nil, "--to", "tcp://"+l.Addr().String(), "--events", "20000")
	events, _ := emitDecode(t, <-received)
	unsure := summary.Dropped["unsure"]
	if code != 1 || unsure == 0 || summary.Sent != uint64(len(events)) || summary.Sent+unsure != 20_000 {
		t.Errorf("exit %d, %+v, %d events arrived", code, summary, len(events))
	}
	for _, want := range []string{"source ", " ended: ", "acknowledged what was never sent", "goes on"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q does not say %q", stderr, want)
		}
	}
}

// A refusal's text comes from whoever answers, and may hold what a terminal obeys.
func TestEmitQuotesARefusal(t *testing.T) {
	refusal := wire.AppendRefusal(nil, wire.Header{}, 0, wire.RefusedConnections,
		"\x1b]0;mine\x07\x1b[2J\r\nlectern emit: all 100 events acknowledged\u202e\xff")
	url, _ := emitStreamServer(t, refusal)
	_, _, stderr := emitRun(t, t.Context(), nil, "--to", url, "--events", "100")
	if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, `\x1b]0;mine\a\x1b[2J\r\n`) {
		t.Errorf("%q", stderr)
	}
	for _, r := range strings.TrimSuffix(stderr, "\n") {
		if r < ' ' || r > '~' {
			t.Errorf("%q holds %q", stderr, r)
		}
	}
}

// A pipe without a writer cannot be opened; an interrupt ends the wait.
func TestEmitInterruptedBeforeAPipeHasAWriter(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here: ", err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	code, _, stderr := emitRun(t, ctx, nil, "--to", "udp://127.0.0.1:1", "--log", pipe)
	if code != 1 || !strings.Contains(stderr, "interrupted") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	// Lets the goroutine go that still waits for a writer; as a reader, too, this
	// does not wait itself.
	if fd, err := unix.Open(pipe, unix.O_RDWR, 0); err == nil {
		_ = unix.Close(fd)
	}
}

func TestEmitSummaryAddsUp(t *testing.T) {
	url, received := emitStreamServer(t, nil)
	code, summary, _ := emitRun(t, t.Context(), nil, "--to", url, "--events", "100")
	received()
	summary.Seconds, summary.Bytes, summary.Frames = 0, 0, 0
	if want := (emitSummary{Events: 100, Sent: 100, Dropped: map[string]uint64{}}); code != 0 || !reflect.DeepEqual(summary, want) {
		t.Errorf("exit %d, %+v, want %+v", code, summary, want)
	}
}
