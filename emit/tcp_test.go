package emit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lectern/lectern/wire"
)

// serve listens and hands the first connection to handle, whose result wait
// returns.
func serve[T any](t testing.TB, handle func(*net.TCPConn) T) (addr string, wait func() T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan T, 1)
	go func() {
		var value T
		defer func() { result <- value }()
		conn, err := l.Accept()
		_ = l.Close()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		value = handle(conn.(*net.TCPConn))
	}()
	return l.Addr().String(), func() T { return <-result }
}

func readAll(conn *net.TCPConn) []byte {
	b, _ := io.ReadAll(conn)
	return b
}

func TestTCPLoopback(t *testing.T) {
	addr, wait := serve(t, readAll)
	s, err := DialTCP(t.Context(), addr, Options{Stream: 4, FrameSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 3))
	var want []Event
	for range 20_000 {
		e := randomEvent(r, 1_700_000_000_000)
		want = append(want, e)
		add(t, s, e)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := wait()
	headers, got := unpack(t, all)
	checkNumbers(t, headers)
	if !slices.Equal(got, want) {
		t.Errorf("%d events went in, %d others came out", len(want), len(got))
	}
	for _, h := range headers {
		if h.Size > 4096 || h.Stream != 4 || h.Source != s.Source() {
			t.Errorf("frame %+v", h)
		}
	}
	stats := Stats{Events: 20_000, Frames: uint64(len(headers)), Bytes: uint64(len(all))}
	if got := s.Stats(); got != stats {
		t.Errorf("stats %+v, want %+v", got, stats)
	}
	if err := s.Add(Event{}); err != ErrClosed {
		t.Errorf("Add after Close: %v", err)
	}
}

func TestTCPFlushesByAge(t *testing.T) {
	first := make(chan int, 1)
	addr, wait := serve(t, func(conn *net.TCPConn) []byte {
		header := make([]byte, wire.HeaderSize)
		_, _ = io.ReadFull(conn, header)
		h, _ := wire.ParseHeader(header)
		first <- h.Count
		return append(header, readAll(conn)...)
	})
	s, err := DialTCP(t.Context(), addr, Options{FlushAge: 1})
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, Event{Time: 1, Content: 1, User: 1})
	if n := <-first; n != 1 { // without Flush or Close
		t.Errorf("the first frame has %d events", n)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wait()
}

func TestTCPRefusal(t *testing.T) {
	for name, h := range map[string]wire.Header{
		"a frame":             {Source: 1, Sequence: 5, Stream: 2},
		"the connection":      {},
		"the reserved stream": {Source: 1, Sequence: 5, Stream: wire.StreamReserved},
	} {
		t.Run(name, func(t *testing.T) {
			addr, wait := serve(t, func(conn *net.TCPConn) error {
				b := wire.AppendAck(nil, 2, 1, 0, wire.Ack{}) // is passed over
				_, _ = conn.Write(wire.AppendRefusal(b, h, 0, wire.RefusedSources, "come back later"))
				_ = conn.CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
				return nil
			})
			s, err := DialTCP(t.Context(), addr, Options{})
			if err != nil {
				t.Fatal(err)
			}
			<-s.answered
			var refused *RefusedError
			for i := int64(0); err == nil && i < 1e6; i++ {
				if err = s.Add(Event{Time: i}); err == nil {
					err = s.Flush()
				}
			}
			if !errors.As(err, &refused) || *refused != (RefusedError{wire.RefusedSources, "come back later", h.Sequence}) {
				t.Errorf("Add: %v", err)
			}
			for _, text := range []string{"sources", "come back later"} {
				if err != nil && !strings.Contains(err.Error(), text) {
					t.Errorf("%q is not in %q", text, err)
				}
			}
			if err := s.Close(t.Context()); !errors.As(err, &refused) {
				t.Errorf("Close: %v", err)
			}
			wait()
		})
	}
}

// A collector that refuses without reading on resets the connection under a
// write that waits: its reason must come out, not the reset.
func TestTCPRefusalWhileWriting(t *testing.T) {
	addr, wait := serve(t, func(conn *net.TCPConn) error {
		_, _ = io.ReadFull(conn, make([]byte, 100_000))
		_, _ = conn.Write(wire.AppendRefusal(nil, wire.Header{}, 0, wire.RefusedIdle, ""))
		return nil
	})
	s, err := DialTCP(t.Context(), addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := int64(0); err == nil; i++ {
		err = s.Add(Event{Time: i, Content: uint64(i), User: 1})
	}
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Reason != wire.RefusedIdle {
		t.Errorf("Add: %v", err)
	}
	stats := s.Stats()
	_ = s.Close(t.Context())
	wait()
	if after := s.Stats(); after.Events < stats.Events || after.Events-after.DroppedEvents > stats.Events {
		t.Errorf("stats %+v, after Close %+v", stats, after)
	}
}

// stuckConn takes no byte, and answers as soon as it is offered one.
type stuckConn struct {
	net.Conn // nil: nothing else is called
	answer   *bytes.Reader
	offered  chan struct{}
	closed   chan struct{}
	once     sync.Once
}

func (c *stuckConn) Write([]byte) (int, error) {
	close(c.offered)
	<-c.closed
	return 0, net.ErrClosed
}

func (c *stuckConn) Read(b []byte) (int, error) {
	<-c.offered
	return c.answer.Read(b)
}

func (c *stuckConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *stuckConn) CloseWrite() error                { return nil }
func (c *stuckConn) SetReadDeadline(time.Time) error  { return nil }
func (c *stuckConn) SetWriteDeadline(time.Time) error { return nil }

// A refusal ends a write that waits, and is its error.
func TestTCPRefusalUnderAWaitingWrite(t *testing.T) {
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	packer, err := NewPacker(0, o.FrameSize)
	if err != nil {
		t.Fatal(err)
	}
	answer := wire.AppendRefusal(nil, wire.Header{Sequence: 8}, 0, wire.RefusedCount, "")
	s := newTCP(&stuckConn{answer: bytes.NewReader(answer), offered: make(chan struct{}), closed: make(chan struct{})}, "stuck", packer, o)
	add(t, s, Event{})
	err = s.Flush()
	if refused, ok := err.(*RefusedError); !ok || refused.Reason != wire.RefusedCount || refused.Sequence != 8 {
		t.Errorf("Flush: %v", err)
	}
	if got := s.Close(t.Context()); got != err {
		t.Errorf("Close: %v", got)
	}
	if got, want := s.Stats(), (Stats{Events: 1, Frames: 1, SendErrors: 1, DroppedEvents: 1}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// A collector that has ended its stream may be reading still, but will not be
// for long.
func TestTCPServerStopsTalking(t *testing.T) {
	addr, wait := serve(t, func(conn *net.TCPConn) error {
		_ = conn.CloseWrite()
		_, err := io.Copy(io.Discard, conn)
		return err
	})
	s, err := DialTCP(t.Context(), addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		err = s.Add(Event{})
	}
	if !errors.Is(err, errHungUp) {
		t.Errorf("Add: %v", err)
	}
	if err := s.Close(t.Context()); !errors.Is(err, errHungUp) {
		t.Errorf("Close: %v", err)
	}
	if err := wait(); err != nil {
		t.Error(err)
	}
}

func TestTCPServerVanishes(t *testing.T) {
	for name, linger := range map[string]int{"reset": 0, "closed": -1} {
		t.Run(name, func(t *testing.T) {
			addr, wait := serve(t, func(conn *net.TCPConn) error {
				_, _ = io.ReadFull(conn, make([]byte, wire.HeaderSize))
				_ = conn.SetLinger(linger)
				return conn.Close()
			})
			s, err := DialTCP(t.Context(), addr, Options{})
			if err != nil {
				t.Fatal(err)
			}
			added := uint64(0)
			for err == nil {
				if err = s.Add(Event{Time: 1, Content: added, User: 1}); err == nil {
					added++
				}
			}
			if errors.Is(err, ErrEvent) || err == ErrClosed || !strings.Contains(err.Error(), addr) {
				t.Errorf("Add: %v", err)
			}
			if err := s.Close(t.Context()); err == nil {
				t.Error("Close said that everything was read")
			}
			wait()
			if stats := s.Stats(); stats.Events != added {
				t.Errorf("%d events were taken and %d numbered", added, stats.Events)
			}
		})
	}
}

func TestTCPServerEndsFirst(t *testing.T) {
	addr, wait := serve(t, func(*net.TCPConn) error { return nil })
	s, err := DialTCP(t.Context(), addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	wait()
	<-s.answered
	if err := s.Close(t.Context()); !errors.Is(err, errHungUp) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Close: %v", err)
	}
}

func TestTCPForeignServer(t *testing.T) {
	addr, wait := serve(t, func(conn *net.TCPConn) error {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
		return nil
	})
	s, err := DialTCP(t.Context(), addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	<-s.answered
	if err := s.Close(t.Context()); !errors.Is(err, errForeign) {
		t.Errorf("Close: %v", err)
	}
	wait()
}

func TestTCPWrongPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, err = DialTCP(t.Context(), addr, Options{})
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), addr) {
		t.Errorf("DialTCP: %v", err)
	}
}

// A collector that reads nothing holds Add up; Close with an ended context cuts
// that short.
func TestTCPCloseCutsAWaitingAdd(t *testing.T) {
	release := make(chan struct{})
	addr, wait := serve(t, func(conn *net.TCPConn) error {
		<-release
		return nil
	})
	s, err := DialTCP(t.Context(), addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		var err error
		for i := uint64(0); err == nil; i++ {
			err = s.Add(Event{Time: 1, Content: i, User: i})
		}
		failed <- err
	}()
	for s.Stats().Bytes < 64<<10 {
		continue // it is on its way into the socket's buffers
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("Add went on")
	}
	close(release)
	wait()
}

func BenchmarkTCPAdd(b *testing.B) {
	addr, wait := serve(b, func(conn *net.TCPConn) error {
		_, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, make([]byte, 1<<18))
		return err
	})
	s, err := DialTCP(b.Context(), addr, Options{})
	if err != nil {
		b.Fatal(err)
	}
	e := Event{Time: 1_700_000_000_000, Kind: Read, Dwell: 15_000, Progress: 40, HasProgress: true}
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		e.Content, e.User = 1<<63+i, 1<<62+i
		if err := s.Add(e); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	_ = wait()
}
