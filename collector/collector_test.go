package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/pipeline"
	"github.com/lectern/lectern/wire"
)

// running is a collector on loopback, stopped when the test ends or asks.
type running struct {
	*ear
	*Collector
	set  *metrics.Set
	once sync.Once
}

func start(t *testing.T, change func(*Options)) *running {
	t.Helper()
	r := &running{ear: newEar(), set: metrics.NewSet()}
	o := Options{
		Address: "127.0.0.1:0", Loops: 2, ReceiveBuffer: 4 << 20,
		CutInterval: 50 * time.Millisecond, LateMax: 0, FutureMax: 0,
		KeysMax: 1 << 17, SourcesMax: 1000, ConnectionsMax: 100, CreditMax: 1 << 20, ConnectionIdleMax: time.Minute,
		Sink: r.ear, Metrics: r.set, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	r.Collector = New(o)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() { r.once.Do(func() { r.Stop(context.Background()) }) }

// metric is the value of one line of the metrics, "" without it.
func (r *running) metric(name string) string {
	var out bytes.Buffer
	r.set.WritePrometheus(&out)
	for line := range strings.Lines(out.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// count is a counter's value.
func (r *running) count(name string) uint64 {
	n, _ := strconv.ParseUint(r.metric(name), 10, 64)
	return n
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// answer reads what the collector says until it hangs up.
func answer(t *testing.T, c net.Conn) (wire.Header, wire.Refusal, string) {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(b), err)
	}
	if len(b) == 0 {
		return wire.Header{}, wire.Accepted, ""
	}
	h, why := wire.ParseHeader(b)
	if why != wire.Accepted || h.Type != wire.TypeRefusal || h.Size != len(b) {
		t.Fatalf("the collector said %x", b)
	}
	reason, text, why := wire.ParseRefusalBody(h.Body(b))
	if why != wire.Accepted {
		t.Fatalf("the collector's refusal cannot be read: %v", why)
	}
	return h, reason, string(text)
}

func halfClose(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

func TestBothTransports(t *testing.T) {
	r := start(t, nil)
	u, c := dial(t, "udp", r.Address()), dial(t, "tcp", r.Address())
	const frames = 200
	for i := range uint64(frames) {
		write(t, u, frameOf(1, 1, i, i*10, epoch, opens(10)...))
		write(t, c, frameOf(2, 2, i, i*10, epoch, opens(10)...))
	}
	halfClose(t, c)
	if _, why, text := answer(t, c); why != wire.Accepted {
		t.Errorf("refused: %v %s", why, text)
	}
	// What is in the socket at the stop counts too.
	r.stop()
	for _, stream := range []uint16{1, 2} {
		if b := r.book(stream); b.Counts[storage.Accepted] != frames*10 || b.Counts[storage.Sent] != b.Counts[storage.Accepted] || !b.Balanced() {
			t.Errorf("stream %d: %+v", stream, b)
		}
	}
	var events uint64
	for i := range r.rows {
		events += r.rows[i].Events()
	}
	if events != 2*frames*10 {
		t.Errorf("%d events in rows, want %d", events, 2*frames*10)
	}
}

// Datagrams of one flow may reach the loop as one buffer; each still stands for
// itself.
func TestBadDatagramHurtsNobody(t *testing.T) {
	r := start(t, nil)
	u := dial(t, "udp", r.Address())
	for i := range uint64(100) {
		write(t, u, frameOf(1, 1, i, i, epoch, opens(1)...))
		write(t, u, []byte("not a frame at all, and forty bytes long or more"))
		write(t, u, nil)
	}
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != 100 || b.Net(storage.Lost) != 0 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
	if frames, _ := refused(r.book(wire.StreamReserved), wire.RefusedMagic); frames != 100 {
		t.Errorf("%d frames refused for their magic, want 100", frames)
	}
}

func TestRefusalReachesTheClient(t *testing.T) {
	r := start(t, nil)
	for _, c := range []struct {
		name     string
		bytes    []byte
		why      wire.Refusal
		sequence uint64
	}{
		{"not a frame", []byte("GET /metrics HTTP/1.1\r\nHost: example.com\r\n\r\n"), wire.RefusedMagic, 0},
		{"a hello after frames", append(frameOf(1, 77, 0, 0, epoch), wire.AppendHello(nil, 1, 77, 0)...), wire.RefusedUnexpected, 0},
		{"a bad kind", func() []byte {
			b := frameOf(1, 78, 0, 0, epoch, opens(2)...)
			b[41] = 7
			return b
		}(), wire.RefusedKind, 0},
		{"a sequence that does not follow", append(frameOf(1, 79, 4, 0, epoch, opens(2)...), frameOf(1, 79, 6, 2, epoch, opens(2)...)...), wire.RefusedSequence, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := dial(t, "tcp", r.Address())
			// With more behind it: the reason must come through all the same.
			write(t, conn, append(c.bytes, make([]byte, 100_000)...))
			h, why, _ := answer(t, conn)
			if why != c.why || h.Sequence != c.sequence {
				t.Errorf("refused as %v, sequence %d; want %v, %d", why, h.Sequence, c.why, c.sequence)
			}
		})
	}
	poll.Until(t, "every connection closed", func() bool { return r.metric("lectern_connections") == "0" })
}

func TestConnectionsMax(t *testing.T) {
	r := start(t, func(o *Options) { o.ConnectionsMax = 3 })
	var inside []net.Conn
	for i := range 3 {
		c := dial(t, "tcp", r.Address())
		write(t, c, frameOf(1, uint64(i), 0, 0, epoch, opens(1)...))
		inside = append(inside, c)
	}
	poll.Until(t, "three inside", func() bool { return r.metric("lectern_connections") == "3" })
	for range 5 {
		if _, why, text := answer(t, dial(t, "tcp", r.Address())); why != wire.RefusedConnections || !strings.Contains(text, "limits.connections_max") {
			t.Errorf("%v %q", why, text)
		}
	}
	for i, c := range inside {
		write(t, c, frameOf(1, uint64(i), 1, 1, epoch, opens(1)...))
		halfClose(t, c)
		if _, why, _ := answer(t, c); why != wire.Accepted {
			t.Errorf("a client inside was refused: %v", why)
		}
	}
	poll.Until(t, "room again", func() bool { return r.metric("lectern_connections") == "0" })
	c := dial(t, "tcp", r.Address())
	write(t, c, frameOf(1, 50, 0, 0, epoch, opens(1)...))
	halfClose(t, c)
	if _, why, _ := answer(t, c); why != wire.Accepted {
		t.Errorf("refused though there is room again: %v", why)
	}
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != 7 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// A client that says nothing, and one that drips a frame byte by byte, are told
// and closed; one that works is not.
func TestSilentAndSlowClients(t *testing.T) {
	r := start(t, func(o *Options) { o.ConnectionIdleMax = 1500 * time.Millisecond })
	silent, slow, busy := dial(t, "tcp", r.Address()), dial(t, "tcp", r.Address()), dial(t, "tcp", r.Address())
	stop := make(chan struct{})
	var drip sync.WaitGroup
	drip.Go(func() {
		frame := frameOf(1, 1, 0, 0, epoch, opens(2000)...)
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			_, _ = slow.Write(frame[i : i+1])
			if _, err := busy.Write(frameOf(1, 2, i, i, epoch, opens(1)...)); err != nil {
				t.Errorf("the client that works: %v", err)
				return
			}
		}
	})
	for name, c := range map[string]net.Conn{"silent": silent, "slow": slow} {
		if _, why, _ := answer(t, c); why != wire.RefusedIdle {
			t.Errorf("%s: %v, want %v", name, why, wire.RefusedIdle)
		}
	}
	close(stop)
	drip.Wait()
	halfClose(t, busy)
	if _, why, _ := answer(t, busy); why != wire.Accepted {
		t.Errorf("the client that works: %v", why)
	}
}

// Many clients at once, each with a little, and many that only knock.
func TestManyConnections(t *testing.T) {
	r := start(t, func(o *Options) { o.ConnectionsMax = 500 })
	const clients = 300
	var all sync.WaitGroup
	problems := make(chan error, clients)
	for i := range clients {
		all.Go(func() {
			problems <- func() error {
				if knock, err := net.Dial("tcp", r.Address()); err == nil {
					knock.Close()
				}
				c, err := net.Dial("tcp", r.Address())
				if err != nil {
					return err
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				for n := range uint64(5) {
					if _, err := c.Write(frameOf(1, uint64(i), n, n*4, epoch, opens(4)...)); err != nil {
						return err
					}
				}
				if err := c.(*net.TCPConn).CloseWrite(); err != nil {
					return err
				}
				if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
					return fmt.Errorf("said %x, %v", b, err)
				}
				return nil
			}()
		})
	}
	all.Wait()
	close(problems)
	for err := range problems {
		if err != nil {
			t.Error(err)
		}
	}
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != clients*20 || b.Counts[storage.Sent] != clients*20 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

func TestPortInUse(t *testing.T) {
	r := start(t, nil)
	second := New(Options{
		Address: r.Address(), Loops: 1, ReceiveBuffer: 1 << 20, CutInterval: time.Second, KeysMax: 1, SourcesMax: 1, ConnectionsMax: 1,
		Sink: newEar(), Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
	})
	err := second.Start()
	if err == nil {
		second.Stop(context.Background())
		t.Fatal("two collectors share a port")
	}
	if !strings.Contains(err.Error(), "another process has the port") {
		t.Error(err)
	}
}

func TestBadAddress(t *testing.T) {
	for _, address := range []string{"nowhere", "127.0.0.1:99999", "192.0.2.1:0"} {
		c := New(Options{
			Address: address, Loops: 1, CutInterval: time.Second, KeysMax: 1, SourcesMax: 1, ConnectionsMax: 1,
			Sink: newEar(), Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
		})
		if err := c.Start(); err == nil || !strings.Contains(err.Error(), "listen.address") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Without the right to raise it, the receive buffer is what the kernel gives:
// said once, and shown.
func TestReceiveBufferIsSaid(t *testing.T) {
	var said bytes.Buffer
	r := start(t, func(o *Options) {
		o.ReceiveBuffer = 1 << 30 // more than half of what fits the kernel's number: never granted in full
		o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	})
	asked, granted := r.metric("lectern_udp_receive_buffer_asked_bytes"), r.metric("lectern_udp_receive_buffer_granted_bytes")
	r.stop()
	if asked != "1073741824" || granted == "" || granted == asked {
		t.Skipf("the kernel grants %s of %s", granted, asked)
	}
	for _, want := range []string{"asked_bytes=" + asked, "got_bytes=" + granted, "net.core.rmem_max"} {
		if n := strings.Count(said.String(), want); n != 1 {
			t.Errorf("%q is said %d times in %s", want, n, said.String())
		}
	}
}

// The lines of a scrape add up at every moment, also while events come.
func TestScrapeBalances(t *testing.T) {
	r := start(t, nil)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for n := range uint64(2) {
		c := dial(t, "tcp", r.Address())
		load.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Write(frameOf(1, n, i, i*5, epoch, opens(5)...)); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 60 {
		var out bytes.Buffer
		r.set.WritePrometheus(&out)
		sent, rest := 0, 0
		for line := range strings.Lines(out.String()) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			var n int
			_, _ = fmt.Sscan(value, &n)
			switch base, _, _ := strings.Cut(name, "{"); base {
			case "lectern_events_sent_total":
				sent = n
			case "lectern_events_accepted_total", "lectern_events_refused_total", "lectern_events_shed_total", "lectern_events_lost_total":
				rest += n
			case "lectern_events_found_total":
				rest -= n
			}
		}
		if sent != rest {
			t.Fatalf("%d sent, %d accounted for", sent, rest)
		}
	}
	close(stop)
	load.Wait()
}

var _ Sink = (*pipeline.Gatherer)(nil)
