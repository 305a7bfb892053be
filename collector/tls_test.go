package collector

import (
	"crypto/tls"
	"errors"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lectern/lectern/internal/testca"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// secured is a collector that wants certificates of an authority.
type secured struct {
	*running
	ca     *testca.CA
	config atomic.Pointer[tls.Config]
}

func startTLS(t *testing.T, change func(*Options)) *secured {
	t.Helper()
	s := &secured{ca: testca.New(t)}
	s.config.Store(s.server(t))
	s.running = start(t, func(o *Options) {
		o.TLS = &TLS{Address: "127.0.0.1:0", ConnectionsMax: 50, Config: s.config.Load}
		if change != nil {
			change(o)
		}
	})
	return s
}

// server is the collector's side.
func (s *secured) server(t *testing.T) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{s.ca.Certificate(t, "127.0.0.1")},
		ClientCAs: s.ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert, SessionTicketsDisabled: true,
	}
}

// dial connects with a certificate, and without one where there is none.
func (s *secured) dial(t *testing.T, certificates ...tls.Certificate) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.TLSAddress(), &tls.Config{RootCAs: s.ca.Pool(), Certificates: certificates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// hello begins a session over TLS.
func (s *secured) hello(t *testing.T, stream uint16, source uint64) (*client, wire.Ack) {
	t.Helper()
	c := &client{t, s.dial(t, s.ca.Certificate(t, "edge"))}
	write(t, c, wire.AppendHello(nil, stream, source, 0))
	return c, c.ack()
}

// A session is one over TLS, too, and goes on over plain TCP: the source is the same.
func TestTLSSession(t *testing.T) {
	s := startTLS(t, nil)
	c, a := s.hello(t, 1, 9)
	if a != (wire.Ack{Credit: 1 << 20}) {
		t.Errorf("the first ack is %+v", a)
	}
	large := frameOf(1, 9, 0, 0, epoch, opens(8000)...) // in several records, cut up anyhow
	for left := large; len(left) > 0; left = left[min(1000, len(left)):] {
		write(t, c, left[:min(1000, len(left))])
	}
	for i := uint64(1); i < 10; i++ {
		write(t, c, frameOf(1, 9, i, 8000+i-1, epoch, opens(1)...))
	}
	c.until(10)
	plain, a := hello(t, s.running, 1, 9)
	if a.Durable != 10 {
		t.Errorf("over TCP it is told %d", a.Durable)
	}
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the older connection: %v", err)
	}
	write(t, plain, frameOf(1, 9, 9, 8008, epoch, opens(1)...))
	write(t, plain, frameOf(1, 9, 10, 8009, epoch, opens(1)...))
	plain.until(11)
	if n := s.count(`lectern_frames_total{transport="tls"}`); n != 11 {
		t.Errorf("%d frames over TLS, want a hello and ten", n)
	}
	s.stop()
	if b := s.book(1); b.Counts[storage.Sent] != 8010 || b.Counts[storage.Accepted] != 8010 || b.Counts[storage.Duplicate] != 1 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// A client that ends its half is told that everything was read, over a connection without a
// session.
func TestTLSWithoutASession(t *testing.T) {
	s := startTLS(t, nil)
	c := s.dial(t, s.ca.Certificate(t, "edge"))
	write(t, c, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		t.Errorf("%x, %v", b, err)
	}
	s.stop()
	if b := s.book(1); b.Counts[storage.Accepted] != 3 {
		t.Errorf("%+v", b)
	}
}

func TestTLSClientsAreProved(t *testing.T) {
	s := startTLS(t, nil)
	other := testca.New(t)
	for _, c := range []struct {
		name   string
		config *tls.Config
		reason string
	}{
		{"no certificate", &tls.Config{}, "certificate"},
		{"another authority's", &tls.Config{Certificates: []tls.Certificate{other.Certificate(t, "edge")}}, "certificate"},
		{"one that is over", &tls.Config{Certificates: []tls.Certificate{s.ca.Expired(t, "edge")}}, "certificate"},
		{"TLS 1.2", &tls.Config{Certificates: []tls.Certificate{s.ca.Certificate(t, "edge")}, MaxVersion: tls.VersionTLS12}, "protocol"},
	} {
		metric := fmt.Sprintf("lectern_tls_handshake_failures_total{reason=%q}", c.reason)
		before := s.count(metric)
		c.config.RootCAs = s.ca.Pool()
		// A client of TLS 1.3 has finished before the server has judged it.
		conn, err := tls.Dial("tcp", s.TLSAddress(), c.config)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", c.name, err)
		}
		poll.Until(t, c.name+" is counted", func() bool { return s.count(metric) == before+1 })
	}
	// Nor does a client believe a server of another authority.
	if _, err := tls.Dial("tcp", s.TLSAddress(), &tls.Config{RootCAs: other.Pool()}); err == nil {
		t.Error("a server of another authority is believed")
	}
	// Something that is no TLS at all.
	c := dial(t, "tcp", s.TLSAddress())
	write(t, c, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	poll.Until(t, "frames without TLS are none", func() bool { return s.count(`lectern_tls_handshake_failures_total{reason="protocol"}`) == 3 })
	if n := s.count("lectern_tls_handshakes_total"); n != 0 {
		t.Errorf("%d handshakes were made", n)
	}
	poll.Until(t, "none of them is there", func() bool { return s.connected() == 0 })
}

// A stream that is bound to names is taken from nobody else, over no transport.
func TestCertificatesBindStreams(t *testing.T) {
	s := startTLS(t, func(o *Options) {
		o.Streams.Known = []Stream{{Name: "news", Number: 7, Clients: []string{"edge.example", "spiffe://example/edge"}}, {Name: "open", Number: 8}}
	})
	const text = "stream 7 is taken over TLS alone, from clients whose certificates have the right name"
	for _, c := range []struct {
		names  []string
		stream uint16
		taken  bool
	}{
		{[]string{"edge.example"}, 7, true},
		{[]string{"other.example", "spiffe://example/edge"}, 7, true},
		{[]string{"other.example"}, 7, false},
		{[]string{"edge.example.org", "spiffe://example/edge/2"}, 7, false},
		{nil, 7, false},
		{nil, 8, true},
	} {
		k := &client{t, s.dial(t, s.ca.Certificate(t, c.names...))}
		write(t, k, wire.AppendHello(nil, c.stream, 9, 0))
		h, body := k.next()
		if h.Type == wire.TypeAck {
			if !c.taken {
				t.Errorf("%q may send stream %d", c.names, c.stream)
			}
			continue
		}
		why, said, _ := wire.ParseRefusalBody(body)
		if c.taken || why != wire.RefusedStream || string(said) != text {
			t.Errorf("%q, stream %d: %v %s", c.names, c.stream, why, said)
		}
	}
	plain := dial(t, "tcp", s.Address())
	write(t, plain, frameOf(7, 10, 0, 0, epoch, opens(3)...))
	if _, why, said := answer(t, plain); why != wire.RefusedStream || said != text {
		t.Errorf("over TCP: %v %s", why, said)
	}
	if err := s.Collector.Take(frameOf(7, 11, 0, 0, epoch, opens(3)...)); err != wire.RefusedStream {
		t.Errorf("by Take: %v", err)
	}
	write(t, dial(t, "udp", s.Address()), frameOf(7, 12, 0, 0, epoch, opens(3)...))
	s.stop()
	b := s.book(7)
	if frames, events := refused(b, wire.RefusedStream); frames != 6 || events != 0 || b.Counts[storage.Sent] != 0 {
		t.Errorf("%d frames, %d events refused: %+v", frames, events, b)
	}
}

// Handshakes that never end make room for others, and cost no honest client
// anything.
func TestTLSHandshakesAreBounded(t *testing.T) {
	s := startTLS(t, func(o *Options) { o.TLS.ConnectionsMax = 16 })
	var silent []net.Conn
	for range 18 {
		c := dial(t, "tcp", s.TLSAddress())
		write(t, c, []byte{22, 3, 1}) // the beginning of a record
		silent = append(silent, c)
	}
	// Sixteen may stand in their handshake: the first ones are hung up on.
	if b, err := io.ReadAll(silent[0]); len(b) > 0 || err == nil && len(b) > 0 {
		t.Errorf("the first one is told %x, %v", b, err)
	}
	poll.Until(t, "it is counted", func() bool { return s.count(`lectern_tls_handshake_failures_total{reason="time"}`) >= 2 })
	for _, c := range silent[2:6] {
		c.Close()
	}
	poll.Until(t, "there is room", func() bool { return s.secure.connCount.Load() <= 14 })
	c, _ := s.hello(t, 1, 9)
	write(t, c, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	c.until(1)
}

// A client that is one too many is told so.
func TestTLSConnectionsAreBounded(t *testing.T) {
	s := startTLS(t, func(o *Options) { o.TLS.ConnectionsMax = 8 })
	for i := range uint64(8) {
		s.hello(t, 1, i)
	}
	b, err := io.ReadAll(s.dial(t, s.ca.Certificate(t)))
	h, _ := wire.ParseHeader(b)
	if len(b) < wire.HeaderSize {
		t.Fatalf("%x, %v", b, err)
	}
	why, said, _ := wire.ParseRefusalBody(h.Body(b))
	if why != wire.RefusedConnections || string(said) != "the collector has its 8 connections; raise tls.connections_max" {
		t.Errorf("%v %s", why, said)
	}
}

// A client that sends and reads nothing is hung up on.
func TestTLSClientThatDoesNotRead(t *testing.T) {
	near, far := net.Pipe() // holds nothing: the first write waits
	defer far.Close()
	p := &tlsPeer{conn: tls.Client(near, &tls.Config{InsecureSkipVerify: true})}
	ack := make([]byte, wire.HeaderSize)
	for n := 0; p.tell(ack, false) == nil; n += len(ack) {
		if n > 2*ackBufferMax {
			t.Fatalf("%d bytes wait, and nobody has hung up", n)
		}
	}
	p.finish() // does not wait for ever
	if err := p.write(ack); err == nil {
		t.Error("more is taken")
	}
}

// A new certificate is used for the next handshake, while sessions go on.
func TestTLSCertificatesAreReplacedUnderLoad(t *testing.T) {
	s := startTLS(t, nil)
	long, _ := s.hello(t, 1, 1)
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for source := uint64(100); ; source++ {
			select {
			case <-stop:
				return
			default:
			}
			c, err := tls.Dial("tcp", s.TLSAddress(), &tls.Config{RootCAs: s.ca.Pool(), Certificates: []tls.Certificate{s.ca.Certificate(t, "edge")}})
			if err != nil {
				t.Errorf("a handshake failed: %v", err)
				return
			}
			_, _ = c.Write(wire.AppendHello(nil, 1, source, 0))
			if _, err := io.ReadFull(c, make([]byte, wire.HeaderSize)); err != nil {
				t.Errorf("a hello was not answered: %v", err)
			}
			c.Close()
		}
	})
	var seen []string
	for i := range uint64(10) {
		s.config.Store(s.server(t))
		c := s.dial(t, s.ca.Certificate(t, "edge"))
		seen = append(seen, c.ConnectionState().PeerCertificates[0].SerialNumber.String())
		write(t, long, frameOf(1, 1, i, i, epoch, opens(1)...))
	}
	long.until(10)
	close(stop)
	load.Wait()
	for i := range seen[1:] {
		if seen[i] == seen[i+1] {
			t.Errorf("the server's certificates were %s", strings.Join(seen, ", "))
			break
		}
	}
	for why := range tlsFailures {
		if n := s.secure.failed[why].Load(); n != 0 {
			t.Errorf("%d handshakes failed: %s", n, tlsFailureWords[why])
		}
	}
}

// The end is told over TLS as it is over TCP: a final ack of all that came, then the
// end of the stream.
func TestTLSStop(t *testing.T) {
	s := startTLS(t, func(o *Options) { o.CutInterval = time.Hour })
	c, _ := s.hello(t, 1, 9)
	write(t, c, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	poll.Until(t, "the frame is there", func() bool { return s.count("lectern_events_accepted_total") == 3 })
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	var last wire.Ack
	for !last.Final {
		last = c.ack()
	}
	if last.Durable != 1 {
		t.Errorf("the last ack is %+v", last)
	}
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		t.Errorf("behind the last ack: %x, %v", b, err)
	}
	<-stopped
	if n := s.secure.connCount.Load(); n != 0 || s.connected() != 0 {
		t.Errorf("%d clients of TLS, %d in all after the end", n, s.connected())
	}
	if _, err := net.Dial("tcp", s.TLSAddress()); err == nil {
		t.Error("the socket is still there")
	}
}
