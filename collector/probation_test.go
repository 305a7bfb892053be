package collector

import (
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// at has what is given to the shard come from an address.
func (b *bench) at(ip string, port int) {
	b.from = addressAt(&net.UDPAddr{IP: net.ParseIP(ip), Port: port})
}

// session is the frames of a session, from an address.
func (b *bench) session(ip string, source uint64, frames ...[]byte) *connection {
	k := &connection{shard: b.shards[0], from: addressAt(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}), phase: phaseGreeted, source: source, stream: 1}
	for _, f := range frames {
		b.stream(0, k, f)
	}
	return k
}

// full leaves no room for another source, nor has one go for it, until open is called.
func (s *sources) full() (open func()) {
	most, due := s.max, s.displacing.due.Load()
	s.max = s.live.Load()
	s.displacing.due.Store(math.MaxInt64 / 2)
	return func() {
		s.max = most
		s.displacing.due.Store(due)
	}
}

// prove is what a sealed frame does.
func prove(s *sources, src *source) {
	s.displace(src, src.base, src.stream, address{}, src.lastSeen)
}

func (b *bench) knows(id uint64) bool {
	src := b.shards[0].sources
	return src.of(id).known(id) != nil
}

// contradicted compares the book of stream 1, and how many frames contradicted others.
func (b *bench) contradicted(t *testing.T, want storage.Book, frames uint64) {
	t.Helper()
	b.want(t, 1, want, 0)
	if got, _ := refused(b.book(1), wire.RefusedPosition); got != frames {
		t.Errorf("%d frames are refused as position, want %d", got, frames)
	}
}

// Short sessions that fill all places are displaced by an honest one, also of
// another address and after a restart, and go after source_idle_max, while one
// that was acknowledged for some time stays for session_idle_max.
func TestShortSessionsKeepNobodyOut(t *testing.T) {
	const places = 20_000 // several slabs in each stripe
	change := func(o *Options) {
		o.SourcesMax, o.AddressSourcesMax, o.CreditMax = places, places/10, 1<<20
		o.SourceIdleMax, o.SessionIdleMax = time.Hour, 168*time.Hour
	}
	b := newBench(1, change)
	b.session("192.0.2.1", 1, frameOf(1, 1, 0, 0, b.now, opens(1)...))
	b.cuts.cut(causeTime)
	b.pass(2 * time.Minute)
	b.session("192.0.2.1", 1, frameOf(1, 1, 1, 1, b.now, opens(1)...))
	b.cuts.cut(causeTime)
	next := uint64(1000)
	flood := func(b *bench, n int) {
		for i := range n {
			// A botnet of eleven addresses: one alone may not have that many.
			b.session([]string{"198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4", "198.51.100.5", "198.51.100.6",
				"198.51.100.7", "198.51.100.8", "198.51.100.9", "198.51.100.10", "198.51.100.11"}[i%11], next, frameOf(1, next, 0, 0, b.now))
			next++
		}
	}
	flood(b, 2*places)
	b.cuts.cut(causeTime)
	if n := b.shards[0].sources.live.Load(); n != places {
		t.Errorf("%d sources are known, at most %d may be, and as many come", n, places)
	}
	for round := range 2 {
		for _, from := range []string{"203.0.113.7", "198.51.100.1"} {
			b.pass(time.Minute)
			accepted := b.book(1).Counts[storage.Accepted]
			next++
			b.session(from, next, frameOf(1, next, 0, 0, b.now, opens(3)...))
			b.cuts.cut(causeTime)
			if got := b.book(1).Counts[storage.Accepted] - accepted; got != 3 {
				t.Errorf("of a new session's 3 events %d were accepted", got)
			}
		}
		if round == 0 {
			b = reopen(b, change)
		}
	}
	if !b.knows(1) {
		t.Error("the session that had lived is gone")
	}
	b.pass(2 * time.Hour)
	for n := range stripes {
		b.shards[0].sources.forgetSilent(n, b.cuts.clocks.steady(), b.shards[0].limits)
	}
	if n := b.shards[0].sources.live.Load(); n != 1 || !b.knows(1) {
		t.Errorf("two hours later %d sources are known, want the one that had lived", n)
	}
	if n := b.shards[0].sources.strangers.Load(); n != 0 {
		t.Errorf("%d sources are on probation, want none", n)
	}
}

// A session whose client is connected, or was not acknowledged, is not displaced: its
// frames would be counted again. One that has lived is not, nor one that is proved.
func TestWhoIsNotDisplaced(t *testing.T) {
	b := newBench(1, func(o *Options) { o.SourcesMax, o.CreditMax = 64*stripes, 1<<20 })
	src := b.shards[0].sources
	k := b.session("192.0.2.1", 1, frameOf(1, 1, 0, 0, b.now, opens(1)...))
	stranger := uint64(6) // alone in its stripe: whoever wants room in that of another does not find it
	for slices.ContainsFunc([]uint64{1, 2, 3, 5}, func(id uint64) bool { return src.of(id) == src.of(stranger) }) {
		stranger++
	}
	for _, id := range []uint64{2, 3, stranger} {
		b.receive(0, frameOf(1, id, 0, 0, b.now, opens(1)...))
	}
	src.raise(src.of(2).known(2), storage.Lived)
	prove(src, src.of(3).known(3))
	b.cuts.cut(causeTime)
	b.cuts.sessions.join(k)
	b.session("192.0.2.1", 5, frameOf(1, 5, 0, 0, b.now, opens(1)...)) // not sealed
	for _, id := range []uint64{1, 2, 3, 5, stranger} {
		st := src.of(id)
		st.Lock()
		got := src.makeWay(st, 0)
		st.Unlock()
		if got != (id == stranger) {
			t.Errorf("something went for the sake of another in the stripe of source %d: %v", id, got)
		}
		if b.knows(id) == (id == stranger) {
			t.Errorf("source %d is known: %v", id, b.knows(id))
		}
	}
}

// An address has so many places and no more; it displaces its own then, and nobody
// else's, and is turned away where none of its own can go. Others of its IPv6 network
// are the same address, others of IPv4 are not.
func TestAddressHasSoManyPlaces(t *testing.T) {
	const places = 100
	b := newBench(1, func(o *Options) { o.SourcesMax, o.AddressSourcesMax = 10_000, places })
	src := b.shards[0].sources
	next := uint64(0)
	bring := func(n int, addresses ...string) (accepted uint64) {
		b.cuts.cut(causeTime)
		before := b.book(1).Counts[storage.Accepted]
		for i := range n {
			next++
			b.at(addresses[i%len(addresses)], 5000+i)
			b.receive(0, frameOf(1, next, 0, 0, b.now, opens(1)...))
		}
		b.cuts.cut(causeTime)
		return b.book(1).Counts[storage.Accepted] - before
	}
	if got := bring(2*places, "192.0.2.1"); got != places {
		t.Errorf("an address brought %d sources at once, want %d", got, places)
	}
	if got := bring(places, "192.0.2.2"); got != places {
		t.Errorf("its neighbour brought %d, want %d", got, places)
	}
	if got := bring(2*places, "2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"); got != places {
		t.Errorf("a network brought %d, want %d", got, places)
	}
	if got := bring(places, "::ffff:192.0.2.3"); got != places {
		t.Errorf("an address of IPv4 on a socket for both brought %d, want %d", got, places)
	}
	live := src.live.Load()
	b.pass(time.Minute)
	if got := bring(10*places, "192.0.2.1"); got == 0 || got > places {
		t.Errorf("a minute later it brought %d more, want some, and at most %d", got, places)
	}
	if got := src.live.Load(); got != live {
		t.Errorf("%d sources are known, want %d as before: it displaces its own", got, live)
	}
	if src.turned[turnedPace].Load() == 0 || src.displaced.Load() == 0 || src.turned[turnedFull].Load() != 0 {
		t.Errorf("turned away for the pace %d, for want of room %d; displaced %d", src.turned[turnedPace].Load(), src.turned[turnedFull].Load(), src.displaced.Load())
	}
}

// What addresses hold is given back, whatever becomes of their sources: compared with
// a plain count.
func TestWhatAddressesHold(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	b := newBench(1, func(o *Options) { o.SourcesMax, o.AddressSourcesMax = 500, 200 })
	src := b.shards[0].sources
	for step := range 30_000 {
		id := 1 + r.Uint64N(2000)
		st := src.of(id)
		switch r.IntN(8) {
		case 0:
			if x := st.known(id); x != nil {
				prove(src, x)
			}
		case 1:
			src.forget(r.IntN(stripes), b.steady.Milliseconds()-r.Int64N(60_000), 0)
		case 2:
			b.pass(time.Duration(r.IntN(2000)) * time.Millisecond)
			b.cuts.cut(causeTime)
		default:
			b.at("192.0.2."+string('1'+rune(r.IntN(5))), 1)
			x := src.find(st, nil, id)
			if x == nil {
				b.receive(0, frameOf(1, id, 0, 0, b.now))
			} else {
				b.receive(0, frameOf(1, id, x.next, x.end, b.now, opens(1)...))
			}
		}
		if step%100 > 0 {
			continue
		}
		held, live, strangers := map[payer]int32{}, int64(0), int64(0)
		for n := range src.stripe {
			for x := range src.stripe[n].all() {
				live++
				if x.standing == storage.Stranger {
					strangers++
				}
				if x.payer != 0 {
					held[x.payer]++
				}
			}
		}
		if live != src.live.Load() || strangers != src.strangers.Load() {
			t.Fatalf("step %d: %d sources, %d on probation; counted %d, %d", step, live, strangers, src.live.Load(), src.strangers.Load())
		}
		sum := int32(0)
		for p, n := range held {
			sum += n
			for _, cell := range src.budgets.cells(p) {
				if got := cell.sources.Load(); got < n {
					t.Fatalf("step %d: an address holds %d, its budget says %d", step, n, got)
				}
			}
		}
		for row := range src.budgets.rows {
			all := int32(0)
			for i := range src.budgets.rows[row] {
				all += src.budgets.rows[row][i].sources.Load()
			}
			if all != sum {
				t.Fatalf("step %d: addresses hold %d, the budgets say %d", step, sum, all)
			}
		}
	}
}

// A datagram of somebody else, far ahead, does not leave a source's own frames behind:
// it is refused by name. Where it comes from the source's own socket nothing can be
// done, but nothing is silent: what follows contradicts it. A socket whose address
// changes on the way goes on.
func TestSourceIsNotTakenOver(t *testing.T) {
	b := newBench(1, nil)
	next, position := uint64(0), uint64(0)
	honest := func(frames int, port int) {
		b.at("192.0.2.1", port)
		for range frames {
			b.receive(0, frameOf(1, 7, next, position, b.now, opens(10)...))
			next, position = next+1, position+10
		}
	}
	honest(10, 1)
	b.at("192.0.2.1", 2)
	b.receive(0, frameOf(1, 7, 1<<20, position, b.now))
	honest(1000, 1)
	b.contradicted(t, storage.Book{Counts: storage.Counts{storage.Sent: 10_100, storage.Accepted: 10_100}}, 1)
	honest(10, 3) // another address on the way
	b.contradicted(t, storage.Book{Counts: storage.Counts{storage.Sent: 10_200, storage.Accepted: 10_200}}, 1)

	// Its own address lost thousands of frames, and changed: after a minute of silence
	// it is believed.
	next, position = next+5000, position+5000
	honest(1, 4)
	b.pass(foreignMax)
	next, position = next+1, position+10
	honest(10, 4)
	b.contradicted(t, storage.Book{Counts: storage.Counts{storage.Sent: 15_320, storage.Accepted: 10_300, storage.Lost: 5_020}}, 2)

	// With its own address.
	b.at("192.0.2.1", 4)
	b.receive(0, frameOf(1, 7, next+1<<20, position, b.now))
	honest(20, 4)
	b.contradicted(t, storage.Book{Counts: storage.Counts{storage.Sent: 15_320, storage.Accepted: 10_300, storage.Lost: 5_020}}, 22)
	if got := b.cuts.total().Counts[storage.UnplacedEvents.Of(wire.RefusedPosition)]; got != 210 {
		t.Errorf("%d events stand beside the books, want the 200 that contradict, and 10 before", got)
	}
}

// A hello does not shut out a source that is known without a session.
func TestHelloDoesNotTakeOver(t *testing.T) {
	b := newBench(1, func(o *Options) { o.CreditMax = 1 << 20 })
	b.at("192.0.2.1", 1)
	b.receive(0, frameOf(1, 7, 0, 0, b.now, opens(1)...))
	hello := wire.AppendHello(nil, 1, 7, 0)
	h, _ := wire.ParseHeader(hello)
	if why := b.shards[0].hello(&connection{shard: b.shards[0]}, &h, hello); why != wire.RefusedPosition {
		t.Errorf("the hello is answered with %v, want %v", why, wire.RefusedPosition)
	}
	b.receive(0, frameOf(1, 7, 1, 1, b.now, opens(1)...))
	if got := b.cuts.total().Counts[storage.Accepted]; got != 2 {
		t.Errorf("%d events are accepted, want 2", got)
	}
}

// What a forged frame can say is lost is what a source can have sent, so that a flood
// of them does not bring a sum to its end.
func TestJumpsAreBounded(t *testing.T) {
	for _, c := range []struct {
		name             string
		silent           time.Duration
		sequence, events uint64
		good             bool
	}{
		{"all that may be, at once", 0, framesASecond, eventsASecond, true},
		{"more events", 0, framesASecond, eventsASecond + 1, false},
		{"more frames", 0, framesASecond + 1, eventsASecond, false},
		{"to the end of all numbers", 0, wire.NumberMax - 2, wire.NumberMax - 2, false},
		{"after an hour", time.Hour, 3601 * framesASecond, 3601 * eventsASecond, true},
		{"after an hour, more", time.Hour, 3601 * framesASecond, 3601*eventsASecond + 1, false},
	} {
		b := newBench(1, nil)
		b.receive(0, frameOf(1, 7, 0, 0, b.now))
		b.pass(c.silent)
		b.receive(0, frameOf(1, 7, c.sequence, c.events, b.now))
		want, contradictions := storage.Book{}, uint64(1)
		if c.good {
			want, contradictions = storage.Book{Counts: storage.Counts{storage.Sent: c.events, storage.Lost: uint64(c.events)}}, 0
		}
		t.Run(c.name, func(t *testing.T) { b.contradicted(t, want, contradictions) })
	}
	// Downwards: a frame that is late by one, and its position by everything.
	b := newBench(1, nil)
	b.receive(0, frameOf(1, 7, 100, wire.NumberMax-100, b.now))
	b.receive(0, frameOf(1, 7, 99, 0, b.now))
	b.contradicted(t, storage.Book{}, 1)
	// Where nobody can say for how long the source was not heard, a day.
	b = newBench(1, nil)
	b.shards[0].sources.restore([]storage.Source{{ID: 7, Stream: 1, Next: 1}})
	const day = 24 * 60 * 60
	b.receive(0, frameOf(1, 7, 1000, (day+1)*eventsASecond+1, b.now))
	b.receive(0, frameOf(1, 7, 1000, (day+1)*eventsASecond, b.now))
	b.contradicted(t, storage.Book{Counts: storage.Counts{storage.Sent: (day + 1) * eventsASecond, storage.Lost: (day + 1) * eventsASecond}}, 1)
}
