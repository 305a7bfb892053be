package collector

import (
	"github.com/lectern/lectern/internal/poll"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// service is an address behind which collectors follow one another, as a Service
// of Kubernetes has it: a connection stays with the one that it was made to.
// What clients send to the one that is stalled stays on its way for ever.
type service struct {
	net.Listener
	behind, stalled atomic.Pointer[Collector]
}

func newService(t *testing.T, c *Collector) *service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{Listener: l}
	s.behind.Store(c)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go s.forward(in)
		}
	}()
	return s
}

func (s *service) forward(in net.Conn) {
	defer in.Close()
	to := s.behind.Load()
	out, err := net.Dial("tcp", to.Address())
	if err != nil {
		return
	}
	defer out.Close()
	go func() {
		_, _ = io.Copy(in, out)
		_ = in.(*net.TCPConn).CloseWrite()
	}()
	for b := make([]byte, 1000); ; {
		n, err := in.Read(b)
		if s.stalled.Load() != to {
			_, _ = out.Write(b[:n])
		}
		if err != nil {
			_ = out.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// A collector that ends leaves no session in doubt, though the one that follows
// has a spool of its own and knows none of its sources: what it had read is
// acknowledged, and what was sent behind that goes to the other, under a new
// source. Nothing is unsure, nothing is booked as refused, each event is stored
// once.
func TestDrainLeavesNoDoubt(t *testing.T) {
	const clients, before, after, most = 8, 1000, 1000, 10_000_000
	elder, newcomer := start(t, nil), start(t, nil)
	s := newService(t, elder.Collector)
	var all sync.WaitGroup
	var stats [clients]emit.Stats
	busy, ended := make(chan struct{}, clients), make(chan struct{})
	for i := range clients {
		out, err := emit.DialTCP(t.Context(), s.Addr().String(), emit.Options{Stream: 1, FrameSize: 1000, FlushAge: time.Millisecond, BufferSize: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			left := most
			for n := 0; n < left; n++ {
				if err := out.Add(emit.Event{Content: 1, User: uint64(i*most + n), Time: epoch.UnixMilli()}); err != nil {
					t.Error(err)
				}
				if n == before {
					busy <- struct{}{}
				}
				select {
				case <-ended:
					left = min(left, n+after)
				default:
				}
			}
			if err := out.Close(t.Context()); err != nil {
				t.Error(err)
			}
			stats[i] = out.Stats()
		})
	}
	for range clients {
		<-busy
	}
	s.behind.Store(newcomer.Collector)
	s.stalled.Store(elder.Collector)
	elder.stop()
	close(ended)
	all.Wait()
	newcomer.stop()

	for i, x := range stats {
		if x.Acked != x.Events || x.Unsure+x.Refused+x.Dropped != 0 {
			t.Errorf("client %d: %+v", i, x)
		}
	}
	stored := map[uint64]uint64{}
	for _, e := range []*ear{elder.ear, newcomer.ear} {
		b := e.book(1)
		if b.RefusedEvents() != 0 || b.Counts[storage.Duplicate] != 0 || !b.Balanced() {
			t.Errorf("%+v", b)
		}
		for _, r := range e.rows {
			stored[r.User] += r.Events()
		}
	}
	for i := range stats {
		for n := range stats[i].Events {
			if user := uint64(i*most) + n; stored[user] != 1 {
				t.Fatalf("event %d of client %d is stored %d times", n, i, stored[user])
			}
		}
	}
	if b := newcomer.book(1); b.Counts[storage.Accepted] == 0 || elder.book(1).Counts[storage.Accepted] == 0 {
		t.Errorf("one of the two counted nothing: %+v", b)
	}
}

// final reads acks up to the last one.
func (c *client) final() wire.Ack {
	c.Helper()
	for {
		if a := c.ack(); a.Final {
			return a
		}
	}
}

// A final ack covers all that was taken, of a session that never sent anything as
// of one that an older connection of the same source still fed; where the last
// seal fails, there is none.
func TestFinalAck(t *testing.T) {
	r := start(t, func(o *Options) { o.CutInterval = time.Hour })
	silent, _ := hello(t, r, 1, 8)
	older, _ := hello(t, r, 1, 9)
	newer, _ := hello(t, r, 1, 9)
	write(t, older, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	write(t, older, frameOf(1, 9, 1, 3, epoch, opens(3)...))
	poll.Until(t, "it is counted", func() bool { return r.sourceNext(9) == 2 })
	go r.stop()
	if a := silent.final(); a != (wire.Ack{Final: true}) {
		t.Errorf("whoever sent nothing is told %+v", a)
	}
	if a := newer.final(); a != (wire.Ack{Durable: 2, Final: true}) {
		t.Errorf("the newer connection is told %+v", a)
	}
	for _, c := range []*client{silent, newer} {
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
			t.Errorf("behind the final ack: %x, %v", b, err)
		}
	}
}

// An ack goes out when the sink says that the cut is durable, and does not wait until it
// has done with it: not that of a cut that had to be sealed again either.
func TestAckComesWhenTheCutIsDurable(t *testing.T) {
	b := newBench(1, func(o *Options) { o.CreditMax = 1 << 20 })
	l := &wireline{came: wire.AppendHello(nil, 1, 9, 0)}
	s := b.shards[0]
	s.OnOpen(l)
	s.OnTraffic(l)
	told := func() (durable uint64) {
		for frames := l.down; len(frames) > 0; {
			h, _ := wire.ParseHeader(frames)
			if a, why := wire.ParseAck(&h, h.Body(frames)); h.Type == wire.TypeAck && why == wire.Accepted {
				durable = max(durable, a.Durable)
			}
			frames = frames[h.Size:]
		}
		return durable
	}
	for frame, fails := range []bool{false, true, false} {
		sequence := uint64(frame)
		l.came = frameOf(1, 9, sequence, sequence*3, b.now, opens(3)...)
		s.OnTraffic(l)
		takes := 0
		b.taken = func(seal *storage.Seal) {
			if takes++; told() != sequence+1 || len(seal.Rows) != 3 {
				t.Errorf("when %d rows of frame %d are taken, %d frames are acknowledged", len(seal.Rows), sequence, told())
			}
		}
		if b.fails = fails; fails {
			b.cuts.cut(causeTime)
			b.fails = false
			if takes > 0 || told() != sequence {
				t.Errorf("frame %d is not sealed: taken %d times, %d frames acknowledged", sequence, takes, told())
			}
			if err := b.Retry(); err != nil {
				t.Fatal(err)
			}
		} else {
			b.cuts.cut(causeTime)
		}
		if takes != 1 {
			t.Errorf("frame %d: taken %d times", sequence, takes)
		}
	}
}

// What is not durable in the end is not said to be all.
func TestNoFinalAckBeforeTheSeal(t *testing.T) {
	b := newBench(1, func(o *Options) { o.CreditMax = 1 << 20 })
	l := &wireline{came: wire.AppendHello(nil, 1, 9, 0)}
	s := b.shards[0]
	s.OnOpen(l)
	s.OnTraffic(l)
	l.came = frameOf(1, 9, 0, 0, b.now, opens(3)...)
	s.OnTraffic(l)
	b.fails = true
	s.dismiss()
	b.cuts.cut(causeStop)
	l.down = nil
	s.farewell(false)
	if len(l.down) > 0 {
		t.Errorf("the client is told %x", l.down)
	}
	s.farewell(true) // also by its own state
	if len(l.down) > 0 {
		t.Errorf("the client is told %x", l.down)
	}
	b.fails = false
	b.cuts.cut(causeStop)
	l.down = nil
	s.farewell(true)
	if h, _ := wire.ParseHeader(l.down); h.Type != wire.TypeAck {
		t.Errorf("after the seal it is told %x", l.down)
	}
}
