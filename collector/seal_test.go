package collector

import (
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// The streams of these tests: 1 takes sealed frames and others, 2 sealed ones alone,
// 3 others alone.
const audience = "collector-1"

var (
	older = wire.NewSecret(0, [wire.SecretSize]byte{1})
	newer = wire.NewSecret(1, [wire.SecretSize]byte{2})
)

func sealedStreams(secrets ...*wire.Secret) Streams {
	return Streams{Audience: audience, Known: []Stream{
		{Name: "both", Number: 1, Seal: SealAllow, Secrets: secrets}, {Name: "sealed", Number: 2, Seal: SealRequire, Secrets: secrets}, {Number: 3},
	}}
}

func withKeys(o *Options) { o.Streams = sealedStreams(older, newer) }

// frameKey is a frame key.
func frameKey(t testing.TB, s *wire.Secret, stream uint16, audience string) *wire.EventsKey {
	t.Helper()
	key, err := s.FrameKey(stream, audience)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sealed is a copy of a frame with its tag.
func sealed(key *wire.EventsKey, frame []byte) []byte {
	return key.Seal(append(make([]byte, 0, len(frame)+wire.TagSize), frame...), 0)
}

// What is taken of each stream, by the words of the specification.
func TestSealByStream(t *testing.T) {
	k := func(s *wire.Secret, stream uint16, audience string) *wire.EventsKey {
		return frameKey(t, s, stream, audience)
	}
	stranger := wire.NewSecret(0, [wire.SecretSize]byte{9})
	for _, c := range []struct {
		name   string
		stream uint16
		key    *wire.EventsKey // nil: no tag
		why    wire.Refusal
	}{
		{"off, without", 3, nil, wire.Accepted},
		{"off, sealed", 3, k(older, 3, audience), wire.RefusedSealed},
		{"allow, without", 1, nil, wire.Accepted},
		{"allow, sealed", 1, k(older, 1, audience), wire.Accepted},
		{"allow, the other epoch", 1, k(newer, 1, audience), wire.Accepted},
		{"allow, another secret", 1, k(stranger, 1, audience), wire.RefusedSealed},
		{"allow, an epoch that is not live", 1, k(wire.NewSecret(2, [wire.SecretSize]byte{1}), 1, audience), wire.RefusedSealed},
		{"allow, another audience", 1, k(older, 1, "collector-2"), wire.RefusedSealed},
		{"allow, another stream's key", 1, k(older, 2, audience), wire.RefusedSealed},
		{"require, without", 2, nil, wire.RefusedUnsealed},
		{"require, sealed", 2, k(older, 2, audience), wire.Accepted},
		{"require, another secret", 2, k(stranger, 2, audience), wire.RefusedSealed},
		{"no such stream", 8, k(older, 8, audience), wire.RefusedSealed},
	} {
		for _, way := range []way{datagrams, plain} {
			t.Run(c.name+"/"+wayWords[way], func(t *testing.T) {
				b := newBench(1, withKeys)
				frame := frameOf(c.stream, 9, 0, 0, b.now, opens(3)...)
				if c.key != nil {
					frame = sealed(c.key, frame)
				}
				why := wire.Accepted
				if way == datagrams {
					b.receive(0, frame)
					sum := b.cuts.total()
					for word := range sum.ByReason(storage.RefusedFrames) {
						why = storage.ReasonNamed(word)
					}
				} else {
					why = b.stream(0, &connection{peer: loopPeer{deaf{}, writeDouble}, via: overTCP, shard: b.shards[0]}, frame)
				}
				if why != c.why {
					t.Errorf("refused as %v, want %v", why, c.why)
				}
				known := b.shards[0].sources.live.Load()
				if want := map[bool]int64{true: 1, false: 0}[c.why == wire.Accepted]; known != want {
					t.Errorf("%d sources are known, want %d", known, want)
				}
				want := storage.Book{}
				if c.why == wire.Accepted {
					want = storage.Book{Counts: storage.Counts{storage.Sent: 3, storage.Accepted: 3}}
				}
				b.want(t, c.stream, want, 0)
			})
		}
	}
}

// A thousand frames: every bit of each flipped, each played again at every later
// point, to another collector, after a restart, and when the source was forgotten.
// Nothing of it is taken.
func TestSealedFramesAreTakenOnce(t *testing.T) {
	frames := 1000
	if testing.Short() {
		frames = 100
	}
	for _, stream := range []uint16{1, 2} {
		key := frameKey(t, older, stream, audience)
		change := func(o *Options) { withKeys(o); o.SourceIdleMax, o.SourcesMax = time.Hour, 1<<20 }
		b := newBench(1, change)
		var all [][]byte
		accepted := func(b *bench) uint64 { return b.cuts.total().Counts[storage.Accepted] }
		for i := range frames {
			frame := sealed(key, frameOf(stream, 9, uint64(i), uint64(2*i), b.now, opens(2)...))
			for bit := range 8 * len(frame) {
				forged := slices.Clone(frame)
				forged[bit/8] ^= 1 << (bit % 8)
				b.receive(0, forged)
			}
			if n := accepted(b); n != uint64(2*i) {
				t.Fatalf("stream %d: with a bit flipped, %d events of frame %d were taken", stream, n-uint64(2*i), i)
			}
			b.receive(0, frame)
			all = append(all, frame)
			if n := accepted(b); n != uint64(2*i+2) {
				t.Fatalf("stream %d: frame %d is not taken: %d", stream, i, n)
			}
			for _, again := range all {
				b.receive(0, again)
			}
			if n := accepted(b); n != uint64(2*i+2) {
				t.Fatalf("stream %d: %d events were taken again behind frame %d", stream, n-uint64(2*i+2), i)
			}
			if i%50 == 0 {
				b.pass(time.Second)
				b.cuts.cut(causeTime)
			}
		}
		b.cuts.cut(causeTime)
		book := b.book(stream)
		if book.Counts[storage.Accepted] != uint64(2*frames) || book.Net(storage.Lost) != 0 || !book.Balanced() {
			t.Errorf("stream %d: %+v", stream, book)
		}
		// A frame whose flag 0 was flipped has no tag: at the most it is refused as
		// somebody else's, who has none.
		play := func(what string, to *bench) {
			t.Helper()
			for _, frame := range all {
				to.receive(0, frame)
				k := &connection{peer: loopPeer{deaf{}, writeDouble}, via: overTCP, shard: to.shards[0]}
				to.stream(0, k, frame)
			}
			if n := accepted(to); n != 0 {
				t.Errorf("stream %d: %s takes %d events", stream, what, n)
			}
		}
		play("another collector", newBench(1, func(o *Options) { change(o); o.Streams.Audience = "collector-2" }))
		known := map[uint64]storage.Source{}
		for _, s := range b.sources {
			known[s.ID] = s
		}
		restarted := func(o *Options) {
			change(o)
			for _, s := range known {
				o.Sources = append(o.Sources, s)
			}
		}
		again := newBench(1, restarted)
		again.shards[0].sources.restore([]storage.Source{known[9]})
		play("the next process", again)
		// And it takes what is new, and nothing without a tag.
		again.receive(0, frameOf(stream, 9, uint64(frames), uint64(2*frames), again.now, opens(5)...))
		if n := accepted(again); n != 0 {
			t.Errorf("stream %d: after a restart %d events without a tag were taken for the sealed source", stream, n)
		}
		again.receive(0, sealed(key, frameOf(stream, 9, uint64(frames), uint64(2*frames), again.now, opens(5)...)))
		if n := accepted(again); n != 5 {
			t.Errorf("stream %d: after a restart the source does not go on: %d", stream, n)
		}
		b.pass(time.Hour + time.Minute)
		for n := range stripes {
			b.shards[0].sources.forgetSilent(n, b.steady.Milliseconds(), b.shards[0].limits)
		}
		if n := b.shards[0].sources.live.Load(); n != 0 {
			t.Fatalf("%d sources are remembered", n)
		}
		taken := accepted(b)
		for _, frame := range all {
			b.receive(0, frame)
		}
		if refused := b.cuts.total().Counts[storage.RefusedFrames.Of(wire.RefusedTime)]; accepted(b) != taken || refused != uint64(frames) {
			t.Errorf("stream %d: of a source that was forgotten %d events were taken; %d frames are refused", stream, accepted(b)-taken, refused)
		}
	}
}

// How old a frame may be that opens a source, and how far ahead any may be.
func TestFresh(t *testing.T) {
	key := frameKey(t, older, 1, audience)
	for _, c := range []struct {
		idle   time.Duration
		age    time.Duration
		known  bool
		why    wire.Refusal
		reason string
	}{
		{time.Hour, 29 * time.Minute, false, wire.Accepted, "just fresh"},
		{time.Hour, 31 * time.Minute, false, wire.RefusedTime, "too old to open a source"},
		{time.Hour, 31 * time.Minute, true, wire.Accepted, "old, of a source that is known"},
		{time.Hour, -29 * time.Minute, false, wire.Accepted, "a little ahead"},
		{time.Hour, -31 * time.Minute, false, wire.RefusedTime, "too far ahead"},
		{time.Hour, -31 * time.Minute, true, wire.RefusedTime, "too far ahead, of a source that is known"},
		{10 * time.Minute, 6 * time.Minute, false, wire.RefusedTime, "older than half of how long a source is remembered"},
		{0, 31 * time.Minute, false, wire.RefusedTime, "sources are remembered for good"},
	} {
		b := newBench(1, func(o *Options) { withKeys(o); o.SourceIdleMax = c.idle })
		next := uint64(0)
		if c.known {
			b.receive(0, sealed(key, frameOf(1, 9, 0, 0, b.now)))
			next++
		}
		b.receive(0, sealed(key, frameOf(1, 9, next, 0, b.now.Add(-c.age), opens(1)...)))
		want := map[bool]uint64{true: 1, false: 0}[c.why == wire.Accepted]
		sum := b.cuts.total()
		if sum.Counts[storage.Accepted] != want || sum.Counts[storage.RefusedFrames.Of(wire.RefusedTime)] != 1-want {
			t.Errorf("%s: accepted %d, refused %v", c.reason, sum.Counts[storage.Accepted], sum.ByReason(storage.RefusedFrames))
		}
	}
}

// A number that somebody used without a tag belongs to whoever seals: l_hijack ends
// with nobody hurt, whichever comes first.
func TestSealedSourceIsNobodyElses(t *testing.T) {
	b := newBench(1, func(o *Options) { withKeys(o); o.SourceIdleMax = time.Hour })
	key := frameKey(t, older, 1, audience)
	b.receive(0, frameOf(1, 9, 1<<40, 1<<30, b.now, opens(1)...)) // somebody was first
	b.receive(0, frameOf(3, 8, 1<<40, 1<<30, b.now, opens(1)...)) // of another stream
	for i := range uint64(100) {
		for _, source := range []uint64{8, 9} {
			b.receive(0, sealed(key, frameOf(1, source, i, 10*i, b.now, opens(10)...)))
			b.receive(0, frameOf(1, source, 1<<47, 10*i+10, b.now)) // far ahead
			b.receive(0, frameOf(3, source, i+1, 10*i+10, b.now, opens(3)...))
			if why := b.stream(0, &connection{peer: loopPeer{deaf{}, writeDouble}, via: overTCP, shard: b.shards[0]}, wire.AppendHello(nil, 1, source, 0)); why != wire.RefusedUnsealed {
				t.Fatalf("a hello without a tag: %v", why)
			}
		}
	}
	b.cuts.cut(causeTime)
	book := b.book(1)
	if book.Counts[storage.Accepted] != 2001 || book.Net(storage.Lost) != 0 || book.Counts[storage.Stale] != 0 || book.RefusedEvents() != 0 || !book.Balanced() {
		t.Errorf("%+v", book)
	}
	if frames, _ := refused(book, wire.RefusedUnsealed); frames != 400 {
		t.Errorf("%d frames and hellos without a tag were refused", frames)
	}
	if n := b.shards[0].sources.live.Load(); n != 2 {
		t.Errorf("%d sources", n)
	}
}

// Nothing waits, is made or grows for frames whose tag is wrong, and neither they
// nor good ones cost an allocation.
func TestForgedFramesCostNothing(t *testing.T) {
	b := newBench(1, func(o *Options) { withKeys(o); o.SourcesMax = 1 << 20 })
	s := b.shards[0]
	key := frameKey(t, older, 2, audience)
	frames := make([][]byte, 0, 4000)
	for i := range 4000 {
		frames = append(frames, sealed(key, frameOf(2, 9, uint64(i), uint64(2*i), b.now, opens(2)...)))
	}
	b.receive(0, frames[0])
	next := 1
	if allocs := testing.AllocsPerRun(3000, func() { b.receive(0, frames[next]); next++ }); allocs != 0 {
		t.Errorf("%v allocations a good frame", allocs)
	}
	source := uint64(1000)
	forged := slices.Clone(frames[0])
	before := b.cuts.total()
	if allocs := testing.AllocsPerRun(3000, func() {
		source++
		forged[16], forged[17] = byte(source), byte(source>>8)
		b.receive(0, forged)
	}); allocs != 0 {
		t.Errorf("%v allocations a forged frame", allocs)
	}
	after := b.cuts.total()
	if s.sources.live.Load() != 1 || after.Counts[storage.Accepted] != before.Counts[storage.Accepted] || after.Counts[storage.Sent] != before.Counts[storage.Sent] || after.Counts[storage.RefusedFrames.Of(wire.RefusedSealed)] != 3001 {
		t.Errorf("a forged frame has left something behind: %d sources, %+v", s.sources.live.Load(), after)
	}
	// With a full table a forged frame asks for no cut, and waits for none.
	s.Lock()
	s.table.used = s.table.most
	s.admit(forged, overUDP, address{})
	s.table.used = 0
	s.Unlock()
	select {
	case <-b.cuts.wanted:
		t.Error("a forged frame has a cut made")
	default:
	}
}

// sealedClient is a client of a sealed session.
type sealedClient struct {
	*client
	session wire.Session
	up      *wire.EventsKey
	down    *wire.ControlKey
	hello   []byte
}

// sealedHello begins a sealed session, and returns its first ack.
func sealedHello(t *testing.T, r *running, secret *wire.Secret, stream uint16, source uint64) (*sealedClient, wire.Ack) {
	t.Helper()
	c := &sealedClient{client: &client{t, dial(t, "tcp", r.Address())}, session: wire.Session{Stream: stream, Source: source}}
	for i := range c.session.Emitter {
		c.session.Emitter[i] = byte(source) + byte(i)
	}
	c.hello = wire.AppendSealedHello(nil, stream, source, time.Now().UnixMilli(), &c.session.Emitter, secret.HelloKey(stream, audience))
	write(t, c, c.hello)
	h, frame := c.frame()
	a, why := wire.ParseAck(&h, h.Body(frame))
	if why != wire.Accepted || !h.Sealed() || h.Epoch() != secret.Epoch() {
		t.Fatalf("the first answer is %+v: %v", h, why)
	}
	c.session.Collector = a.Random
	c.down = secret.DownKey(&c.session, audience)
	var err error
	if c.up, err = secret.UpKey(&c.session, audience); err != nil {
		t.Fatal(err)
	}
	if !c.down.Opens(frame) {
		t.Fatal("the tag of the first ack is wrong")
	}
	return c, a
}

// until reads acks, whose tags must be good, up to one that says so much.
func (c *sealedClient) until(durable uint64) wire.Ack {
	c.Helper()
	for {
		h, frame := c.frame()
		if !h.Sealed() || !c.down.Opens(frame) {
			c.Fatalf("an answer without a good tag: %+v", h)
		}
		a, why := wire.ParseAck(&h, h.Body(frame))
		if why != wire.Accepted {
			c.Fatal(why)
		}
		if a.Durable >= durable {
			return a
		}
	}
}

func (c *sealedClient) send(sequence, position uint64, n int) {
	c.Helper()
	write(c.T, c, sealed(c.up, frameOf(c.session.Stream, c.session.Source, sequence, position, time.Now(), opens(n)...)))
}

// A sealed session is acknowledged under its own key, to the last ack; a recorded
// hello takes nothing over, and a frame of one connection opens on no other.
func TestSealedSession(t *testing.T) {
	r := start(t, withKeys)
	c, a := sealedHello(t, r, newer, 2, 9)
	if a.Durable != 0 || a.Credit != 1<<20 || a.Random == [16]byte{} {
		t.Errorf("the first ack is %+v", a)
	}
	var recorded []byte
	for i := range uint64(10) {
		recorded = append(recorded, sealed(c.up, frameOf(2, 9, i, 3*i, epoch, opens(3)...))...)
	}
	write(t, c, recorded)
	c.until(10)

	// The recording: the collector answers the hello, in other keys, and takes none
	// of the frames. The session goes on.
	thief := &client{t, dial(t, "tcp", r.Address())}
	write(t, thief, c.hello)
	h, frame := thief.frame()
	if h.Type != wire.TypeAck || c.down.Opens(frame) {
		t.Errorf("a recorded hello: %+v", h)
	}
	write(t, thief, recorded)
	h, frame = thief.frame()
	if reason, _, _ := wire.ParseRefusalBody(h.Body(frame)); h.Type != wire.TypeRefusal || reason != wire.RefusedSealed || !h.Sealed() {
		t.Errorf("recorded frames: %+v, %v", h, reason)
	}
	// In datagrams and without a hello they are nothing either.
	u := dial(t, "udp", r.Address())
	write(t, u, recorded[:h.Size])
	bare := &client{t, dial(t, "tcp", r.Address())}
	write(t, bare, recorded)
	h, frame = bare.frame()
	if reason, _, _ := wire.ParseRefusalBody(h.Body(frame)); reason != wire.RefusedSealed || h.Sealed() {
		t.Errorf("without a hello: %+v, %v", h, reason)
	}
	c.send(10, 30, 5)
	c.until(11)

	// A newer session of the same client takes over with its first frame.
	again, a := sealedHello(t, r, newer, 2, 9)
	if a.Durable != 11 {
		t.Errorf("a new connection is told %d", a.Durable)
	}
	c.send(11, 35, 1)
	c.until(12)
	again.send(11, 35, 1)
	again.send(12, 36, 1)
	again.until(13)
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the older connection: %v", err)
	}
	// A frame without a tag ends it, with a sealed word.
	write(t, again, frameOf(2, 9, 13, 37, epoch, opens(1)...))
	h, frame = again.frame()
	for h.Type == wire.TypeAck {
		h, frame = again.frame()
	}
	if reason, text, _ := wire.ParseRefusalBody(h.Body(frame)); reason != wire.RefusedUnsealed || !again.down.Opens(frame) || len(text) == 0 {
		t.Errorf("a frame without a tag: %+v, %v %s", h, reason, text)
	}
	last, _ := sealedHello(t, r, older, 2, 9)
	last.send(13, 37, 1)
	last.until(14)
	var stopping sync.WaitGroup
	stopping.Go(r.stop)
	for {
		h, frame := last.frame()
		if !last.down.Opens(frame) {
			t.Fatal("an ack whose tag is wrong")
		}
		if h.Flags&wire.FlagFinal != 0 {
			break
		}
	}
	stopping.Wait()
	if b := r.book(2); b.Counts[storage.Accepted] != 38 || b.Net(storage.Lost) != 0 || b.RefusedEvents() != 0 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// What a hello is refused for, which nothing can have sealed.
func TestSealedHelloRefused(t *testing.T) {
	r := start(t, withKeys)
	random := [wire.RandomSize]byte{1}
	now := time.Now().UnixMilli()
	for name, c := range map[string]struct {
		hello []byte
		why   wire.Refusal
	}{
		"without a tag, where there must be one": {wire.AppendHello(nil, 2, 9, now), wire.RefusedUnsealed},
		"another audience":                       {wire.AppendSealedHello(nil, 2, 9, now, &random, older.HelloKey(2, "collector-2")), wire.RefusedSealed},
		"another stream's key":                   {wire.AppendSealedHello(nil, 2, 9, now, &random, older.HelloKey(1, audience)), wire.RefusedSealed},
		"no such epoch":                          {wire.AppendSealedHello(nil, 2, 9, now, &random, wire.NewSecret(3, [32]byte{1}).HelloKey(2, audience)), wire.RefusedSealed},
		"a stream without keys":                  {wire.AppendSealedHello(nil, 3, 9, now, &random, older.HelloKey(3, audience)), wire.RefusedSealed},
	} {
		k := &client{t, dial(t, "tcp", r.Address())}
		write(t, k, c.hello)
		h, frame := k.frame()
		if reason, text, _ := wire.ParseRefusalBody(h.Body(frame)); reason != c.why || h.Sealed() || len(text) == 0 {
			t.Errorf("%s: refused as %v (%s)", name, reason, text)
		}
	}
	r.stop()
}

// Secrets come and go without a restart: the newer one is taken at once, and who
// seals with one that is gone comes back.
func TestSecretsAreReplaced(t *testing.T) {
	r := start(t, func(o *Options) { o.Streams = sealedStreams(older) })
	c, _ := sealedHello(t, r, older, 2, 9)
	c.send(0, 0, 2)
	c.until(1)
	r.SetStreams(sealedStreams(older, newer))
	c.send(1, 2, 2)
	c.until(2)
	next, _ := sealedHello(t, r, newer, 2, 10)
	next.send(0, 0, 2)
	next.until(1)
	r.SetStreams(sealedStreams(newer))
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("a session of a secret that is gone: %v", err)
	}
	next.send(1, 2, 2)
	next.until(2)
	if epoch1, epoch0 := r.metric(`lectern_key_last_used_timestamp_seconds{stream="2",name="sealed",epoch="1"}`), r.metric(`lectern_key_last_used_timestamp_seconds{stream="2",name="sealed",epoch="0"}`); epoch1 == "0" || epoch1 == "" || epoch0 != "" {
		t.Errorf("the keys' last use: epoch 1 %q, epoch 0 %q", epoch1, epoch0)
	}
	r.stop()
	if b := r.book(2); b.Counts[storage.Accepted] != 8 || b.RefusedEvents() != 0 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// A session that has no credit yet is told when there is some, though it could not
// prove itself by a frame.
func TestCreditForWhoHasSentNothing(t *testing.T) {
	r := start(t, withKeys)
	r.cuts.full.Store(true)
	c, a := sealedHello(t, r, older, 2, 9)
	if a.Credit != 0 {
		t.Fatalf("%+v", a)
	}
	r.cuts.full.Store(false)
	r.cuts.tellAll(0)
	if a := c.until(0); a.Credit == 0 {
		t.Errorf("%+v", a)
	}
	c.send(0, 0, 1)
	c.until(1)
	r.stop()
}

// Another process's spool is taken over with what it knew to be sealed.
func TestAdoptSealed(t *testing.T) {
	b := newBench(1, withKeys)
	s := b.shards[0]
	b.receive(0, frameOf(1, 9, 5, 50, b.now, opens(1)...)) // somebody without a tag
	s.Lock()
	s.tick()
	s.adopt(&storage.Source{ID: 9, Base: 0, End: 20, Newest: 18, Next: 10, Stream: 1, Standing: storage.Proved}, s.steady)
	s.adopt(&storage.Source{ID: 9, Base: 0, End: 99, Newest: 90, Next: 70, Stream: 1}, s.steady)
	src := s.sources.of(9).known(9)
	s.Unlock()
	if src.standing != storage.Proved || src.end != 20 || src.next != 10 || src.met == 0 {
		t.Errorf("%+v", src.state)
	}
	key := frameKey(t, older, 1, audience)
	b.receive(0, sealed(key, frameOf(1, 9, 4, 8, b.now, opens(2)...))) // counted there
	b.receive(0, sealed(key, frameOf(1, 9, 10, 20, b.now, opens(2)...)))
	if n := b.cuts.total().Counts[storage.Accepted]; n != 3 {
		t.Errorf("%d accepted", n)
	}
}

// What a session began with holds to its end, and what was there without a tag is
// not the sealed source's.
func TestSealedAndUnsealedDoNotMix(t *testing.T) {
	r := start(t, withKeys)
	c, _ := hello(t, r, 1, 9)
	write(t, c, frameOf(1, 9, 0, 0, time.Now(), opens(3)...))
	c.until(1)
	write(t, c, sealed(frameKey(t, older, 1, audience), frameOf(1, 9, 1, 3, time.Now(), opens(1)...)))
	h, frame := c.frame()
	if reason, _, _ := wire.ParseRefusalBody(h.Body(frame)); reason != wire.RefusedSealed {
		t.Errorf("a tag in a session without: %+v, %v", h, reason)
	}
	sealed, a := sealedHello(t, r, older, 1, 9)
	if a.Durable != 0 {
		t.Errorf("a sealed hello is told of %d frames that somebody else sent", a.Durable)
	}
	sealed.send(0, 0, 2)
	sealed.until(1)
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != 5 || b.RefusedEvents() != 0 || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// framesOverUDP is how many frames have come in datagrams.
func (r *running) framesOverUDP() (n uint64) {
	for _, s := range r.shards {
		s.Lock()
		n += s.tally[framesBy+meter(overUDP)]
		s.Unlock()
	}
	return n
}

// While forged frames come as fast as a loop takes them, over UDP and TCP, an honest
// sealed source and an honest session lose nothing, and nothing is remembered of the
// flood.
func TestForgedFloodHurtsNobody(t *testing.T) {
	r := start(t, func(o *Options) { withKeys(o); o.ReceiveBuffer, o.ConnectionsMax = 8<<20, 100 })
	forger := wire.NewSecret(0, [wire.SecretSize]byte{99})
	stop := make(chan struct{})
	var flood sync.WaitGroup
	var forged atomic.Uint64
	flood.Go(func() {
		key, u := frameKey(t, forger, 2, audience), dial(t, "udp", r.Address())
		_ = u.SetDeadline(time.Time{})
		for source := uint64(1); ; source++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := u.Write(sealed(key, frameOf(2, source, 1<<40, 1<<41, time.Now(), wire.Event{Content: source, User: source}))); err == nil {
				forged.Add(1)
			}
			if source%64 == 0 { // not more than the loop takes: the kernel would drop both alike
				for forged.Load() > r.framesOverUDP()+2000 {
					time.Sleep(time.Millisecond)
				}
			}
		}
	})
	flood.Go(func() {
		for source := uint64(1); ; source++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			conn, err := net.Dial("tcp", r.Address())
			if err != nil {
				continue
			}
			_, _ = conn.Write(wire.AppendSealedHello(nil, 2, source, time.Now().UnixMilli(), new([wire.RandomSize]byte), forger.HelloKey(2, audience)))
			_ = conn.Close()
		}
	})
	key, u := frameKey(t, older, 2, audience), dial(t, "udp", r.Address())
	c, _ := sealedHello(t, r, older, 2, 1<<63+1)
	for _, conn := range []net.Conn{u, c} {
		_ = conn.SetDeadline(time.Now().Add(floodTime() + time.Minute))
	}
	var n uint64
	for end := time.Now().Add(floodTime()); time.Now().Before(end); n++ {
		write(t, u, sealed(key, frameOf(2, 1<<63, n, 3*n, time.Now(), opens(3)...)))
		c.send(n, 3*n, 3)
		time.Sleep(time.Millisecond)
	}
	c.until(n)
	close(stop)
	flood.Wait()
	if live := r.Collector.sources.live.Load(); live != 2 {
		t.Errorf("%d sources are remembered, 2 are honest", live)
	}
	drops := r.KernelDrops()
	r.stop()
	b := r.book(2)
	if got := b; got.Counts[storage.Accepted] != 6*n || !got.Balanced() || got.RefusedEvents() != 0 {
		t.Errorf("%d events were sent: %+v; the kernel dropped %d", 6*n, got, drops)
	}
	if frames, _ := refused(b, wire.RefusedSealed); frames < forged.Load() {
		t.Errorf("%d forged frames of %d were refused; the kernel dropped %d", frames, forged.Load(), drops)
	}
	t.Logf("%d honest frames, beside %d forged ones", 2*n, forged.Load())
}
