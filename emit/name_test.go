//go:build go1.26

package emit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

// namesIn are the names of frames, and how many frames had any.
func namesIn(t *testing.T, frames [][]byte) (all []string, count int) {
	t.Helper()
	next := uint64(0)
	for _, b := range frames {
		h, why := wire.ParseHeader(b)
		if why != wire.Accepted || h.Size != len(b) || h.Sequence != next || h.Count != 0 && h.Type == wire.TypeNames {
			t.Fatalf("a frame is %+v, %v, want sequence %d", h, why, next)
		}
		next++
		if h.Type != wire.TypeNames {
			continue
		}
		count++
		for body := h.Body(b); len(body) > 0; {
			var n wire.Name
			if n, body, why = wire.ReadName(body); why != wire.Accepted {
				t.Fatal(why)
			}
			all = append(all, fmt.Sprint(n.Attribute, " ", n.Content, " ", string(n.Text)))
		}
	}
	return all, count
}

// Over UDP a name goes out once an hour, in a datagram of its own, and one that no
// collector takes not at all.
func TestUDPName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, tap := tapped(t, Options{SocketAge: 10000 * time.Hour})
		say := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		a := fmt.Sprint("name ", ID("/a"), " /a")
		for range 3 {
			add(t, u, Event{Time: instant, Content: ID("/a")})
			say(u.Name("/a"))
		}
		say(u.Describe(42, Title, "A"))
		time.Sleep(FlushAgeDefault)
		synctest.Wait()
		got, frames := namesIn(t, tap.writes)
		if want := []string{a, "title 42 A"}; !slices.Equal(got, want) || frames != 1 || len(tap.writes) != beats+2 {
			t.Errorf("%q in %d frames of %d, want %q", got, frames, len(tap.writes), want)
		}
		say(u.Describe(42, Title, "B"))
		time.Sleep(59 * time.Minute)
		say(u.Name("/a"))
		say(u.Describe(42, Title, "B"))
		time.Sleep(2 * time.Minute)
		say(u.Name("/a"))
		say(u.Describe(42, Words, "1200"))
		say(u.Flush())
		got, frames = namesIn(t, tap.writes)
		if want := []string{a, "title 42 A", "title 42 B", a, "words 42 1200"}; !slices.Equal(got, want) || frames != 3 {
			t.Errorf("an hour later: %q in %d frames, want %q", got, frames, want)
		}
		for _, err := range []error{
			u.Name(""), u.Name(strings.Repeat("x", 513)), u.Name("\xff"), u.Describe(1, Words, "many"), u.Describe(1, Published, "-1"),
			u.Describe(1, wire.Attributes, "x"), u.Describe(1, wire.AttributeName, "x"),
		} {
			if !errors.Is(err, ErrName) {
				t.Errorf("no such name: %v", err)
			}
		}
		for n := range 100 {
			say(u.Name(fmt.Sprintf("/%0100d", n)))
		}
		say(u.Close(t.Context()))
		if got, frames = namesIn(t, tap.writes); len(got) != 105 || frames != 3+9 {
			t.Errorf("%d names in %d frames", len(got), frames)
		}
		if err := u.Name("/late"); err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
		small, _ := tapped(t, Options{DatagramSize: SizeMin})
		if err := small.Name("/a-name-that-is-too-long-for-it"); !errors.Is(err, ErrName) {
			t.Errorf("a name that fits no datagram: %v", err)
		}
		say(small.Close(t.Context()))
	})
}

// Over TCP a name is kept until it is acknowledged, and sent once a day.
func TestTCPName(t *testing.T) {
	f := newFake(nil)
	addr, stop, err := listenFake(f)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	s, err := DialTCP(t.Context(), addr, Options{FrameSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 500 {
		if err := errors.Join(s.Name(fmt.Sprint("/", n%100)), s.Describe(42, Title, "A")); err != nil {
			t.Fatal(err)
		}
		add(t, s, Event{Time: instant, User: uint64(n)})
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range f.check(500, s.Stats()) {
		t.Error(bad)
	}
	if len(f.named) != 101 || f.named["name /99"] != 1 || f.named["title A"] != 1 {
		t.Errorf("%d names came: %v", len(f.named), f.named)
	}
	if err := s.Name("/late"); err != ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

// Names that were not acknowledged are in the queue's file, and the next emitter
// sends them.
func TestNamesInQueue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	f := newFake(nil)
	addr, stop, err := listenFake(f)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	away := func(context.Context) (net.Conn, error) { return nil, io.ErrUnexpectedEOF }
	o := queueOptions(dir)
	o.Background = true
	s, err := dialTCP(t.Context(), addr, away, o)
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, Event{Time: instant, User: 0})
	if err := errors.Join(s.Name("/a"), s.Flush(), s.Name("/b")); err != nil {
		t.Fatal(err)
	}
	add(t, s, Event{Time: instant, User: 1})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ended); err == nil {
		t.Fatal("nobody was there")
	}
	s, err = DialTCP(t.Context(), addr, queueOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, Event{Time: instant, User: 2})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range f.check(3, s.Stats()) {
		t.Error(bad)
	}
	if f.named["name /a"] != 1 || f.named["name /b"] != 1 {
		t.Errorf("names came: %v", f.named)
	}
}

// A collector from before there were names refuses their type. Events go on, and
// no name is sent again.
func TestCollectorWithoutNames(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refusals, events := make(chan int, 1), make(chan int, 1)
	go func() {
		refused, counted := 0, 0
		for {
			conn, err := l.Accept()
			if err != nil {
				refusals <- refused
				events <- counted
				return
			}
			frame := make([]byte, wire.FrameSizeMax)
			for {
				if _, err := io.ReadFull(conn, frame[:wire.HeaderSize]); err != nil {
					break
				}
				h, _ := wire.ParseHeader(frame)
				_, _ = io.ReadFull(conn, frame[wire.HeaderSize:h.Size])
				if h.Type == wire.TypeNames {
					refused++
					_, _ = conn.Write(wire.AppendRefusal(nil, wire.Header{}, 0, wire.RefusedType, ""))
					break
				}
				ack := wire.Ack{Credit: 1 << 20, Spool: 5}
				if h.Type == wire.TypeEvents {
					counted += h.Count
				}
				ack.Durable = h.Sequence + 1
				if h.Type == wire.TypeHello {
					ack.Durable = 0
				}
				_, _ = conn.Write(wire.AppendAck(nil, h.Stream, h.Source, 0, ack))
			}
			_ = conn.Close()
		}
	}()
	s, err := DialTCP(t.Context(), l.Addr().String(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		add(t, s, Event{Time: instant, User: uint64(n)})
		if err := errors.Join(s.Name(fmt.Sprint("/", n)), s.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if n, counted := <-refusals, <-events; n != 1 || counted != 20 {
		t.Errorf("names were refused %d times, %d events counted", n, counted)
	}
}

// What was said is remembered in bounded memory, and asking costs no allocation.
func TestSaidIsBounded(t *testing.T) {
	u, tap := tapped(t, Options{SocketAge: time.Hour})
	defer u.Close(t.Context())
	name := strings.Repeat("/a-long-path", 8)
	if err := u.Name(name); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { _ = u.Name(name) }); n != 0 {
		t.Errorf("%v allocations for a name that was said", n)
	}
	heap := func() uint64 {
		tap.writes, tap.at = nil, nil
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for n := range 1_000_000 {
		if err := u.Name(fmt.Sprint("/an-article-", n)); err != nil {
			t.Fatal(err)
		}
		if n%1000 == 0 {
			tap.writes, tap.at = nil, nil
		}
	}
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Errorf("a million names take %d bytes", grown)
	}
}
