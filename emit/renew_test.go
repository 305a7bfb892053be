//go:build go1.26

package emit

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

// taps hands out a tap for each socket.
type taps struct {
	mu   sync.Mutex // protects fail
	all  []*wireTap
	fail error                         // of the next dial
	each func(socket, write int) error // asked before each write
}

func (s *taps) dial(context.Context) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	n := len(s.all)
	tap := &wireTap{began: time.Now(), fail: func(write int) error {
		if s.each == nil {
			return nil
		}
		return s.each(n, write)
	}}
	s.all = append(s.all, tap)
	return tap, nil
}

// check sees to it that every socket has carried one source, whole: its opening
// beats, events, and its final beats.
func (s *taps) check(t *testing.T) (events []int) {
	t.Helper()
	seen := map[uint64]bool{}
	for i, tap := range s.all {
		headers, got := unpack(t, slices.Concat(tap.writes...))
		checkNumbers(t, headers)
		if len(headers) < 2*beats || seen[headers[0].Source] {
			t.Fatalf("socket %d: %d datagrams, source %x", i, len(headers), headers[0].Source)
		}
		seen[headers[0].Source] = true
		for j, h := range headers {
			if (j < beats || j >= len(headers)-beats) && h.Count > 0 {
				t.Errorf("socket %d: datagram %d is no beat", i, j)
			}
		}
		events = append(events, len(got))
	}
	return events
}

func renewing(t *testing.T, s *taps, o Options) *UDP {
	t.Helper()
	u, err := dialUDP(t.Context(), "taps", s.dial, o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUDPRenewsAnOldSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s taps
		u := renewing(t, &s, Options{SocketAge: 10 * time.Second})
		first := u.Source()
		for range 35 { // seconds
			add(t, u, Event{Content: 1, User: 1})
			time.Sleep(time.Second)
		}
		if u.Source() == first {
			t.Error("the source is the same over a new socket")
		}
		time.Sleep(time.Hour) // silence begins no more than one source
		if err := u.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		events := s.check(t)
		if total := events[0] + events[1] + events[2] + events[3] + events[4]; len(events) != 5 || total != 35 || events[4] != 0 {
			t.Errorf("events over each socket: %v", events)
		}
		if stats := u.Stats(); stats.Events != 35 || stats.Renewals != 4 || stats.Datagrams != stats.Frames {
			t.Errorf("stats %+v", stats)
		}
	})
}

// The answer that nobody listens comes in place of sending the next datagram.
// It is for the one before: that one is lost, and the next is sent all the same.
func TestUDPRenewsASocketThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s taps
		refusals := 0
		s.each = func(socket, write int) error {
			if socket == 0 && write == 5 { // the third with events
				refusals++
				return syscall.ECONNREFUSED
			}
			return nil
		}
		u := renewing(t, &s, Options{})
		time.Sleep(500 * time.Millisecond)
		for range 2 {
			add(t, u, Event{Content: 1, User: 1})
			add(t, u, Event{Content: 2, User: 1})
			_ = u.Flush()
		}
		time.Sleep(600 * time.Millisecond)
		for range 3 {
			add(t, u, Event{Content: 1, User: 1})
			_ = u.Flush()
			time.Sleep(time.Millisecond)
		}
		err := u.Close(t.Context())
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Close: %v", err)
		}
		if events := s.check(t); !slices.Equal(events, []int{5, 2}) {
			t.Errorf("events over each socket: %v", events)
		}
		if stats := u.Stats(); refusals != 1 || stats.Events != 7 || stats.Unreachable != 2 || stats.Dropped != 0 || stats.Renewals != 1 {
			t.Errorf("%d refusals, stats %+v", refusals, stats)
		}
	})
}

// Where the collector is away, there is a new socket each second at most, and
// every event that its host has answered for is known to be lost.
func TestUDPWhileNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s taps
		pending := map[int]bool{}
		s.each = func(socket, _ int) error {
			if pending[socket] = !pending[socket]; !pending[socket] {
				return syscall.ECONNREFUSED
			}
			return nil
		}
		u := renewing(t, &s, Options{})
		for range 1000 {
			add(t, u, Event{Content: 1, User: 1})
			_ = u.Flush()
			time.Sleep(10 * time.Millisecond)
		}
		if err := u.Close(t.Context()); err == nil {
			t.Error("Close says nothing")
		}
		if stats := u.Stats(); stats.Events != 1000 || stats.Unreachable != 1000 || stats.Renewals < 5 || stats.Renewals > 10 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// A name that cannot be resolved now leaves the old socket, and is tried again.
func TestUDPKeepsItsSocketWhileTheNameDoesNotResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s taps
		u := renewing(t, &s, Options{SocketAge: 2 * time.Second})
		failing := func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fail = err
		}
		failing(errors.New("no such host"))
		for i := range 10 {
			if i == 8 {
				failing(nil)
			}
			add(t, u, Event{Content: 1, User: 1})
			time.Sleep(time.Second)
		}
		if err := u.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		events := s.check(t)
		if len(events) != 2 || events[0]+events[1] != 10 || u.Stats().SendErrors != 0 {
			t.Errorf("events over each socket: %v, %+v", events, u.Stats())
		}
	})
}

// Over the kernel's sockets: a collector that comes back on its port is sent to
// over another socket, under another source.
func TestUDPLoopbackRenewal(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	u, err := DialUDP(t.Context(), conn.LocalAddr().String(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, wire.FrameSizeMax)
	receive := func() (from string, source uint64) {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, a, err := conn.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := wire.ParseHeader(b[:n])
		return a.String(), h.Source
	}
	from, source := receive()
	// As if a collector had gone and its host had said so.
	u.sender.mu.Lock()
	u.born = u.born.Add(-renewWait)
	u.renewSoon(time.Now())
	u.sender.mu.Unlock()
	for {
		nowFrom, nowSource := receive()
		if (nowFrom == from) != (nowSource == source) {
			t.Fatalf("source %x from %s, and %x from %s", source, from, nowSource, nowFrom)
		}
		if nowFrom != from {
			break
		}
	}
	if err := u.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
