//go:build go1.26

package emit

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

// wireTap is a connection that keeps what is written, and fails on demand.
type wireTap struct {
	net.Conn // nil: nothing else is called
	writes   [][]byte
	at       []time.Duration // of each write, since the tap was made
	began    time.Time
	fail     func(n int) error // asked before the nth write, if set
	asked    int
}

func (w *wireTap) Write(b []byte) (int, error) {
	w.asked++
	if w.fail != nil {
		if err := w.fail(w.asked - 1); err != nil {
			return 0, err
		}
	}
	w.writes = append(w.writes, slices.Clone(b))
	w.at = append(w.at, time.Since(w.began))
	return len(b), nil
}

func (w *wireTap) Close() error { return nil }

// tapped returns an emitter that writes to a tap.
func tapped(t *testing.T, o Options) (*UDP, *wireTap) {
	t.Helper()
	tap := &wireTap{began: time.Now()}
	u, err := dialUDP(t.Context(), "tap", func(context.Context) (net.Conn, error) { return tap, nil }, o)
	if err != nil {
		t.Fatal(err)
	}
	return u, tap
}

func add(t *testing.T, to interface{ Add(Event) error }, e Event) {
	t.Helper()
	if err := to.Add(e); err != nil {
		t.Fatal(err)
	}
}

func TestUDPClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, tap := tapped(t, Options{})
		time.Sleep(3500 * time.Millisecond)
		add(t, u, Event{Time: instant + 1, Content: 1, User: 1})
		time.Sleep(60 * time.Millisecond)
		add(t, u, Event{Time: instant + 2, Content: 2, User: 2})
		time.Sleep(3440 * time.Millisecond) // to 7 s
		if err := u.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		const ms = time.Millisecond
		want := []time.Duration{
			0, 0, 0, 1000 * ms, 3000 * ms, // opening beats, beats in silence
			3600 * ms,            // both events, when the first is 100 ms old
			4600 * ms, 6600 * ms, // silence again
			7000 * ms, 7020 * ms, 7040 * ms, // final beats
		}
		if !slices.Equal(tap.at, want) {
			t.Errorf("datagrams went out at\n%v, want\n%v", tap.at, want)
		}
		headers, _ := unpack(t, slices.Concat(tap.writes...))
		checkNumbers(t, headers)
		for i, h := range headers {
			if want := map[int]int{5: 2}[i]; h.Count != want {
				t.Errorf("datagram %d has %d events, want %d", i, h.Count, want)
			}
		}
		stats := Stats{Events: 2, Frames: 11, Datagrams: 11, Bytes: uint64(len(slices.Concat(tap.writes...)))}
		if got := u.Stats(); got != stats {
			t.Errorf("stats %+v, want %+v", got, stats)
		}
		if err := u.Add(Event{}); err != ErrClosed {
			t.Errorf("Add after Close: %v", err)
		}
		if err := u.Flush(); err != ErrClosed {
			t.Errorf("Flush after Close: %v", err)
		}
		time.Sleep(time.Hour)
		if len(tap.writes) != len(want) {
			t.Errorf("%d datagrams after Close", len(tap.writes)-len(want))
		}
	})
}

func TestUDPSteadyStreamNeedsNoBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, tap := tapped(t, Options{FlushAge: 300 * time.Millisecond})
		for i := range int64(100) {
			add(t, u, Event{Time: instant + i, Content: 1, User: 1})
			time.Sleep(250 * time.Millisecond)
		}
		if sent := u.Stats().Events; sent < 98 {
			t.Errorf("%d of 100 events were sent in 25 s", sent)
		}
		_ = u.Close(t.Context())
		headers, _ := unpack(t, slices.Concat(tap.writes...))
		for i, h := range headers {
			if (h.Count == 0) != (i < beats || i >= len(headers)-beats) {
				t.Errorf("datagram %d has %d events", i, h.Count)
			}
		}
	})
}

func TestUDPDatagramSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		u, tap := tapped(t, Options{DatagramSize: 512, Stream: 9})
		var want []Event
		for range 5000 {
			e := randomEvent(r, 1_700_000_000_000)
			add(t, u, e)
			want = append(want, e)
		}
		if err := u.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, w := range tap.writes {
			if len(w) > 512 {
				t.Errorf("datagram %d has %d bytes", i, len(w))
			}
		}
		headers, got := unpack(t, slices.Concat(tap.writes...))
		checkNumbers(t, headers)
		if !slices.Equal(got, want) {
			t.Errorf("%d events went in, %d others came out", len(want), len(got))
		}
	})
}

func TestUDPSendErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, tap := tapped(t, Options{})
		// The second datagram with events and one of the final beats fail.
		full := errors.New("no room")
		tap.asked = 0
		tap.fail = func(n int) error {
			if n == 1 || n == 4 {
				return full
			}
			return nil
		}
		for i := range int64(3) {
			add(t, u, Event{Time: instant + i, Content: 1, User: 1})
			add(t, u, Event{Time: instant + i, Content: 2, User: 1})
			if err := u.Flush(); err != nil {
				t.Errorf("Flush %d: %v", i, err)
			}
		}
		err := u.Close(t.Context())
		if !errors.Is(err, full) {
			t.Errorf("Close: %v", err)
		}
		if again := u.Close(t.Context()); again != err {
			t.Errorf("Close again: %v", again)
		}
		headers, _ := unpack(t, slices.Concat(tap.writes...))
		var sequences, positions []uint64
		for _, h := range headers {
			sequences, positions = append(sequences, h.Sequence), append(positions, h.Position)
		}
		if !slices.Equal(sequences, []uint64{0, 1, 2, 3, 5, 6, 8}) || !slices.Equal(positions, []uint64{0, 0, 0, 0, 4, 6, 6}) {
			t.Errorf("sequences %v, positions %v: what failed must have used its numbers up", sequences, positions)
		}
		s := u.Stats()
		if s.Events != 6 || s.Frames != 9 || s.Datagrams != 7 || s.SendErrors != 2 || s.Dropped != 2 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestUDPTakesBadEventsForWhatTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, _ := tapped(t, Options{})
		if err := u.Add(Event{Kind: 7}); !errors.Is(err, ErrEvent) {
			t.Errorf("a kind without a name: %v", err)
		}
		add(t, u, Event{Time: instant + 1})
		_ = u.Close(t.Context())
		if s := u.Stats(); s.Events != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

// receiver is a UDP socket that keeps all datagrams.
func receiver(t testing.TB) (addr string, stop func() []byte) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.UDPConn).SetReadBuffer(4 << 20) // as much as is granted
	var all []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil || n == 1 {
				return
			}
			all = append(all, b[:n]...)
		}
	}()
	return conn.LocalAddr().String(), func() []byte {
		// One byte is the end: it is queued behind what came before.
		if c, err := net.Dial("udp", conn.LocalAddr().String()); err == nil {
			_, _ = c.Write([]byte{0})
			_ = c.Close()
		}
		<-done
		_ = conn.Close()
		return all
	}
}

func TestUDPLoopback(t *testing.T) {
	addr, stop := receiver(t)
	u, err := DialUDP(t.Context(), addr, Options{Stream: 3})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for user := range uint64(4) {
		wg.Go(func() {
			for i := range int64(250) {
				if err := u.Add(Event{Time: instant + i, Content: uint64(i), User: user}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := u.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	headers, events := unpack(t, stop())
	checkNumbers(t, headers)
	seen := make(map[Event]int)
	for _, e := range events {
		seen[e]++
	}
	if len(events) != 1000 || len(seen) != 1000 || headers[0].Source != u.Source() || headers[0].Stream != 3 {
		t.Errorf("%d events, %d different; first frame %+v", len(events), len(seen), headers[0])
	}
	last := headers[len(headers)-1]
	if last.Count != 0 || last.Position != 1000 {
		t.Errorf("the last frame is not a beat behind everything: %+v", last)
	}
}

func TestUDPNobodyListens(t *testing.T) {
	u, err := DialUDP(t.Context(), "127.0.0.1:1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(1000) {
		add(t, u, Event{Time: instant + i, Content: uint64(i), User: 1 << 60})
	}
	err = u.Close(t.Context())
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), "none of 1000 events arrived") {
		t.Errorf("Close: %v", err)
	}
	if s := u.Stats(); s.Events != 1000 || s.Unreachable+s.Dropped != 1000 || s.Datagrams+s.SendErrors != s.Frames {
		t.Errorf("stats %+v: all was lost", s)
	}
}

func TestDialRefusesOptions(t *testing.T) {
	udp := func(o Options) error {
		u, err := DialUDP(t.Context(), "127.0.0.1:1", o)
		if err == nil {
			_ = u.Close(t.Context())
		}
		return err
	}
	tcp := func(o Options) error {
		s, err := DialTCP(t.Context(), "127.0.0.1:1", o)
		if err == nil {
			_ = s.Close(t.Context())
		}
		return err
	}
	for _, test := range []struct {
		dial func(Options) error
		o    Options
		want string
	}{
		{udp, Options{Stream: wire.StreamReserved}, "stream 65535"},
		{tcp, Options{Stream: wire.StreamReserved}, "stream 65535"},
		{udp, Options{FlushAge: -1}, "flush age"}, {tcp, Options{FlushAge: -1}, "flush age"},
		{udp, Options{DatagramSize: SizeMin - 1}, "datagram size 66"}, {udp, Options{DatagramSize: DatagramSizeMax + 1}, "datagram size 65508"},
		{udp, Options{SocketAge: -1}, "socket age"}, {udp, Options{SocketAge: 1}, "socket age"},
		{tcp, Options{FrameSize: SizeMin - 1}, "frame size 66"}, {tcp, Options{FrameSize: FrameSizeMax + 1}, "frame size 65520"},
		{tcp, Options{BufferSize: 1}, "buffer size 1"}, {tcp, Options{OnFull: Drop + 1}, "OnFull 3"},
		// What the other way takes.
		{udp, Options{FrameSize: 1000}, "Options.FrameSize"}, {udp, Options{BufferSize: 1 << 20}, "Options.BufferSize"},
		{udp, Options{OnFull: Drop}, "Options.OnFull"}, {udp, Options{Queue: t.TempDir()}, "Options.Queue"},
		{udp, Options{Background: true}, "Options.Background"}, {udp, Options{SourceEnded: func(*SourceEndedError) {}}, "Options.SourceEnded"},
		{tcp, Options{DatagramSize: 1000}, "Options.DatagramSize"}, {tcp, Options{SocketAge: time.Minute}, "Options.SocketAge"},
	} {
		if err := test.dial(test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.o, err, test.want)
		}
	}
}

func TestUDPAddAllocatesNothing(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	u, err := DialUDP(t.Context(), conn.LocalAddr().String(), Options{FlushAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close(context.Background())
	e := Event{Time: 1_700_000_000_000, Content: 1 << 63, User: 1 << 62}
	if n := testing.AllocsPerRun(1000, func() {
		for range 200 {
			e.Content++
			_ = u.Add(e)
		}
	}); n != 0 {
		t.Errorf("%v allocations in 200 events", n)
	}
}

func BenchmarkUDPAdd(b *testing.B) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	u, err := DialUDP(b.Context(), conn.LocalAddr().String(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	e := Event{Time: 1_700_000_000_000, User: 1 << 62, Kind: Read, Dwell: 15_000, Progress: Percent(40)}
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		e.Content, e.User = 1<<63+i, 1<<62+i
		_ = u.Add(e)
	}
	_ = u.Close(b.Context())
}
