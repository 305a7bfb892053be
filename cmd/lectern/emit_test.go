package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// emitted is one event as it arrived, with its absolute time.
type emitted struct {
	wire.Event
	time   int64
	stream uint16
}

// emitDecode takes frames apart.
func emitDecode(t testing.TB, b []byte) (events []emitted, frames int) {
	t.Helper()
	decoded := make([]wire.Event, wire.CountMax)
	for len(b) > 0 {
		h, why := wire.ParseHeader(b)
		if why != wire.Accepted || h.Size > len(b) {
			t.Fatalf("frame %d: %v", frames, why)
		}
		if h.Type == wire.TypeNames {
			if why := wire.CheckNames(h.Body(b[:h.Size])); why != wire.Accepted {
				t.Fatalf("frame %d: %v", frames, why)
			}
			frames++
			b = b[h.Size:]
			continue
		}
		part, why := wire.DecodeEvents(decoded, h.Body(b[:h.Size]), h.Count)
		if why != wire.Accepted {
			t.Fatalf("frame %d: %v", frames, why)
		}
		for _, e := range part {
			events = append(events, emitted{e, h.Time + int64(e.At), h.Stream})
		}
		frames++
		b = b[h.Size:]
	}
	return events, frames
}

// emitStreamServer stands in for a collector: it acknowledges one connection's
// frames, and gives them back at its end. With an answer it says that instead of
// its first ack.
func emitStreamServer(t testing.TB, answer []byte) (url string, received func() []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	result := make(chan []byte, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			result <- nil
			return
		}
		defer conn.Close()
		result <- emitAcknowledge(conn, answer)
	}()
	return "tcp://" + l.Addr().String(), func() []byte { return <-result }
}

func emitAcknowledge(conn net.Conn, answer []byte) (frames []byte) {
	durable := uint64(0)
	frame := make([]byte, wire.FrameSizeMax)
	for {
		if _, err := io.ReadFull(conn, frame[:wire.HeaderSize]); err != nil {
			return frames
		}
		h, _ := wire.ParseHeader(frame)
		if _, err := io.ReadFull(conn, frame[wire.HeaderSize:h.Size]); err != nil {
			return frames
		}
		if h.Type.Numbered() {
			frames = append(frames, frame[:h.Size]...)
			durable = h.Sequence + 1
		}
		if answer == nil {
			answer = wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: durable, Credit: 1 << 20})
		}
		_, _ = conn.Write(answer)
		answer = nil
	}
}

// emitRun runs the command and returns its summary, where there is one.
func emitRun(t testing.TB, ctx context.Context, stdin io.Reader, args ...string) (code int, summary emitSummary, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = (&process{stdin: stdin, stdout: &out, stderr: &errs}).runEmit(ctx, args)
	if out.Len() > 0 {
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil {
			t.Errorf("the last line of %q: %v", out.String(), err)
		}
	}
	return code, summary, errs.String()
}

const emitLogText = `10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a?x=1 HTTP/1.1" 200 5 "-" "agent"
10.0.0.2 - - [17/May/2015:12:05:02 +0200] "GET /b HTTP/1.1" 304 -
this is not a line of a log
10.0.0.1 - - [17/May/2015:10:05:04 +0000] "POST /a HTTP/1.1" 200 5
10.0.0.1 - - [17/May/2015:10:05:04 +0000] "GET /c HTTP/1.1" 404 5
10.0.0.1 - - [17/May/2015:10:06:00 +0000] "GET /a?x=2 HTTP/1.1" 200 5
`

func TestEmitLog(t *testing.T) {
	const at = 1431857103000
	want := []emitted{
		{wire.Event{Content: xxhash.Sum64String("/a"), User: xxhash.Sum64String("10.0.0.1"), At: 1000}, at, 12},
		{wire.Event{Content: xxhash.Sum64String("/b"), User: xxhash.Sum64String("10.0.0.2")}, at - 1000, 12},
		{wire.Event{Content: xxhash.Sum64String("/a"), User: xxhash.Sum64String("10.0.0.1"), At: 58_000}, at + 57_000, 12},
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, emitLogText)
	_ = z.Close()
	junk := strings.Repeat("\x00junk", 200_000) + "\r\n"
	for name, test := range map[string]struct {
		text    string
		skipped int64
	}{
		"plain":               {emitLogText, 1},
		"gzip":                {zipped.String(), 1},
		"CRLF":                {strings.ReplaceAll(emitLogText, "\n", "\r\n"), 1},
		"without an end":      {strings.TrimSpace(emitLogText), 1},
		"with a line of 1 MB": {junk + emitLogText + junk, 3},
	} {
		for _, from := range []string{"-", filepath.Join(t.TempDir(), "access.log")} {
			var stdin io.Reader
			if from == "-" {
				stdin = strings.NewReader(test.text)
			} else if err := os.WriteFile(from, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			url, received := emitStreamServer(t, nil)
			code, summary, stderr := emitRun(t, t.Context(), stdin, "--to", url, "--log", from, "--stream=12")
			all := received()
			got, frames := emitDecode(t, all)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, %s: got\n%v, want\n%v", name, from, got, want)
			}
			if log := summary.Log; log == nil || log.Lines != 5+test.skipped || log.NotOpens != 2 {
				t.Errorf("%s, %s: of the log: %+v", name, from, log)
			}
			said := fmt.Sprintf("lectern emit: %d of %d lines could not be read:\n", test.skipped, 5+test.skipped)
			if code != 0 || !strings.HasPrefix(stderr, said) || summary.Events != 3 || summary.Sent != 3 || len(summary.Dropped) != 0 || summary.Frames != uint64(frames) || summary.Bytes != uint64(len(all)) || summary.SkippedLines != test.skipped {
				t.Errorf("%s, %s: exit %d, %+v, %q", name, from, code, summary, stderr)
			}
		}
	}
}

// A file that is no access log at all is mostly a mistake.
func TestEmitOfNoLog(t *testing.T) {
	url, received := emitStreamServer(t, nil)
	code, summary, stderr := emitRun(t, t.Context(), strings.NewReader("# Title\n\nText.\n"), "--to", url, "--log", "-")
	if events, _ := emitDecode(t, received()); len(events) != 0 || code != 1 || summary.SkippedLines != 3 || !strings.Contains(stderr, "3 of 3 lines could not be read: most of the log is missing") {
		t.Errorf("exit %d, %d events arrived, %+v, %q", code, len(events), summary, stderr)
	}
	url, received = emitStreamServer(t, nil)
	code, _, stderr = emitRun(t, t.Context(), strings.NewReader(""), "--to", url, "--log", "-")
	if received(); code != 0 || stderr != "" {
		t.Errorf("nothing at all: exit %d, %q", code, stderr)
	}
}

func TestEmitLogFails(t *testing.T) {
	url, received := emitStreamServer(t, nil)
	broken := io.MultiReader(strings.NewReader(emitLogText), &failingReader{})
	code, summary, stderr := emitRun(t, t.Context(), broken, "--to", url, "--log", "-")
	if events, _ := emitDecode(t, received()); len(events) != 3 || code != 1 || summary.Events != 3 || !strings.Contains(stderr, "the disk is gone") {
		t.Errorf("exit %d, %d events arrived, %+v, %q", code, len(events), summary, stderr)
	}
	code, _, stderr = emitRun(t, t.Context(), nil, "--to", "udp://127.0.0.1:1", "--log", filepath.Join(t.TempDir(), "none"))
	if code != 1 || !strings.Contains(stderr, "none") {
		t.Errorf("no such log: exit %d, %q", code, stderr)
	}
}

type failingReader struct{}

func (*failingReader) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func TestEmitCrowd(t *testing.T) {
	url, received := emitStreamServer(t, nil)
	before := time.Now().UnixMilli()
	code, summary, stderr := emitRun(t, t.Context(), nil, "--to", url, "--events", "50000", "--users", "300", "--contents", "40", "--frame-size", "1000")
	after := time.Now().UnixMilli()
	events, frames := emitDecode(t, received())
	if code != 0 || stderr != "" || summary.Events != 50_000 || len(events) != 50_000 || summary.Frames != uint64(frames) {
		t.Fatalf("exit %d, %d events in %d frames arrived, %+v, %q", code, len(events), frames, summary, stderr)
	}
	contents, users, kinds := map[uint64]bool{}, map[uint64]bool{}, map[wire.Kind]bool{}
	last := before
	for _, e := range events {
		contents[e.Content], users[e.User], kinds[e.Kind] = true, true, true
		if e.time < last || e.time > after {
			t.Fatalf("an event at %d after one at %d; the run ended at %d", e.time, last, after)
		}
		last = e.time
	}
	if len(contents) != 40 || len(users) != 300 || len(kinds) != int(wire.KindImpression) {
		t.Errorf("%d contents, %d users, %d kinds", len(contents), len(users), len(kinds))
	}
}

// slowEmitter takes a millisecond for each event and keeps how old it was.
type slowEmitter struct {
	emitNowhere
	ages []int64
}

func (s *slowEmitter) Add(e emit.Event) error {
	s.ages = append(s.ages, time.Now().UnixMilli()-e.Time)
	time.Sleep(time.Millisecond)
	return nil
}

func TestEmitCrowdHappensNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for rate, oldest := range map[int64]int64{0: clockEvery, 10: 1} {
			var out slowEmitter
			c := newEmitCrowd(&emitOptions{events: 500, users: 10, contents: 10})
			if err := c.run(t.Context(), &out, newEmitPace(rate)); err != nil {
				t.Fatal(err)
			}
			for i, age := range out.ages {
				if age < 0 || age > oldest {
					t.Fatalf("at %d a second event %d is %d ms old when it is sent", rate, i, age)
				}
			}
		}
	})
}

func TestEmitOverUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	code, summary, stderr := emitRun(t, t.Context(), nil, "--to", "udp://"+conn.LocalAddr().String(), "--events", "500", "--datagram-size", "600")
	var all []byte
	b := make([]byte, 1<<16)
	for range summary.Frames { // they are in the socket's buffer already
		n, _, err := conn.ReadFrom(b)
		if err != nil || n > 600 {
			t.Fatalf("a datagram of %d bytes, error %v", n, err)
		}
		all = append(all, b[:n]...)
	}
	events, _ := emitDecode(t, all)
	if code != 0 || stderr != "" || len(events) != 500 || summary.Events != 500 || summary.Bytes != uint64(len(all)) {
		t.Errorf("exit %d, %d events arrived, %+v, %q", code, len(events), summary, stderr)
	}
}

func TestEmitFails(t *testing.T) {
	refusal := wire.AppendRefusal(nil, wire.Header{}, 0, wire.RefusedConnections, "it is full")
	url, _ := emitStreamServer(t, refusal)
	code, _, stderr := emitRun(t, t.Context(), nil, "--to", url, "--events", "100000000")
	if code != 1 || !strings.Contains(stderr, "connections: \"it is full\"") || strings.Count(stderr, "it is full") != 1 {
		t.Errorf("refused: exit %d, %q", code, stderr)
	}

	addr := loopback(t)
	for _, network := range []string{"tcp", "udp"} {
		code, _, stderr := emitRun(t, t.Context(), nil, "--to", network+"://"+addr, "--events", "10000")
		if code != 1 || !strings.Contains(stderr, "refused") || !strings.Contains(stderr, addr) {
			t.Errorf("nobody listens on %s: exit %d, %q", network, code, stderr)
		}
	}
}

// A run that the collector does not acknowledge leaves its events to the next.
func TestEmitQueue(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	received := make(chan []byte, 1)
	go func() {
		// The first connection gets no ack but that of its hello.
		if conn, err := l.Accept(); err == nil {
			frame := make([]byte, wire.FrameSizeMax)
			_, _ = io.ReadFull(conn, frame[:wire.HeaderSize])
			h, _ := wire.ParseHeader(frame)
			_, _ = conn.Write(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Credit: 1 << 20}))
			_, _ = io.ReadFull(conn, frame[:wire.HeaderSize])
			interrupt()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
		if conn, err := l.Accept(); err == nil {
			received <- emitAcknowledge(conn, nil)
			_ = conn.Close()
		}
	}()
	url := "tcp://" + l.Addr().String()
	code, _, stderr := emitRun(t, ctx, nil, "--to", url, "--events", "1000", "--queue", dir)
	if code != 1 || !strings.Contains(stderr, "1000 events") || !strings.Contains(stderr, dir) {
		t.Errorf("without acks: exit %d, %q", code, stderr)
	}
	code, summary, stderr := emitRun(t, t.Context(), nil, "--to", url, "--events", "10", "--queue", dir)
	events, _ := emitDecode(t, <-received)
	if code != 0 || stderr != "" || summary.Events != 10 || len(events) != 1010 {
		t.Errorf("the next run: exit %d, %+v, %d events arrived, %q", code, summary, len(events), stderr)
	}
}

// An interrupt ends even a run that waits for its standard input.
func TestEmitInterrupted(t *testing.T) {
	url, received := emitStreamServer(t, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	stdin := &endlessReader{text: emitLogText, asked: interrupt, never: make(chan struct{})}
	defer close(stdin.never)
	code, summary, stderr := emitRun(t, ctx, stdin, "--to", url, "--log", "-")
	events, _ := emitDecode(t, received())
	if code != 1 || !strings.Contains(stderr, "interrupted") || summary.Events != uint64(len(events)) || len(events) != 3 {
		t.Errorf("exit %d, %d events arrived, %+v, %q", code, len(events), summary, stderr)
	}
}

// endlessReader says that it is asked for more than its text, and never answers.
type endlessReader struct {
	text  string
	asked func()
	never chan struct{}
}

func (r *endlessReader) Read(b []byte) (int, error) {
	if r.text == "" {
		r.asked()
		<-r.never
		return 0, io.EOF
	}
	n := copy(b, r.text)
	r.text = r.text[n:]
	return n, nil
}

// emitSlow answers Close when it is told to, or its context ends.
type emitSlow struct {
	emitNowhere
	acked chan struct{}
}

func (e emitSlow) Close(ctx context.Context) error {
	select {
	case <-e.acked:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// An interrupt while the last acks are waited for leaves the same time as one
// before it.
func TestEmitInterruptedWhileItWaits(t *testing.T) {
	for _, after := range []time.Duration{emitGrace - 1, emitGrace + 1} {
		synctest.Test(t, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			out := emitSlow{acked: make(chan struct{})}
			finished := make(chan error)
			began := time.Now()
			go func() {
				finished <- emitAll(ctx, newEmitCrowd(&emitOptions{users: 1, contents: 1}), out, newEmitPace(0), io.Discard)
			}()
			time.Sleep(time.Minute) // it waits for acks, not for its grace
			interrupt()
			go func() {
				time.Sleep(after)
				close(out.acked)
			}()
			err := <-finished
			took := time.Since(began) - time.Minute
			if after < emitGrace && (err != nil || took != after) || after > emitGrace && (!errors.Is(err, errEmitGrace) || took != emitGrace) {
				t.Errorf("acked %v after the interrupt: %v after %v", after, err, took)
			}
			time.Sleep(time.Second) // until the late ack has been said
		})
	}
}

func TestEmitUsage(t *testing.T) {
	const to = "--to=udp://127.0.0.1:8420"
	for _, test := range []struct{ args, want string }{
		{"", "--to is missing"},
		{"--events 1", "--to is missing"},
		{to, "nothing to send"},
		{to + " --log a --events 1", "exclude each other"},
		{to + " --log=", "names no file"},
		{to + " --log a --users 5", "--users goes with --events"},
		{to + " --log a --readers 5", "--readers goes with --events"},
		{to + " --events 1 --readers 0", "--readers 0"},
		{to + " --events 1 --readers 5 --users 5", "leave --users and --rate out"},
		{to + " --events 1 --readers 5 --rate 5", "leave --users and --rate out"},
		{to + " --log a --seed 5", "--seed goes with --events"},
		{to + " --bogus", "bogus"},
		{to + " --events 1 more", `"more"`},
		{to + " --events", "events"},
		{to + " --events x", "events"},
		{to + " --events -1", "--events -1"},
		{to + " --events 0", "--events 0"},
		{to + " --events 1 --users 0", "--users 0"},
		{to + " --events 1 --users -4", "--users -4"},
		{to + " --events 1 --contents 0", "--contents 0"},
		{to + " --events 1 --seed -1", "--seed -1"},
		{to + " --events 1 --rate -1", "--rate -1"},
		{to + " --events 1 --stream 65535", "--stream 65535"},
		{to + " --events 1 --stream -1", "--stream -1"},
		{to + " --events 1 --datagram-size 64", "--datagram-size 64"},
		{to + " --events 1 --datagram-size 65508", "--datagram-size 65508"},
		{to + " --events 1 --frame-size 1000", "--frame-size is for tcp://"},
		{"--to=tcp://127.0.0.1:1 --events 1 --datagram-size 1000", "--datagram-size is for udp://"},
		{"--to=tcp://127.0.0.1:1 --events 1 --frame-size 65536", "--frame-size 65536"},
		{to + " --events 1 --queue dir", "--queue is for tcp://"},
		{to + " --events 1 --key-file=", "--key-file names no file"},
		{to + " --events 1 --key-file k", "go together"},
		{to + " --events 1 --audience a", "go together"},
		{"--to=tcp://127.0.0.1:1 --events 1 --queue=", "names no directory"},
		{"--events 1 --to=127.0.0.1:8420", "is not udp://HOST:PORT"},
		{"--events 1 --to=http://127.0.0.1:8420", "is not udp://HOST:PORT"},
		{"--events 1 --to=udp://127.0.0.1", "has no port"},
		{"--events 1 --to=udp://127.0.0.1:0", "has no port"},
		{"--events 1 --to=udp://127.0.0.1:99999", "has no port"},
		{"--events 1 --to=udp://:8420", "has no host"},
		{"--events 1 --to=udp://h:8420/path", "more than a host"},
		{"--events 1 --to=udp://u@h:8420", "more than a host"},
	} {
		var out, errs bytes.Buffer
		code := (&process{stdout: &out, stderr: &errs}).runEmit(t.Context(), strings.Fields(test.args))
		if code != 2 || out.Len() > 0 || !strings.Contains(errs.String(), test.want) || !strings.Contains(errs.String(), "--help") {
			t.Errorf("%s: exit %d, %q, want %q in it", test.args, code, errs.String(), test.want)
		}
	}
	for _, flag := range []string{"--help", "-h"} {
		var out, errs bytes.Buffer
		if code := (&process{stdout: &out, stderr: &errs}).runEmit(t.Context(), []string{flag}); code != 0 || !strings.HasPrefix(out.String(), "Send read events") || errs.Len() > 0 {
			t.Errorf("%s: exit %d, %q", flag, code, errs.String())
		}
	}
}

func TestEmitTo(t *testing.T) {
	for to, want := range map[string]string{
		"udp://127.0.0.1:8420": "udp 127.0.0.1:8420",
		"tcp://[::1]:8420":     "tcp [::1]:8420",
		"tcp://localhost:1/":   "tcp localhost:1",
	} {
		network, address, err := parseTo(to)
		if got := network + " " + address; err != nil || got != want {
			t.Errorf("%s: %s, %v", to, got, err)
		}
	}
}

func TestEmitPace(t *testing.T) {
	for _, rate := range []int64{1, 3, 7, 999, 1000, 1001, 65_000, 1_000_000} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			pace := newEmitPace(rate)
			n := min(10*rate, 100_000)
			var last time.Time
			burst, most := 0, 0
			for range n {
				pace.wait(t.Context())
				if now := time.Now(); now.Equal(last) {
					burst++
				} else {
					last, burst = now, 1
				}
				most = max(most, burst)
			}
			took, want := time.Since(began).Seconds(), float64(n)/float64(rate)
			if took < want*0.999 || took > want*1.001+0.001 {
				t.Errorf("%d events at %d a second took %v s", n, rate, took)
			}
			if limit := int(rate/1000) + 2; most > limit {
				t.Errorf("at %d a second %d events went out at once, more than %d", rate, most, limit)
			}
			// A pause is made up for in part only.
			time.Sleep(10 * time.Second)
			at, free := time.Now(), 0
			for pace.wait(t.Context()); time.Now().Equal(at); pace.wait(t.Context()) {
				free++
			}
			// What the last step left, one more, and what is made up for.
			if limit := int(2*rate/1000+rate/50) + 3; free > limit {
				t.Errorf("after a pause %d events went out at once, more than %d", free, limit)
			}
		})
	}
}

func TestEmitPaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		newEmitPace(0).wait(ctx)
		pace := newEmitPace(1)
		pace.wait(ctx)
		pace.wait(ctx)
		if took := time.Since(began); took != time.Second {
			t.Errorf("it waited %v", took)
		}
	})
}

func BenchmarkEmitCrowd(b *testing.B) {
	c := newEmitCrowd(&emitOptions{events: int64(b.N), users: 1_000_000, contents: 10_000, seed: 1})
	b.ReportAllocs()
	_ = c.run(b.Context(), emitNowhere{}, newEmitPace(0))
}

// emitNowhere takes every event.
type emitNowhere struct{}

func (emitNowhere) Add(emit.Event) error        { return nil }
func (emitNowhere) Name(string) error           { return nil }
func (emitNowhere) Stats() emit.Stats           { return emit.Stats{} }
func (emitNowhere) Close(context.Context) error { return nil }
