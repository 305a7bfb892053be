package collector

import (
	"github.com/lectern/lectern/internal/poll"
	"io"
	"net"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// client is the client's side of a session, byte by byte.
type client struct {
	*testing.T
	net.Conn
}

// frame reads a whole frame.
func (c *client) frame() (wire.Header, []byte) {
	c.Helper()
	b := make([]byte, wire.FrameSizeMax)
	if _, err := io.ReadFull(c, b[:wire.HeaderSize]); err != nil {
		c.Fatalf("waiting for a frame: %v", err)
	}
	h, why := wire.ParseHeader(b)
	if why != wire.Accepted {
		c.Fatalf("the collector sent %x: %v", b[:wire.HeaderSize], why)
	}
	if _, err := io.ReadFull(c, b[wire.HeaderSize:h.Size]); err != nil {
		c.Fatal(err)
	}
	return h, b[:h.Size]
}

func (c *client) next() (wire.Header, []byte) {
	c.Helper()
	h, frame := c.frame()
	return h, h.Body(frame)
}

func (c *client) ack() wire.Ack {
	c.Helper()
	h, body := c.next()
	a, why := wire.ParseAck(&h, body)
	if h.Type != wire.TypeAck || why != wire.Accepted {
		c.Fatalf("not an ack: %+v %x", h, body)
	}
	return a
}

// until reads acks up to one that says so much.
func (c *client) until(durable uint64) wire.Ack {
	c.Helper()
	for before := uint64(0); ; {
		a := c.ack()
		if a.Durable < before {
			c.Errorf("an ack of %d after one of %d", a.Durable, before)
		}
		if before = a.Durable; before >= durable {
			return a
		}
	}
}

// hello begins a session.
func hello(t *testing.T, r *running, stream uint16, source uint64) (*client, wire.Ack) {
	t.Helper()
	c := &client{t, dial(t, "tcp", r.Address())}
	write(t, c, wire.AppendHello(nil, stream, source, 0))
	return c, c.ack()
}

func TestSessionIsAcknowledged(t *testing.T) {
	r := start(t, nil)
	c, a := hello(t, r, 1, 9)
	if a != (wire.Ack{Durable: 0, Credit: 1 << 20}) {
		t.Errorf("the first ack is %+v", a)
	}
	for i := range uint64(10) {
		write(t, c, frameOf(1, 9, i, i*3, epoch, opens(3)...))
	}
	if a := c.until(10); a.Durable != 10 {
		t.Errorf("%d frames acknowledged of 10", a.Durable)
	}
	// Again on a new connection, from the middle: nothing counts twice.
	again, a := hello(t, r, 1, 9)
	if a.Durable != 10 {
		t.Errorf("a new connection is told %d", a.Durable)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the older connection: %v", err)
	}
	for i := uint64(5); i < 12; i++ {
		write(t, again, frameOf(1, 9, i, i*3, epoch, opens(3)...))
	}
	again.until(12)
	// What the client leaves out is lost.
	write(t, again, frameOf(1, 9, 15, 50, epoch, opens(1)...))
	again.until(16)
	r.stop()
	b := r.book(1)
	if b.Counts[storage.Sent] != 51 || b.Counts[storage.Accepted] != 37 || b.Net(storage.Lost) != 14 || b.Counts[storage.Duplicate] != 15 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// What one collector sealed, the next one knows, and no more.
func TestSessionAfterRestart(t *testing.T) {
	first := start(t, nil)
	c, _ := hello(t, first, 1, 9)
	for i := range uint64(2000) {
		write(t, c, frameOf(1, 9, i, i, epoch, opens(1)...))
	}
	c.until(2000)
	first.stop()

	var known []storage.Source
	byID := map[uint64]storage.Source{}
	for _, s := range first.ear.sources {
		byID[s.ID] = s
	}
	for _, s := range byID {
		known = append(known, s)
	}
	second := start(t, func(o *Options) { o.Sources = known })
	c, a := hello(t, second, 1, 9)
	if a.Durable != 2000 {
		t.Errorf("told %d durable, want 2000", a.Durable)
	}
	for i := uint64(500); i < 2005; i++ {
		write(t, c, frameOf(1, 9, i, i, epoch, opens(1)...))
	}
	c.until(2005)
	second.stop()
	if b := second.book(1); b.Counts[storage.Accepted] != 5 || b.Counts[storage.Duplicate] != 1500 || b.Net(storage.Lost) != 0 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// A datagram is taken behind what was recovered only.
func TestDatagramsAfterRestart(t *testing.T) {
	b := newBench(1, nil)
	b.shards[0].sources.restore([]storage.Source{{ID: 9, Stream: 1, Next: 10, End: 100, Newest: 90}})
	b.receive(0, frameOf(1, 9, 9, 90, epoch, opens(10)...))
	b.receive(0, frameOf(1, 9, 2, 20, epoch, opens(10)...))
	b.receive(0, frameOf(1, 9, 12, 120, epoch, opens(10)...))
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 30, storage.Accepted: 10, storage.Lost: 20, storage.Stale: 20}}, 0)
}

func TestSessionRefusals(t *testing.T) {
	r := start(t, func(o *Options) { o.CreditMax = 5000 })
	for _, c := range []struct {
		name  string
		bytes func() []byte
		why   wire.Refusal
	}{
		{"a source that is not known, in the middle", func() []byte { return frameOf(1, 9, 3, 30, epoch, opens(1)...) }, wire.RefusedForgotten},
		{"another source", func() []byte { return frameOf(1, 8, 0, 0, epoch, opens(1)...) }, wire.RefusedSequence},
		{"hello twice", func() []byte { return wire.AppendHello(nil, 1, 9, 0) }, wire.RefusedUnexpected},
		{"more than the credit", func() (b []byte) {
			r.fail(true) // or an ack may come in between
			for i := range uint64(20) {
				b = append(b, frameOf(1, 9, i, i*1000, epoch, opens(1000)...)...)
			}
			return b
		}, wire.RefusedCredit},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, _ := hello(t, r, 1, 9)
			write(t, conn, c.bytes())
			for {
				h, body := conn.next()
				if h.Type == wire.TypeAck {
					continue
				}
				if why, _, _ := wire.ParseRefusalBody(body); why != c.why {
					t.Errorf("refused as %v, want %v", why, c.why)
				}
				break
			}
		})
	}
	r.fail(false)
}

// A client that has used half of its credit is acknowledged before the interval
// is over.
func TestSessionHalfItsCredit(t *testing.T) {
	r := start(t, func(o *Options) { o.CutInterval, o.CreditMax = time.Hour, 100_000 })
	c, _ := hello(t, r, 1, 9)
	frame := func(i uint64) []byte { return frameOf(1, 9, i, i*1000, epoch, opens(1000)...) }
	n := uint64(50_000/len(frame(0)) + 1)
	for i := range n {
		write(t, c, frame(i))
	}
	if a := c.until(n); a.Credit == 0 {
		t.Errorf("%+v", a)
	}
	r.stop()
	if cuts := r.cuts.made[causeCredit].Load(); cuts == 0 {
		t.Error("no cut for want of credit")
	}
}

// A sink that fails gets no new cuts, sessions get no acks and no credit, until
// it works again.
func TestNothingIsAcknowledgedBeforeItIsSealed(t *testing.T) {
	r := start(t, nil)
	c, _ := hello(t, r, 1, 9)
	r.fail(true)
	write(t, c, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	if a := c.ack(); a.Durable != 0 || a.Credit != 0 {
		t.Errorf("while the sink fails: %+v", a)
	}
	if _, a := hello(t, r, 1, 10); a.Credit != 0 {
		t.Errorf("a new session while the sink fails: %+v", a)
	}
	write(t, c, frameOf(1, 9, 1, 3, epoch, opens(3)...))
	r.fail(false)
	if a := c.until(2); a.Credit == 0 {
		t.Errorf("after the sink works again: %+v", a)
	}
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != 6 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

func (r *running) fail(fails bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = fails
}

// What a client sends again may be durable by the time it comes: an older
// connection had brought it. The client does not count it in flight any more, so
// it may not cost credit, and is nothing that it waits for.
func TestWhatIsDurableCostsNoCredit(t *testing.T) {
	r := start(t, func(o *Options) { o.CutInterval, o.CreditMax = time.Hour, 400_000 })
	frames := func(from, bytes int) (b []byte, next uint64) {
		i := uint64(from)
		for ; len(b) < bytes; i++ {
			b = append(b, frameOf(1, 9, i, i*1000, epoch, opens(1000)...)...)
		}
		return b, i
	}
	older, _ := hello(t, r, 1, 9)
	first, n := frames(0, 180_000)
	write(t, older, first)
	poll.Until(t, "the frames are counted", func() bool { return r.sourceNext(9) == n })
	c, a := hello(t, r, 1, 9)
	if a.Durable != 0 {
		t.Fatalf("%+v, and no cut was made", a)
	}
	<-r.cuts.request(causeTime)
	c.until(n)
	write(t, c, first) // was on its way when the ack came
	r.fail(true)       // or an ack may come in between
	second, end := frames(int(n), 380_000)
	write(t, c, second)
	poll.Until(t, "the frames are counted", func() bool { return r.sourceNext(9) == end })
	r.fail(false)
	r.cuts.request(causeTime)
	c.until(end)
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != end*1000 || b.Counts[storage.Duplicate] != n*1000 || b.RefusedEvents() != 0 {
		t.Errorf("%+v", b)
	}
}

// sourceNext is the sequence that a source's next frame has.
func (r *running) sourceNext(id uint64) uint64 {
	st := r.Collector.sources.of(id)
	st.Lock()
	defer st.Unlock()
	if src := st.known(id); src != nil {
		return src.next
	}
	return 0
}

// A session's source that was forgotten while its client is connected, and says
// nothing, goes on where it is. What came before is not fresh again.
func TestForgottenInTheMiddleOfASession(t *testing.T) {
	b := newBench(1, func(o *Options) { o.CreditMax = 1 << 20 })
	session := func() *connection {
		return &connection{via: overTCP, shard: b.shards[0], phase: phaseGreeted, source: 9, stream: 1}
	}
	frame := func(i uint64) []byte { return frameOf(1, 9, i, i*3, b.now, opens(3)...) }
	k := session()
	b.stream(0, k, frame(0))
	b.stream(0, k, frame(1))
	b.cuts.cut(causeTime)
	b.pass(30 * 24 * time.Hour)
	for n := range stripes {
		b.shards[0].sources.forgetSilent(n, b.cuts.clocks.steady(), &Options{SourceIdleMax: time.Hour, SessionIdleMax: time.Hour})
	}
	b.stream(0, k, frame(2))
	again := session() // it had no ack of frame 1
	b.stream(0, again, frame(1))
	b.stream(0, again, frame(2))
	b.stream(0, again, frame(3))
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 12, storage.Accepted: 12, storage.Duplicate: 6}}, 0)
}

// A source stays until what came of it last is sealed: its state is in no seal
// before, and an ack could say nothing of it.
func TestSourceIsNotForgottenBeforeItsSeal(t *testing.T) {
	b := newBench(1, nil)
	src := b.shards[0].sources
	forget := func() (known bool) {
		for n := range stripes {
			src.forgetSilent(n, b.cuts.clocks.steady(), &Options{SourceIdleMax: time.Hour})
		}
		return src.of(9).known(9) != nil
	}
	b.receive(0, frameOf(1, 9, 0, 0, b.now, opens(3)...))
	b.pass(2 * time.Hour)
	if !forget() {
		t.Fatal("forgotten in the window in which it came")
	}
	b.fails = true
	b.cuts.cut(causeTime)
	if !forget() {
		t.Fatal("forgotten while its seal is not durable")
	}
	b.fails = false
	b.cuts.cut(causeTime)
	if forget() {
		t.Error("not forgotten after its seal")
	}
	if len(b.sources) != 1 || b.sources[0].Next != 1 {
		t.Errorf("sealed were %+v", b.sources)
	}
}

// A clock that is set back does not make a window that ends before it begins.
func TestClockSetBack(t *testing.T) {
	b := newBench(1, nil)
	b.receive(0, frameOf(1, 9, 0, 0, b.now, opens(3)...))
	b.now = b.now.Add(-time.Hour)
	b.cuts.cut(causeTime) // the ear does not take such a window
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 3, storage.Accepted: 3}}, 0)
}

// A source that was not known at a hello may become known by what an older
// connection still brings: the client is told, and goes on behind it.
func TestOlderConnectionBringsTheFirstFrame(t *testing.T) {
	r := start(t, nil)
	older, _ := hello(t, r, 1, 9)
	newer, a := hello(t, r, 1, 9)
	if a.Durable != 0 {
		t.Fatalf("%+v", a)
	}
	write(t, older, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	newer.until(1)
	write(t, newer, frameOf(1, 9, 1, 3, epoch, opens(3)...))
	newer.until(2)
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != 6 || b.Net(storage.Lost) != 0 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// A frame that comes without a session, of a source that has one, is refused:
// an ack must cover nothing that did not come over the session. Its events are
// nobody's: the numbers are those of the session.
func TestDatagramOfASession(t *testing.T) {
	r := start(t, nil)
	c, _ := hello(t, r, 1, 9)
	write(t, c, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	c.until(1)
	write(t, dial(t, "udp", r.Address()), frameOf(1, 9, 1000, 3000, epoch, opens(3)...))
	poll.Until(t, "it is refused", func() bool {
		return r.metric(`lectern_frames_refused_total{reason="unexpected"}`) == "1"
	})
	write(t, c, frameOf(1, 9, 1, 3, epoch, opens(3)...))
	if a := c.until(2); a.Durable != 2 {
		t.Errorf("acknowledged to %d", a.Durable)
	}
	r.stop()
	if b := r.book(1); b.Counts[storage.Sent] != 6 || b.Counts[storage.Accepted] != 6 || b.RefusedEvents() != 0 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// A frame that its client sends again, under a new source where the old one is
// forgotten, is in the books once: the refusal counts the frame and no events.
func TestRefusedAndSentAgainIsBookedOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		first  []byte // of source 9
		why    wire.Refusal
		again  uint64 // the source under which the same events come again
	}{
		{"forgotten", nil, frameOf(1, 9, 5, 50, epoch, opens(10)...), wire.RefusedForgotten, 10},
		{"credit", func(o *Options) { o.CreditMax = -wire.FrameSizeMax }, frameOf(1, 9, 0, 0, epoch, opens(10)...), wire.RefusedCredit, 9},
		{"sources", func(o *Options) { o.SourcesMax = 0 }, frameOf(1, 9, 0, 0, epoch, opens(10)...), wire.RefusedSources, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(1, func(o *Options) {
				o.CreditMax = 1 << 20
				if c.change != nil {
					c.change(o)
				}
			})
			s := b.shards[0]
			if why := b.stream(0, &connection{via: overTCP, shard: s, phase: phaseGreeted, unknown: true, source: 9, stream: 1}, c.first); why != c.why {
				t.Fatalf("%v, want %v", why, c.why)
			}
			s.limits.CreditMax, s.sources.max = 1<<20, 1000
			k := &connection{via: overTCP, shard: s, phase: phaseGreeted, unknown: true, source: c.again, stream: 1}
			if why := b.stream(0, k, frameOf(1, c.again, 0, 0, epoch, opens(10)...)); why != wire.Accepted {
				t.Fatal(why)
			}
			b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 10}}, 0)
			if n := b.cuts.total().Counts[storage.RefusedFrames.Of(c.why)]; n != 1 {
				t.Errorf("%d frames are counted as refused", n)
			}
		})
	}
}
