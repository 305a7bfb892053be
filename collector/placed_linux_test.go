package collector

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// fate is what becomes of the seven events that a source has in the frame which is
// refused. It has sent ten before and sends five behind it.
type fate uint8

const (
	asRefused fate = iota // the frame is placed
	asLost                // it is not, and the source goes on behind it
	again                 // its events come again, and are accepted
	noEvents              // it is not a frame of the numbering
)

// teller is a source that knows what it has sent, and a collector without sockets.
type teller struct {
	*bench
	*testing.T
	way                    way
	id, sequence, position uint64
	made                   uint64 // events
	conn                   *connection
	key                    *wire.EventsKey // nil: frames have no tag
}

// number gives a frame of n events its numbers, which are used up.
func (p *teller) number(n int) []byte {
	frame := frameOf(1, p.id, p.sequence, p.position, p.now, opens(n)...)
	p.sequence++
	p.position += uint64(n)
	p.made += uint64(n)
	if p.key != nil {
		return sealed(p.key, frame)
	}
	return frame
}

// connect makes a connection, where the source has any.
func (p *teller) connect() {
	s := p.shards[0]
	p.conn = &connection{peer: loopPeer{deaf{}, writeDouble}, via: overTCP, shard: s}
	s.Lock()
	defer s.Unlock()
	if p.conn.at = len(s.conns.list); p.way == acknowledged {
		p.conn.phase, p.conn.source, p.conn.stream = phaseGreeted, p.id, 1
		s.meet(p.conn)
	}
}

// send sends bytes, and connects again where they are refused.
func (p *teller) send(b []byte) {
	if p.way == datagrams {
		p.receive(0, b)
	} else if p.stream(0, p.conn, b) != wire.Accepted {
		p.connect()
	}
	if k := p.book(1); !k.Balanced() {
		p.Errorf("in the middle of it: %+v", k)
	}
}

// seal has the source's frames sealed from now on. It begins anew with that.
func (p *teller) seal() {
	secret := wire.NewSecret(0, [wire.SecretSize]byte{1})
	p.shards[0].rules.streams.Store(newStreamTable(&Streams{Audience: audience, Known: []Stream{{Number: 1, Seal: SealAllow, Secrets: []*wire.Secret{secret}}}}, nil))
	p.key = frameKey(p, secret, 1, audience)
	p.begin()
	p.send(p.number(0))
}

// begin begins a new source: another socket, another numbering.
func (p *teller) begin() {
	p.id, p.sequence, p.position = p.id+1, 0, 0
	p.connect()
}

// withoutRoom sends bytes while there is no room for another source.
func (p *teller) withoutRoom(b []byte) {
	open := p.shards[0].sources.full()
	p.send(b)
	open()
}

// goOn sends five events and the last beats.
func (p *teller) goOn() {
	p.send(p.number(5))
	p.bye()
}

func (p *teller) bye() {
	for range 3 {
		p.pass(20 * time.Millisecond)
		p.send(p.number(0))
	}
}

// settled are the books of stream 1 when nobody has more to tell.
func (p *teller) settled() storage.BookTotal {
	s := p.shards[0]
	for range 5 {
		p.cuts.cut(causeTime)
		p.pass(time.Minute)
		for n := range stripes {
			s.sources.sweep(n, before(p.steady.Milliseconds(), spanQuiet), before(0, 0), before(0, 0))
		}
	}
	p.cuts.cut(causeTime)
	t := storage.BookTotal{Book: p.book(1)}
	spans := map[uint64][]storage.Span{}
	for _, span := range p.spans[storage.Account{Stream: 1}] {
		spans[span.Source] = append(spans[span.Source], span)
	}
	for _, all := range spans {
		t.Settle(storage.Settle(all, p.now.UnixMilli()))
	}
	return t
}

// over is the context of a newcomer that is one too many.
type over struct{ deaf }

func (over) Context() any         { return &newcomer{full: true} }
func (over) RemoteAddr() net.Addr { return nil }

// edited has the next seven events in a frame that is changed on its way, and goes
// on behind it.
func edited(change func(b []byte) []byte) func(*teller) {
	return func(p *teller) {
		p.send(change(p.number(7)))
		p.goOn()
	}
}

// set is a change of one byte.
func set(at int, value byte) func([]byte) []byte {
	return func(b []byte) []byte { b[at] = value; return b }
}

// withTag is a change that seals a frame, by a key that nobody has.
func withTag(b []byte) []byte {
	b = append(b, make([]byte, wire.TagSize)...)
	b[3] = wire.FlagSealed
	binary.LittleEndian.PutUint16(b[4:], uint16(len(b)))
	return b
}

// moved has a frame's position, at 32, or its sequence, at 24, elsewhere.
func moved(at int, by int64) func([]byte) []byte {
	return func(b []byte) []byte {
		binary.LittleEndian.PutUint64(b[at:], binary.LittleEndian.Uint64(b[at:])+uint64(by))
		return b
	}
}

// Every word, on every way on which a frame can be refused by it.
var placedCases = []struct {
	why  wire.Refusal
	ways []way
	name string
	fate fate
	do   func(*teller)
}{
	{wire.RefusedShort, []way{datagrams}, "a piece of a header", asLost, edited(func(b []byte) []byte { return b[:39] })},
	{wire.RefusedMagic, all, "another magic", asLost, edited(set(0, 0))},
	{wire.RefusedVersion, all, "another version", asLost, edited(set(2, 0x21))},
	{wire.RefusedType, all, "no type", asLost, edited(set(2, 0x1F))},
	{wire.RefusedFlags, all, "a reserved flag", asLost, edited(set(3, 4))},
	{wire.RefusedSize, all, "smaller than a header", asLost, edited(func(b []byte) []byte { b[4], b[5] = 39, 0; return b })},
	{wire.RefusedSize, []way{datagrams}, "larger than the datagram", asLost, edited(moved(4, 1))},
	{wire.RefusedSize, []way{plain, acknowledged}, "cut off", again, func(p *teller) {
		frame := p.number(7)
		p.send(frame[:50])
		p.gone()
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedCount, all, "a count that cannot fit", asLost, edited(set(6, 200))},
	{wire.RefusedCount, all, "an event less than its count", asRefused, func(p *teller) {
		p.send(set(6, 7)(p.number(6)))
		p.made, p.position = p.made+1, p.position+1
		p.goOn()
	}},
	{wire.RefusedStream, all, "the reserved stream", asLost, edited(func(b []byte) []byte { b[8], b[9] = 255, 255; return b })},
	{wire.RefusedStream, all, "another stream than before", asRefused, edited(set(8, 2))},
	{wire.RefusedNumber, all, "a number that is too large", asLost, edited(moved(24, wire.NumberMax))},
	{wire.RefusedLength, all, "an id of nine bytes", asRefused, edited(set(40, 0x91))},
	{wire.RefusedInherit, all, "the first event inherits", asRefused, edited(set(40, 0x01))},
	{wire.RefusedKind, all, "a kind without a name", asRefused, edited(set(41, 7))},
	{wire.RefusedProgress, all, "a progress of 101", asRefused, edited(func(b []byte) []byte {
		b = wire.AppendEvent(b[:wire.HeaderSize], &wire.Event{Content: 1, User: 1, Progress: 1, HasProgress: true}, nil)
		for range 6 {
			b = append(b, 0, 0)
		}
		b[wire.HeaderSize+4] = 101
		b[4], b[5] = byte(len(b)), 0
		return b
	})},
	{wire.RefusedName, all, "a name that is cut short", noEvents, func(p *teller) {
		frame := append(p.number(0), 0)
		frame[2] = frame[2]&0xF0 | byte(wire.TypeNames)
		frame[4]++
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedBody, []way{plain, acknowledged}, "a hello with a body", noEvents, func(p *teller) {
		hello := append(wire.AppendHello(nil, 1, p.id, 0), 1)
		hello[4]++
		p.send(hello)
		p.goOn()
	}},
	{wire.RefusedSealed, all, "a tag, and there is no secret", asLost, edited(withTag)},
	{wire.RefusedSealed, []way{datagrams, plain}, "somebody else's, in front of the right one", again, func(p *teller) {
		p.seal()
		frame := p.number(7)
		forged := append([]byte(nil), frame...)
		forged[len(forged)-1]++
		p.send(forged)
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedUnsealed, all, "where there must be a tag", asLost, func(p *teller) {
		rules := p.shards[0].rules
		before := rules.streams.Load()
		rules.streams.Store(newStreamTable(&Streams{Known: []Stream{{Number: 1, Seal: SealRequire}}}, nil))
		p.send(p.number(7))
		rules.streams.Store(before)
		p.goOn()
	}},
	{wire.RefusedUnsealed, []way{datagrams, plain}, "of a sealed source", again, func(p *teller) {
		p.seal()
		frame := p.number(7)
		p.send(frameOf(1, p.id, p.sequence-1, p.position-7, p.now, opens(7)...))
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedTime, []way{datagrams, plain}, "too far ahead", asLost, func(p *teller) {
		p.seal()
		now := p.now
		p.now = now.Add(time.Hour)
		frame := p.number(7)
		p.now = now
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedTime, []way{datagrams}, "too old, until a beat has come", again, func(p *teller) {
		p.seal()
		p.begin()
		now := p.now
		p.now = now.Add(-time.Hour)
		frame := p.number(7)
		p.now = now
		p.send(frame)
		p.send(p.number(0))
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedUnexpected, all, "an ack", noEvents, func(p *teller) {
		p.send(wire.AppendAck(nil, 1, p.id, 0, wire.Ack{}))
		p.goOn()
	}},
	{wire.RefusedUnexpected, []way{datagrams}, "a hello", noEvents, func(p *teller) {
		p.send(wire.AppendHello(nil, 1, p.id, 0))
		p.goOn()
	}},
	{wire.RefusedUnexpected, []way{acknowledged}, "a datagram of a session's source", again, func(p *teller) {
		frame := p.number(7)
		p.receive(0, frame)
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedUnexpected, []way{acknowledged}, "a datagram of a session's source, and no more", asLost, func(p *teller) {
		p.receive(0, p.number(7))
		p.goOn()
	}},
	{wire.RefusedTruncated, []way{datagrams}, "larger than the buffer", asLost, func(p *teller) {
		frame, s := p.number(7), p.shards[0]
		s.udp.headers, s.udp.buffer = make([]mmsghdr, 1), frame
		s.udp.headers[0].header.Flags = unix.MSG_TRUNC
		s.udp.headers[0].length = uint32(len(frame))
		s.Lock()
		s.tick()
		s.received(0)
		s.Unlock()
		p.goOn()
	}},
	{wire.RefusedRest, []way{datagrams}, "behind another's", asLost, func(p *teller) {
		p.send(append(make([]byte, 0, 200), append(frameOf(3, 77, 0, 0, p.now, wire.Event{Kind: 7}), p.number(7)...)...))
		p.goOn()
	}},
	{wire.RefusedSequence, []way{plain}, "one is left out, and comes on another connection", again, func(p *teller) {
		frame, next := p.number(7), p.number(5)
		p.send(next)
		p.send(frame)
		p.send(next)
		p.bye()
	}},
	{wire.RefusedSequence, []way{plain}, "one is left out", asLost, func(p *teller) {
		p.number(2)
		p.send(p.number(5))
		p.goOn()
	}},
	{wire.RefusedSequence, []way{plain, acknowledged}, "one comes again on its connection", again, func(p *teller) {
		frame := p.number(7)
		p.send(frame)
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedSequence, []way{plain, acknowledged}, "another source on the connection", again, func(p *teller) {
		p.bye()
		p.id, p.sequence, p.position = p.id+1, 0, 0
		frame := p.number(7)
		p.send(frame) // it connects again
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedPosition, all, "it leaves a gap, and the source goes on", asLost, edited(moved(32, 3))},
	{wire.RefusedPosition, all, "it goes back, and the source goes on", asLost, edited(moved(32, -3))},
	{wire.RefusedPosition, all, "it leaves a gap, and a new source begins", again, func(p *teller) {
		p.send(moved(32, 3)(p.number(7)))
		p.made -= 7
		p.begin()
		p.send(p.number(7))
		p.goOn()
	}},
	{wire.RefusedPosition, all, "somebody else's, in front of the right one", again, func(p *teller) {
		frame := p.number(7)
		p.send(moved(32, 1<<40)(append([]byte(nil), frame...)))
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedPosition, []way{datagrams, acknowledged}, "somebody else's, far ahead", again, func(p *teller) {
		frame := p.number(7)
		p.send(moved(24, 1000)(moved(32, -1)(append([]byte(nil), frame...))))
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedSources, []way{datagrams, plain}, "there is room later", asLost, func(p *teller) {
		p.begin()
		p.withoutRoom(p.number(7))
		p.goOn()
	}},
	{wire.RefusedSources, all, "there is room later, and it comes again", again, func(p *teller) {
		p.begin()
		frame := p.number(7)
		p.withoutRoom(frame)
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedConnections, []way{plain, acknowledged}, "one too many", again, func(p *teller) {
		frame := p.number(7)
		p.shards[0].OnOpen(over{})
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedIdle, []way{plain, acknowledged}, "it stops inside a frame", again, func(p *teller) {
		frame := p.number(7)
		p.send(frame[:50])
		p.conn.acked = p.conn.total
		p.shards[0].conns.list = append(p.shards[0].conns.list, p.conn)
		p.pass(time.Minute)
		p.shards[0].sweep()
		p.gone()
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedCredit, []way{acknowledged}, "more than it was given", again, func(p *teller) {
		frame := p.number(7)
		p.shards[0].limits.CreditMax = -wire.FrameSizeMax
		p.send(frame)
		p.shards[0].limits.CreditMax = 1 << 20
		p.send(frame)
		p.goOn()
	}},
	{wire.RefusedForgotten, []way{acknowledged}, "a source that is not known", again, func(p *teller) {
		p.begin()
		p.send(frameOf(1, p.id, 8, 100, p.now, opens(7)...))
		p.begin()
		p.send(p.number(7))
		p.goOn()
	}},
}

var all = []way{datagrams, plain, acknowledged}

// gone has the source lose its connection, and make another.
func (p *teller) gone() {
	s, k := p.shards[0], p.conn
	s.Lock()
	if len(k.partial) > 0 && k.ending != endingRefused {
		s.refuseOn(k, wire.RefusedSize, k.partial)
	}
	s.drop(k)
	s.conns.list = nil
	s.Unlock()
	p.connect()
}

// A refused frame's events stand in one place, whatever it is refused for: as
// refused where the frame is placed; else as lost, or accepted when they come
// again. All are as many as the sources sent, by their own count.
func TestRefusedIsBookedOnce(t *testing.T) {
	impossible := map[wire.Refusal][]way{
		wire.RefusedShort:       {plain, acknowledged}, // the rest may still come
		wire.RefusedBody:        {datagrams},           // a hello is unexpected there
		wire.RefusedTruncated:   {plain, acknowledged},
		wire.RefusedRest:        {plain, acknowledged},
		wire.RefusedSequence:    {datagrams},
		wire.RefusedConnections: {datagrams},
		wire.RefusedIdle:        {datagrams},
		wire.RefusedCredit:      {datagrams, plain},
		wire.RefusedForgotten:   {datagrams, plain},
		wire.RefusedTime:        {acknowledged}, // a session is fresh
	}
	var tried [wire.Refusals][ways]bool
	for why, on := range impossible {
		for _, way := range on {
			tried[why][way] = true
		}
	}
	for _, c := range placedCases {
		for _, way := range c.ways {
			tried[c.why][way] = true
			t.Run(fmt.Sprintf("%s/%s/%s", c.why.String(), wayWords[way], c.name), func(t *testing.T) {
				p := &teller{bench: newBench(1, func(o *Options) { o.CreditMax, o.ConnectionIdleMax = 1<<20, time.Second }), T: t, way: way, id: 9}
				p.connect()
				want := storage.Book{Counts: storage.Counts{storage.Sent: 22, storage.Accepted: 15}}
				var refusedEvents uint64
				switch c.fate {
				case asRefused:
					refusedEvents = 7
				case asLost:
					want.Counts[storage.Lost] = 7
				case again:
					want.Counts[storage.Accepted] = 22
				case noEvents:
					want.Counts[storage.Sent] = 15
				}
				p.send(p.number(10))
				c.do(p)
				got := p.settled()
				if c.fate != noEvents && p.made != want.Counts[storage.Sent] || uint64(got.Net(storage.Sent)) != want.Counts[storage.Sent] || got.Counts[storage.Accepted] != want.Counts[storage.Accepted] || got.Net(storage.Lost) != want.Net(storage.Lost) || got.RefusedEvents() != refusedEvents || got.Open != 0 || !got.Balanced() {
					t.Errorf("the source has sent %d, and the books say\n%+v, want\n%+v and %d refused", p.made, got, want, refusedEvents)
				}
				sum := p.cuts.total()
				if sum.Counts[storage.RefusedFrames.Of(c.why)] == 0 || sum.Counts[storage.RefusedEvents.Of(c.why)] != refusedEvents {
					t.Errorf("refused: frames %v, events %v", sum.ByReason(storage.RefusedFrames), sum.ByReason(storage.RefusedEvents))
				}
			})
		}
	}
	for why := wire.Accepted + 1; int(why) < wire.Refusals; why++ {
		for way, ok := range tried[why] {
			if !ok {
				t.Errorf("nothing is said of %s over a %s", why.String(), wayWords[way])
			}
		}
	}
}

// Of a source for which there is never room nothing is in the books but its frames.
// What they say of events is counted beside the sum.
func TestSourceWithoutRoomIsCountedBesideTheBooks(t *testing.T) {
	p := &teller{bench: newBench(1, nil), T: t, id: 9}
	p.withoutRoom(p.number(7))
	p.withoutRoom(p.number(0))
	got := p.settled()
	if frames, events := refused(got.Book, wire.RefusedSources); frames != 2 || events != 0 || uint64(got.Net(storage.Sent)) != 0 || !got.Balanced() {
		t.Errorf("%+v", got)
	}
	if n := p.cuts.total().Counts[storage.UnplacedEvents.Of(wire.RefusedSources)]; n != 7 {
		t.Errorf("%d events are said to be in frames without a place, want 7", n)
	}
}
