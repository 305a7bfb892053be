//go:build go1.26

package emit

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

// scripted returns an emitter whose nth connection speaks with the nth script,
// the last again and again.
func scripted(t *testing.T, o Options, scripts ...func(net.Conn)) (*TCP, error) {
	t.Helper()
	var n atomic.Int64
	return dialTCP(t.Context(), "script", func(context.Context) (net.Conn, error) {
		script := scripts[min(int(n.Add(1)), len(scripts))-1]
		a, b := net.Pipe()
		go func() {
			defer b.Close()
			script(b)
		}()
		return a, nil
	}, o)
}

func readFrame(conn io.Reader) (wire.Header, []byte) {
	b := make([]byte, wire.FrameSizeMax)
	if _, err := io.ReadFull(conn, b[:wire.HeaderSize]); err != nil {
		return wire.Header{}, nil
	}
	h, _ := wire.ParseHeader(b)
	_, _ = io.ReadFull(conn, b[wire.HeaderSize:h.Size])
	return h, b[:h.Size]
}

func sendAck(conn net.Conn, source, durable, credit uint64) {
	_, _ = conn.Write(wire.AppendAck(nil, 0, source, 0, wire.Ack{Durable: durable, Credit: credit}))
}

func hello(conn net.Conn, credit uint64) wire.Header {
	h, _ := readFrame(conn)
	sendAck(conn, h.Source, 0, credit)
	return h
}

func TestTCPLoopback(t *testing.T) {
	f := newFake(nil)
	addr, stop, err := listenFake(f)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	s, err := DialTCP(t.Context(), addr, Options{Stream: 4, FrameSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for part := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(5000) {
				if err := s.Add(Event{Time: instant + int64(i), Content: i, User: 5000*part + i, Kind: Read, Dwell: 5}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("Close again: %v", err)
	}
	stats := s.Stats()
	if stats.Acked != 20_000 || stats.Reconnects != 0 || stats.Bytes == 0 || s.Err() != nil {
		t.Errorf("stats %+v, %v", stats, s.Err())
	}
	for _, bad := range f.check(20_000, stats) {
		t.Error(bad)
	}
	if err := s.Add(Event{}); err != ErrClosed {
		t.Errorf("Add after Close: %v", err)
	}
	if err := s.Flush(); err != ErrClosed {
		t.Errorf("Flush after Close: %v", err)
	}
}

// Events come out as they went in, in frames that name their oldest time.
func TestTCPEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []byte
		s, err := scripted(t, Options{FrameSize: 1000}, func(conn net.Conn) {
			source := hello(conn, 1<<20).Source
			for {
				h, frame := readFrame(conn)
				if frame == nil {
					return
				}
				got = append(got, frame...)
				sendAck(conn, source, h.Sequence+1, 1<<20)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []Event{
			{Time: instant + 5000, Content: 1 << 60, User: 2, Kind: Finish, Dwell: 1 << 30, Progress: Percent(100)},
			{Time: instant + 4000, Content: 1 << 60, User: 2, Kind: Read},
			{Time: instant + 9000, Content: 0, User: 0, Kind: Share, Progress: Percent(0)},
		}
		for _, e := range want {
			add(t, s, e)
		}
		if err := s.Add(Event{Kind: 7}); !errors.Is(err, ErrEvent) {
			t.Errorf("a kind without a name: %v", err)
		}
		time.Sleep(FlushAgeDefault) // without Flush or Close
		synctest.Wait()
		if s.Stats().Acked != 3 {
			t.Errorf("stats %+v", s.Stats())
		}
		time.Sleep(3500 * time.Millisecond) // beats after 1 s and 2 s more
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		headers, events := unpack(t, got)
		checkNumbers(t, headers)
		want[0].Dwell = wire.DwellMax
		if len(headers) != 3 || len(events) != 3 || events[0] != want[0] || events[1] != want[1] || events[2] != want[2] {
			t.Errorf("%d frames, events %+v", len(headers), events)
		}
	})
}

func TestTCPDialFails(t *testing.T) {
	for name, test := range map[string]struct {
		script func(net.Conn)
		want   string
	}{
		"no acks": {func(c net.Conn) {
			h, _ := readFrame(c)
			_, _ = c.Write(wire.AppendRefusal(nil, h, 0, wire.RefusedUnexpected, ""))
		}, "does not acknowledge"},
		"full": {func(c net.Conn) { readFrame(c) }, "it may be full"},
		"connections": {func(c net.Conn) {
			readFrame(c)
			_, _ = c.Write(wire.AppendRefusal(nil, wire.Header{}, 0, wire.RefusedConnections, "it has all\x1b[2J"))
		}, `connections: "it has all\x1b[2J"`},
		"foreign": {func(c net.Conn) {
			readFrame(c)
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		}, "check the address"},
		"another source": {func(c net.Conn) { readFrame(c); sendAck(c, 1, 0, 0) }, "check the address"},
		"silent":         {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "did not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := scripted(t, Options{}, test.script)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v", err)
				}
			})
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	if _, err := DialTCP(t.Context(), addr, Options{}); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), addr) {
		t.Errorf("nobody listens: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DialTCP(ctx, addr, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}

// Without acks a full buffer does what it was told, and Close says what is left.
func TestTCPFull(t *testing.T) {
	for _, onFull := range []OnFull{Block, Fail, Drop} {
		synctest.Test(t, func(t *testing.T) {
			s, err := scripted(t, Options{FrameSize: 100, BufferSize: 1000, OnFull: onFull}, func(conn net.Conn) {
				hello(conn, 0)
				_, _ = io.Copy(io.Discard, conn)
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for i := uint64(0); err == nil && i < 1000; i++ {
				err = s.AddContext(ctx, Event{Time: instant + 1, Content: i, User: i})
			}
			if want := map[OnFull]error{Block: context.DeadlineExceeded, Fail: ErrFull}[onFull]; err != want {
				t.Errorf("Add: %v, want %v", err, want)
			}
			stats := s.Stats()
			if (stats.Dropped > 0) != (onFull == Drop) || stats.Buffered == 0 || stats.Events != stats.Buffered+stats.Dropped {
				t.Errorf("stats %+v", stats)
			}
			waiting := make(chan error, 1)
			if onFull == Block { // Close ends it
				go func() { waiting <- s.Add(Event{Content: 1 << 60, User: 1 << 60}) }()
				synctest.Wait()
			} else {
				waiting <- ErrClosed
			}
			closeCtx, cancelClose := context.WithTimeout(t.Context(), time.Minute)
			defer cancelClose()
			if err := s.Close(closeCtx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Close: %v", err)
			}
			if err := <-waiting; err != ErrClosed {
				t.Errorf("an Add that waited: %v", err)
			}
		})
	}
}

// A small credit is obeyed to the byte; when it is smaller than a frame, one
// frame at a time goes.
func TestTCPCredit(t *testing.T) {
	for _, credit := range []uint64{1, 44, 87, 88, 150, 1 << 63, 1<<64 - 1} {
		synctest.Test(t, func(t *testing.T) {
			most := min(max(credit/44, 1), 10)
			s, err := scripted(t, Options{}, func(conn net.Conn) {
				source := hello(conn, credit).Source
				durable, inFlight := uint64(0), uint64(0)
				frames := make(chan wire.Header)
				go func() {
					for {
						h, b := readFrame(conn)
						if b == nil {
							close(frames)
							return
						}
						frames <- h
					}
				}()
				for {
					select {
					case _, ok := <-frames:
						if !ok {
							return
						}
						inFlight++
					case <-time.After(100 * time.Millisecond):
						if inFlight > most || inFlight < min(most, 10-durable) {
							t.Errorf("credit %d: %d frames in flight, want %d", credit, inFlight, most)
						}
						durable += inFlight
						inFlight = 0
						sendAck(conn, source, durable, credit)
						if durable == 10 {
							_, _ = io.Copy(io.Discard, conn)
							return
						}
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				add(t, s, Event{Content: 1, User: 2}) // 44 bytes
				_ = s.Flush()
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A collector that says nothing more is left, and what it had not acknowledged
// comes again over the next connection.
func TestTCPSilentCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s, err := scripted(t, Options{}, func(conn net.Conn) {
			hello(conn, 1000)
			_, _ = io.Copy(io.Discard, conn)
		}, func(conn net.Conn) {
			source := hello(conn, 1000).Source
			h, _ := readFrame(conn)
			sendAck(conn, source, h.Sequence+1, 1000)
			_, _ = io.Copy(io.Discard, conn)
		})
		if err != nil {
			t.Fatal(err)
		}
		add(t, s, Event{})
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < silenceMax || took > silenceMax+time.Second {
			t.Errorf("it took %v", took)
		}
		if stats := s.Stats(); stats.Acked != 1 || stats.Reconnects != 1 {
			t.Errorf("stats %+v", stats)
		}
	})
}

// Refusals of the moment are waited out, longer each time; nothing is counted as
// refused.
func TestTCPRefusalsOfTheMoment(t *testing.T) {
	for _, why := range []wire.Refusal{wire.RefusedConnections, wire.RefusedSources, wire.RefusedIdle, wire.RefusedCredit, wire.RefusedShort} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			refuse := func(conn net.Conn) {
				hello(conn, 1000)
				h, _ := readFrame(conn)
				if why == wire.RefusedShort {
					h = wire.Header{}
				}
				_, _ = conn.Write(wire.AppendRefusal(nil, h, 0, why, ""))
			}
			s, err := scripted(t, Options{}, refuse, refuse, refuse, refuse, refuse, refuse, refuse, refuse, refuse, func(conn net.Conn) {
				source := hello(conn, 1000).Source
				h, _ := readFrame(conn)
				sendAck(conn, source, h.Sequence+1, 1000)
				_, _ = io.Copy(io.Discard, conn)
			})
			if err != nil {
				t.Fatal(err)
			}
			add(t, s, Event{})
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if stats := s.Stats(); stats.Acked != 1 || stats.Refused != 0 || stats.Reconnects != 9 {
				t.Errorf("%v: stats %+v", why, stats)
			}
			// 0.1 + 0.2 + … + 6.4 + 10 + 10 s, and half of it at least.
			if took := time.Since(began); took < 16*time.Second || took > 33*time.Second {
				t.Errorf("%v: it took %v", why, took)
			}
		})
	}
}

// What was first sent on the connection that is told "forgotten" was not
// counted, so it goes to the new source; what was sent before is unsure.
func TestTCPForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, last uint64
		proceed := make(chan bool)
		s, err := scripted(t, Options{}, func(conn net.Conn) {
			first = hello(conn, 1000).Source
			readFrame(conn)
			sendAck(conn, first, 1, 1000)
			readFrame(conn) // not acknowledged
			proceed <- true
			<-proceed
		}, func(conn net.Conn) {
			hello(conn, 1000)
			h, _ := readFrame(conn)
			if h.Sequence != 1 {
				t.Errorf("sequence %d", h.Sequence)
			}
			readFrame(conn)
			_, _ = conn.Write(wire.AppendRefusal(nil, h, 0, wire.RefusedForgotten, ""))
		}, func(conn net.Conn) {
			last = hello(conn, 1000).Source
			h, _ := readFrame(conn)
			if h.Source != last || h.Sequence != 0 || h.Position != 0 || h.Count != 3 {
				t.Errorf("the first frame of the new source: %+v", h)
			}
			sendAck(conn, last, 1, 1000)
			_, _ = io.Copy(io.Discard, conn)
		})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			for range n + 1 {
				add(t, s, Event{User: uint64(n)})
			}
			if n == 2 { // between two connections
				<-proceed
				proceed <- true
				synctest.Wait()
			}
			_ = s.Flush()
			synctest.Wait()
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if stats := s.Stats(); stats.Acked != 4 || stats.Unsure != 2 || first == last || s.Source() != last {
			t.Errorf("stats %+v, sources %x and %x", stats, first, last)
		}
	})
}

func TestTCPAddAllocatesNothing(t *testing.T) {
	f := newFake(nil)
	f.credit = 0
	addr, stop, err := listenFake(f)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	s, err := DialTCP(t.Context(), addr, Options{FlushAge: time.Hour, OnFull: Drop})
	if err != nil {
		t.Fatal(err)
	}
	e := Event{Time: 1_700_000_000_000, Content: 1 << 63, User: 1 << 62}
	if n := testing.AllocsPerRun(200, func() {
		for range 1000 {
			e.Content++
			_ = s.Add(e)
		}
	}); n != 0 {
		t.Errorf("%v allocations in 1000 events", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Close(ctx)
}

// discard is a collector that acknowledges every frame at once.
func discard(conn net.Conn) {
	defer conn.Close()
	b := make([]byte, wire.FrameSizeMax)
	source := hello(conn, 8<<20).Source
	for {
		if _, err := io.ReadFull(conn, b[:wire.HeaderSize]); err != nil {
			return
		}
		h, _ := wire.ParseHeader(b)
		if _, err := io.ReadFull(conn, b[wire.HeaderSize:h.Size]); err != nil {
			return
		}
		sendAck(conn, source, h.Sequence+1, 8<<20)
	}
}

func BenchmarkTCPAdd(b *testing.B) {
	for _, name := range []string{"memory", "queue"} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go discard(conn)
				}
			}()
			var o Options
			if name == "queue" {
				o.Queue = b.TempDir()
			}
			s, err := DialTCP(b.Context(), l.Addr().String(), o)
			if err != nil {
				b.Fatal(err)
			}
			e := Event{Time: 1_700_000_000_000, Kind: Read, Dwell: 15_000, Progress: Percent(40)}
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
		})
	}
}

// A frame may be due before the emitter is made. The race detector looks at it.
func TestFlushAgeIsOverAtOnce(t *testing.T) {
	nowhere := func(context.Context) (net.Conn, error) { return nil, errors.New("nobody is there") }
	for range 200 {
		c, err := dialTCP(t.Context(), "nowhere", nowhere, Options{FlushAge: 1, Background: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
