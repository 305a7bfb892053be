package collector

import (
	"context"
	"github.com/lectern/lectern/internal/poll"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/panjf2000/gnet/v2"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// berth is a place in a spool directory: what was sealed there is there for good.
type berth struct {
	*ear
	known  map[uint64]storage.Source
	heard  int // so many of ear.sources are in known
	owner  *keeper
	vacant bool
}

// learn applies what was sealed since the last call.
func (b *berth) learn() {
	for _, s := range b.ear.sources[b.heard:] {
		b.known[s.ID] = s
	}
	b.heard = len(b.ear.sources)
}

// streetSpool names the spool of all places, which every ack must say: else the
// clients would give up what they sent.
const streetSpool = 0x665544332211

// keeper is one daemon, without sockets and files.
type keeper struct {
	*Collector
	own     *berth
	elders  []*berth
	adopted map[*berth]uint64 // with what Adopt returned
	alone   bool
	lines   []*wireline
}

// wireline is a connection, with what is on its way.
type wireline struct {
	gnet.Conn
	keeper  *keeper
	context any
	came    []byte
	down    []byte
	ended   bool
}

func (l *wireline) Next(int) ([]byte, error)                   { return l.came, nil }
func (l *wireline) Context() any                               { return l.context }
func (l *wireline) RemoteAddr() net.Addr                       { return nil }
func (l *wireline) SetContext(x any)                           { l.context = x }
func (l *wireline) OutboundBuffered() int                      { return 0 }
func (l *wireline) Fd() int                                    { return -1 }
func (l *wireline) CloseWithCallback(gnet.AsyncCallback) error { l.ended = true; return nil }

func (l *wireline) Write(b []byte) (int, error) {
	l.down = append(l.down, b...)
	return len(b), nil
}

func (l *wireline) AsyncWrite(b []byte, _ gnet.AsyncCallback) error {
	_, err := l.Write(b)
	return err
}

// visitor is a client that resends, as emit.TCP does.
type visitor struct {
	source uint64
	made   uint64 // frames, of one event each
	acked  uint64 // so many were acknowledged
	sent   uint64 // so many on this connection
	ready  bool   // the hello was answered
	ended  bool   // it has had a final ack, and no answer since: nothing but what is acknowledged was taken
	line   *wireline
}

// content is the only event of a visitor's frame.
func (v *visitor) content(frame uint64) uint64 { return v.source<<32 | frame }

// street is one spool directory, those who keep it one after the other, and their
// clients.
type street struct {
	*testing.T
	rand     *rand.Rand
	now      time.Time
	steady   time.Duration
	berths   []*berth
	keepers  []*keeper // those alive
	visitors []*visitor
	events   []wire.Event
	counts   map[string]int
}

// be begins a daemon, as spool.Claim and package takeover do.
func (s *street) be() {
	k := &keeper{adopted: map[*berth]uint64{}}
	for _, b := range s.berths {
		if b.owner != nil {
			k.elders = append(k.elders, b)
		}
	}
	switch i := slices.IndexFunc(s.berths, func(b *berth) bool { return b.owner == nil && b.vacant }); {
	case len(s.berths) > 0 && len(k.elders) == 0:
		k.own = s.berths[0]
	case len(s.berths) > 0 && i >= 0:
		k.own = s.berths[i]
	default:
		k.own = &berth{ear: newEar(), known: map[uint64]storage.Source{}}
		s.berths = append(s.berths, k.own)
	}
	k.own.owner, k.own.vacant = k, false
	began := s.steady
	o := Options{SourcesMax: 100, ConnectionsMax: 100, CreditMax: 1 << 20, Spool: streetSpool, Sink: k.own.ear, Metrics: metrics.NewSet()}
	o.Clock = func() (time.Time, time.Duration) { return s.now, s.steady - began }
	known := slices.Collect(maps.Values(k.own.known))
	clocks := newClocks(&o, runningTime(known))
	src := newSources(&o)
	src.restore(known)
	k.Collector = &Collector{options: o, sources: src, cuts: newCutter(&o, src, clocks)}
	for range 1 + s.rand.IntN(2) {
		k.shards = append(k.shards, doubled(shardOf(64, s.events, &k.options, newRules(&o), src, k.cuts, clocks)))
	}
	k.cuts.shards = k.shards
	k.cuts.start, k.own.ear.end = s.now.UnixMilli(), 0
	k.cuts.company.Store(true)
	s.keepers = append(s.keepers, k)
	if s.takeOver(k); k.alone {
		s.counts["eldest"]++
	} else {
		s.counts["newcomer"]++
	}
}

// takeOver adopts what is free, once the elders have gone.
func (s *street) takeOver(k *keeper) {
	for _, b := range k.elders {
		if b.owner != nil && b.owner != k {
			return
		}
	}
	for _, b := range s.berths {
		if b.owner != nil || b.vacant {
			continue
		}
		b.owner = k
		b.learn()
		k.adopted[b] = k.Adopt(slices.Collect(maps.Values(b.known)))
		s.counts["adopted"]++
	}
	if !k.alone {
		k.alone, k.elders = true, nil
		k.Alone()
	}
}

// retire empties an adopted berth whose sources are durable with k.
func (s *street) retire(k *keeper) {
	for b, window := range k.adopted {
		if k.Sealed(window) {
			delete(k.adopted, b)
			clear(b.known)
			b.owner, b.vacant = nil, true
			s.counts["retired"]++
		}
	}
}

// end ends a daemon, by a kill or by itself.
func (s *street) end(k *keeper, killed bool) {
	if killed {
		s.counts["killed"]++
	} else {
		s.counts["stopped"]++
		for _, sh := range k.shards {
			sh.dismiss()
		}
		for _, l := range k.lines {
			s.arrive(l, s.rand.IntN(2) == 0) // behind the dismissal: thrown away
		}
		k.own.ear.fails = s.rand.IntN(8) == 0
		sealed := k.cuts.cut(causeStop)
		k.own.ear.fails = false
		for _, sh := range k.shards {
			sh.farewell(sealed)
		}
	}
	for _, l := range k.lines {
		if killed && s.rand.IntN(2) == 0 {
			l.down = nil
		}
		l.ended = true
	}
	k.own.ear.pending = nil
	k.own.learn()
	for _, b := range s.berths {
		if b.owner == k {
			b.owner = nil
		}
	}
	s.keepers = slices.DeleteFunc(s.keepers, func(o *keeper) bool { return o == k })
}

// arrive gives a daemon what is on its way to it, all or some of it.
func (s *street) arrive(l *wireline, all bool) {
	if len(l.came) == 0 || l.ended {
		return
	}
	waiting := l.came
	n := len(waiting)
	if !all {
		n = 1 + s.rand.IntN(n)
	}
	k := l.context.(*connection)
	l.came = waiting[:n]
	if k.shard.OnTraffic(l) == gnet.Close {
		l.ended = true
	}
	l.came = slices.Clone(waiting[n:])
}

// call connects a visitor.
func (s *street) call(v *visitor) {
	k := s.keepers[s.rand.IntN(len(s.keepers))]
	l := &wireline{keeper: k}
	k.shards[s.rand.IntN(len(k.shards))].OnOpen(l)
	k.lines = append(k.lines, l)
	v.line, v.ready, v.sent = l, false, v.acked
	l.came = wire.AppendHello(nil, 1, v.source, s.now.UnixMilli())
}

// hear takes what the daemon says to a visitor.
func (s *street) hear(v *visitor) {
	for b := v.line.down; len(b) > 0; {
		h, why := wire.ParseHeader(b)
		if why != wire.Accepted {
			s.Fatal(why)
		}
		body := h.Body(b[:h.Size])
		b = b[h.Size:]
		if h.Type == wire.TypeRefusal {
			why, _, _ := wire.ParseRefusalBody(body)
			s.Fatalf("source %d is refused as %v, with %d of %d frames acknowledged", v.source, why, v.acked, v.made)
		}
		a, _ := wire.ParseAck(&h, body)
		if a.Spool != streetSpool {
			s.Fatalf("source %d is told of spool %d", v.source, a.Spool)
		}
		if a.Durable > v.made {
			s.Fatalf("source %d made %d frames, %d are acknowledged", v.source, v.made, a.Durable)
		}
		if v.ended && a.Durable != v.acked {
			s.Fatalf("source %d was told in the end that %d frames were taken, and then that %d are durable", v.source, v.acked, a.Durable)
		}
		v.acked, v.ready, v.ended = max(v.acked, a.Durable), true, a.Final
		if a.Final {
			s.counts["final"]++
		}
		v.sent = max(v.sent, v.acked)
	}
	v.line.down = nil
}

func (s *street) visit(v *visitor) {
	if v.line == nil {
		if len(s.keepers) > 0 {
			s.call(v)
		}
		return
	}
	s.hear(v)
	switch {
	case v.line.ended || s.rand.IntN(40) == 0:
		if !v.line.ended {
			s.counts["hung up"]++
			k := v.line.context.(*connection)
			k.shard.OnClose(v.line, nil)
			v.line.ended = true
		}
		v.line = nil
	case s.rand.IntN(3) == 0:
		s.arrive(v.line, false)
	case v.ready:
		for range s.rand.IntN(4) {
			if v.sent == v.made {
				v.made++
			}
			v.line.came = append(v.line.came, frameOf(1, v.source, v.sent, v.sent, s.now, wire.Event{Content: v.content(v.sent), User: 1})...)
			v.sent++
		}
	}
}

func (s *street) step() {
	passed := time.Duration(s.rand.IntN(200)) * time.Millisecond
	s.now, s.steady = s.now.Add(passed), s.steady+passed
	switch n := s.rand.IntN(100); {
	case len(s.keepers) == 0 || n == 0 && len(s.keepers) < 3:
		s.be()
		return
	case n < 60:
		s.visit(s.visitors[s.rand.IntN(len(s.visitors))])
		return
	}
	k := s.keepers[s.rand.IntN(len(s.keepers))]
	switch n := s.rand.IntN(100); {
	case n < 40:
		k.own.ear.fails = s.rand.IntN(10) == 0
		k.cuts.cut(causeTime)
		k.own.ear.fails = false
	case n < 60:
		for _, sh := range k.shards {
			sh.sweep()
		}
	case n < 80:
		s.takeOver(k)
	case n < 96:
		s.retire(k)
	case n < 98:
		s.end(k, true)
	default:
		s.end(k, false)
	}
}

// check wants what was acknowledged once, and what was not at most once.
func (s *street) check() {
	stored := map[uint64]int{}
	for _, b := range s.berths {
		for _, r := range b.ear.rows {
			stored[r.Content] += int(r.Events())
		}
	}
	for _, v := range s.visitors {
		for i := range v.made {
			if n := stored[v.content(i)]; n > 1 || n == 0 && i < v.acked {
				s.Fatalf("frame %d of source %d is stored %d times; %d are acknowledged", i, v.source, n, v.acked)
			}
		}
	}
}

// testSeed gives a random seed, or that of LECTERN_TEST_SEED, and says which.
func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("LECTERN_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("replay with LECTERN_TEST_SEED=%d", seed)
	return seed
}

// Daemons follow each other on one spool, killed or stopped, up to three at once,
// and clients that resend come to any of them at any time: what is acknowledged is
// sealed in one of the places, once, and no client has to give anything up.
func TestDaemonsFollowEachOther(t *testing.T) {
	seed := testSeed(t)
	counts := map[string]int{}
	frames, acked := uint64(0), uint64(0)
	for round := range uint64(50) {
		s := &street{T: t, rand: rand.New(rand.NewPCG(seed, round)), now: epoch, events: make([]wire.Event, eventsPerFrameMax), counts: counts}
		for i := range uint64(5) {
			s.visitors = append(s.visitors, &visitor{source: round*100 + i + 1})
		}
		for range 4000 {
			s.step()
		}
		s.check()
		for _, v := range s.visitors {
			frames, acked = frames+v.made, acked+v.acked
		}
		// In the end one is left, and everybody is served.
		for len(s.keepers) > 0 {
			s.end(s.keepers[0], false)
		}
		s.be()
		for range 2000 {
			v := s.visitors[s.rand.IntN(len(s.visitors))]
			if s.visit(v); s.rand.IntN(4) == 0 {
				s.keepers[0].cuts.cut(causeTime)
			}
		}
		for _, v := range s.visitors {
			if v.acked == 0 {
				t.Errorf("round %d: source %d was never served", round, v.source)
			}
		}
		s.check()
	}
	t.Logf("%d frames, %d of them acknowledged; %v", frames, acked, counts)
	for _, what := range []string{"eldest", "newcomer", "adopted", "retired", "killed", "stopped", "hung up", "final"} {
		if counts[what] == 0 {
			t.Errorf("it never came to this: %s", what)
		}
	}
}

// A hello of a source that is not known waits for as long as another process may
// know it, and is answered with what that one had sealed.
func TestHelloWaitsForOthers(t *testing.T) {
	r := start(t, func(o *Options) {
		o.Company = true
		o.Sources = []storage.Source{{ID: 7, Stream: 1, Next: 3, End: 3, Newest: 2, Session: true}}
	})
	if _, a := hello(t, r, 1, 7); a.Durable != 3 {
		t.Errorf("a source that is known here is told %d", a.Durable)
	}
	var waiting []*client
	for _, source := range []uint64{8, 9} {
		c := &client{t, dial(t, "tcp", r.Address())}
		write(t, c, wire.AppendHello(nil, 1, source, 0))
		waiting = append(waiting, c)
	}
	poll.Until(t, "both wait", func() bool { return r.metric("lectern_sessions_waiting") == "2" })
	r.Adopt([]storage.Source{{ID: 8, Stream: 1, Next: 20, End: 40, Newest: 38, Session: true}})
	if a := waiting[0].ack(); a.Durable != 20 {
		t.Errorf("an adopted source is told %d", a.Durable)
	}
	if n := r.metric("lectern_sessions_waiting"); n != "1" {
		t.Errorf("%s wait", n)
	}
	r.Alone()
	if a := waiting[1].ack(); a.Durable != 0 {
		t.Errorf("a new source is told %d", a.Durable)
	}
	write(t, waiting[0], frameOf(1, 8, 20, 40, epoch, opens(2)...))
	write(t, waiting[1], frameOf(1, 9, 0, 0, epoch, opens(3)...))
	waiting[0].until(21)
	waiting[1].until(1)
	r.stop()
	if b := r.book(1); b.Counts[storage.Sent] != 5 || b.Counts[storage.Accepted] != 5 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// What two processes have seen of one source is joined, and what neither has seen
// is lost. What either has lost before stays in its own books.
func TestAdopt(t *testing.T) {
	type span struct{ base, end, lost, next uint64 }
	for _, test := range []struct {
		name               string
		here, there        span
		after              span
		apart              uint64
		lost               int64 // that is booked
		stale, taken, late uint64
	}{
		{"one after the other, nothing between", span{40, 60, 0, 6}, span{0, 40, 3, 4}, span{0, 60, 0, 6}, 40, 0, 3, 6, 0},
		{"and something between", span{50, 60, 1, 6}, span{0, 40, 3, 4}, span{0, 60, 11, 6}, 40, 10, 3, 6, 4},
		{"the other way round", span{0, 40, 3, 4}, span{50, 60, 1, 6}, span{0, 60, 13, 6}, 10, 10, 5, 6, 0},
		{"adopted before", span{0, 60, 14, 6}, span{0, 40, 3, 4}, span{0, 60, 14, 6}, 0, 0, 5, 6, 0},
		{"this one had adopted it from there", span{0, 40, 3, 4}, span{0, 60, 14, 6}, span{0, 60, 3, 6}, 20, 0, 5, 6, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			of := func(s span) storage.Source {
				return storage.Source{ID: 9, Stream: 1, Base: s.base, End: s.end, Lost: s.lost, Next: s.next, Newest: s.end - 10}
			}
			b := newBench(2, nil)
			src := b.shards[0].sources
			src.restore([]storage.Source{of(test.here)})
			c := &Collector{shards: b.shards, sources: src, cuts: b.cuts}
			window := c.Adopt([]storage.Source{of(test.there)})
			if c.Sealed(window) {
				t.Error("it is sealed before a cut")
			}
			got := *src.of(9).known(9)
			if s := (span{got.base, got.end, got.lost, got.next}); s != test.after {
				t.Errorf("%+v, want %+v", s, test.after)
			}
			if got.apart != test.apart {
				t.Errorf("%d events are in another's books, want %d", got.apart, test.apart)
			}
			b.receive(0, frameOf(1, 9, test.stale, 30, epoch, opens(10)...))
			b.receive(1, frameOf(1, 9, test.taken, 60, epoch, opens(10)...))
			if !b.cuts.cut(causeTime) || !c.Sealed(window) {
				t.Error("it is not sealed with the next cut")
			}
			b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 10 + uint64(test.lost), storage.Accepted: 10, storage.Lost: uint64(test.lost), storage.Stale: 10}}, 0)
			if n := len(b.ear.sources); n != 1 || b.ear.sources[0].End != 70 {
				t.Errorf("sealed: %+v", b.ear.sources)
			}
		})
	}
}

// A disk that hangs is not a loop that hangs.
func TestHeartbeat(t *testing.T) {
	r := start(t, nil)
	goOn := sync.OnceFunc(r.ear.mu.Unlock)
	r.ear.mu.Lock() // no seal comes back
	defer func() { goOn() }()
	c := dial(t, "udp", r.Address())
	write(t, c, frameOf(1, 9, 0, 0, epoch, opens(1)...))
	cut := r.cuts.last.Load()
	poll.Until(t, "the cutter hangs", func() bool {
		before := cut
		cut = r.cuts.last.Load()
		return before == cut && r.SinceCut() > 200*time.Millisecond
	})
	before := r.beat.Load()
	poll.Until(t, "the heart beats", func() bool { return r.beat.Load() > before })
	goOn()

	s := r.shards[1]
	goOn = sync.OnceFunc(s.Unlock)
	s.Lock() // as a loop that does not come back
	poll.Until(t, "it stops", func() bool { return r.SinceHeartbeat() > 2*sweepInterval })
	goOn()
	before = r.beat.Load()
	poll.Until(t, "it goes on", func() bool { return r.beat.Load() > before })
}

// A collector that stops acknowledges what came, ends the streams without a
// reset, and has counted what it acknowledged, and nothing else.
func TestClientsAreToldOfTheEnd(t *testing.T) {
	r := start(t, func(o *Options) { o.CutInterval = time.Hour })
	c, _ := hello(t, r, 1, 9)
	plain := dial(t, "tcp", r.Address())
	for i := range uint64(10) {
		write(t, c, frameOf(1, 9, i, i, epoch, opens(1)...))
		write(t, plain, frameOf(2, 8, i, i, epoch, opens(1)...))
	}
	poll.Until(t, "all of it came", func() bool { return r.metric("lectern_events_accepted_total") == "20" })
	stopped := make(chan error)
	go func() { stopped <- r.Stop(context.Background()) }()
	if a := c.ack(); a.Credit != 0 {
		t.Errorf("it may send %d bytes more", a.Credit)
	}
	write(t, c, frameOf(1, 9, 10, 10, epoch, opens(1)...)) // it was on its way
	acked := uint64(0)
	for {
		b := make([]byte, wire.HeaderSize+wire.AckBodySize)
		if _, err := io.ReadFull(c, b); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal("not a clean end:", err)
		}
		h, _ := wire.ParseHeader(b)
		a, why := wire.ParseAck(&h, b[wire.HeaderSize:])
		if why != wire.Accepted || a.Credit != 0 {
			t.Errorf("%v: %+v", why, a)
		}
		acked = max(acked, a.Durable)
	}
	if acked < 10 {
		t.Errorf("%d frames are acknowledged in the end", acked)
	}
	if _, why, _ := answer(t, plain); why != wire.Accepted {
		t.Errorf("a client without a session is told %v", why)
	}
	// The end was told; what it sends before it has heard of it goes nowhere.
	write(t, c, frameOf(1, 9, 11, 11, epoch, opens(1)...))
	_, _ = c.Close(), plain.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	r.once.Do(func() {})
	if b := r.book(1); b.Counts[storage.Sent] != acked || b.Counts[storage.Accepted] != acked {
		t.Errorf("%+v", b)
	}
	if b := r.book(2); b.Counts[storage.Accepted] != 10 {
		t.Errorf("%+v", b)
	}
}
