//go:build unix

package conform

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"

	"github.com/lectern/lectern/wire"
)

// cut takes the whole frames that came on a connection.
func (j *judge) cut(c *conn) (frames []*frame) {
	for len(c.in) >= wire.HeaderSize {
		size := int(binary.LittleEndian.Uint16(c.in[4:]))
		if size >= wire.HeaderSize && size > len(c.in) {
			break
		}
		f, ok := j.parse(c.in)
		if !ok {
			c.in = nil
			break
		}
		c.in = c.in[f.header.Size:]
		f.by, f.conn = c.by, c.serial
		j.streamed(c, f)
		frames = append(frames, f)
	}
	return frames
}

// streamed judges a frame on a connection.
func (j *judge) streamed(c *conn, f *frame) {
	k, h := &c.judged, &f.header
	if j.udp {
		j.violate(f.bytes, "a connection of an emitter that was dialled over UDP")
		return
	}
	if h.Type == wire.TypeHello {
		j.hello(c, f)
		return
	}
	switch {
	case k.hello == nil:
		j.violate(f.bytes, "the first frame on a connection is not a hello")
		return
	case !h.Type.Numbered():
		j.violate(f.bytes, "a frame of type %d: an emitter sends a hello, and then events and names", h.Type)
		return
	case h.Source != k.hello.id:
		j.violate(f.bytes, "a frame of source %d on a connection whose hello names %d", h.Source, k.hello.id)
	case !k.acked:
		j.violate(f.bytes, "a frame before the answer to the hello")
	case k.began && h.Sequence < k.next:
		j.violate(f.bytes, "sequence %d comes behind %d on one connection", h.Sequence, k.next-1)
	}
	if k.up != nil && (h.Epoch() != k.secret.Epoch() || !k.up.Opens(f.bytes)) {
		j.violate(f.bytes, "its tag is not that of this connection's up key")
	}
	s := j.source(f, false)
	j.left(s, k, h)
	k.began, k.next = true, h.Sequence+1
	before := s.frames[h.Sequence]
	switch {
	case s.refused[h.Sequence]:
		j.violate(f.bytes, "frame %d was refused and is sent again: what is wrong in it does not get right by that", h.Sequence)
	case before == nil && len(s.frames) > 0 && h.Sequence < s.newest:
		j.violate(f.bytes, "frame %d never came, and comes behind %d", h.Sequence, s.newest)
	case before == nil:
		j.number(s, f)
	default:
		f.again = true
		if !same(before, f) {
			j.violate(f.bytes, "frame %d of source %d is sent again with other bytes, at first with\n%x", h.Sequence, s.id, before.bytes)
		} else if before.conn == c.serial {
			j.violate(f.bytes, "frame %d of source %d is sent twice on one connection", h.Sequence, s.id)
		}
		if before.conn == 0 {
			before.conn = c.serial // a final ack had left it out
		}
		if h.Sequence < s.durable {
			j.violate(f.bytes, "frame %d of source %d is sent again, and everything below %d is durable", h.Sequence, s.id, s.durable)
		}
	}
	j.credit(s, k, f)
}

// hello judges how a session begins.
func (j *judge) hello(c *conn, f *frame) {
	k, h := &c.judged, &f.header
	if k.hello != nil {
		j.violate(f.bytes, "a second hello on one connection")
	}
	random, why := wire.ParseHello(h, h.Body(f.bytes))
	if h.Sequence != 0 || h.Position != 0 || why != wire.Accepted {
		j.violate(f.bytes, "a hello has sequence 0 and position 0, and no body, or sealed 16 random bytes")
	}
	if h.Sealed() {
		j.sealedHello(c, f, random)
	}
	if h.Stream != j.stream {
		j.violate(f.bytes, "stream %d, and %d was dialled", h.Stream, j.stream)
	}
	k.hello = j.source(f, false)
	k.flight = map[uint64]int{}
}

// sealedHello judges the tag of a hello, and draws what the collector draws.
func (j *judge) sealedHello(c *conn, f *frame, random [wire.RandomSize]byte) {
	k := &c.judged
	if f.header.Epoch() != j.secret.Epoch() || !j.secret.HelloKey(j.stream, j.audience).Opens(f.bytes) {
		j.violate(f.bytes, "its tag is not that of the hello key of epoch %d", j.secret.Epoch())
	}
	if j.randoms[random] {
		j.violate(f.bytes, "its random bytes were in a hello before: they are drawn for each connection")
	}
	j.randoms[random] = true
	k.secret = j.secret
	k.session = wire.Session{Stream: j.stream, Source: f.header.Source, Emitter: random}
	_, _ = rand.Read(k.session.Collector[:]) // never fails: crypto/rand ends the process instead
	var err error
	if k.up, err = k.secret.UpKey(&k.session, j.audience); err != nil {
		j.violate(f.bytes, "%v", err)
	}
	k.down = k.secret.DownKey(&k.session, j.audience)
}

// same says whether a frame is the one that came before: of a sealed one all but
// epoch and tag.
func same(a, b *frame) bool {
	if !a.header.Sealed() || !b.header.Sealed() || len(a.bytes) != len(b.bytes) {
		return bytes.Equal(a.bytes, b.bytes)
	}
	end := len(a.bytes) - wire.TagSize
	return bytes.Equal(a.bytes[:3], b.bytes[:3]) && bytes.Equal(a.bytes[4:end], b.bytes[4:end])
}

// left judges what is left out between the frame before and this one: what is
// neither durable nor refused comes again.
func (j *judge) left(s *source, k *connected, h *wire.Header) {
	from := s.durable
	if k.began {
		from = max(from, k.next)
	}
	for n := from; n < h.Sequence && n <= s.newest; n++ {
		if s.frames[n] != nil && !s.refused[n] {
			j.violate(s.frames[n].bytes, "frame %d of source %d is neither durable nor refused, and is not sent again: frame %d comes in its place", n, s.id, h.Sequence)
			return
		}
	}
}

// credit judges the bytes in flight.
func (j *judge) credit(s *source, k *connected, f *frame) {
	flight := 0
	for sequence, size := range k.flight {
		if sequence < s.durable {
			delete(k.flight, sequence)
		} else {
			flight += size
		}
	}
	size := len(f.bytes)
	if k.credit == 0 || flight > 0 && uint64(flight+size) > k.credit {
		j.violate(f.bytes, "%d bytes are in flight with this frame, and the credit is %d", flight+size, k.credit)
	}
	k.flight[f.header.Sequence] = size
}

// ack takes note of what the collector says on a connection.
func (j *judge) ack(k *connected, a wire.Ack) {
	s := k.hello
	k.acked = true
	k.credit = a.Credit
	sent := uint64(0)
	if len(s.frames) > 0 {
		sent = s.newest + 1
	}
	switch {
	case s.spoolOK && s.spool != a.Spool:
		j.over(s, "another spool answered", 0, 0)
		return
	case a.Durable > sent:
		j.over(s, "the collector has what was never sent under it", 0, 0)
		return
	}
	s.spool, s.spoolOK = a.Spool, true
	s.durable = max(s.durable, a.Durable)
	if a.Final {
		k.credit = 0
		// What was not taken is as if it had never been sent: but its bytes stay.
		for n := s.durable; n <= s.newest; n++ {
			if f := s.frames[n]; f != nil {
				f.conn = 0
			}
		}
	}
}

// over ends a source. What it had sent may have been counted, and must not come
// again under another, but for what a final ack left out, and what came first on
// this connection from that sequence on.
func (j *judge) over(s *source, why string, serial int, from uint64) {
	s.over = why
	for n, f := range s.frames {
		if n >= s.durable && (f.conn == 0 || f.conn == serial && n >= from) {
			continue
		}
		for i := range f.events {
			e := &f.events[i]
			if a := j.events[event{e.Content, e.User, e.Kind}]; a != nil {
				a.barred = why
			}
		}
	}
}

// refuse takes note of a refusal that names this frame.
func (j *judge) refuse(c *conn, why wire.Refusal, sequence uint64) {
	s := c.judged.hello
	switch why {
	case wire.RefusedSources, wire.RefusedConnections, wire.RefusedIdle, wire.RefusedCredit, wire.RefusedUnexpected, wire.RefusedSealed, wire.RefusedUnsealed:
	case wire.RefusedForgotten:
		j.over(s, "the collector does not know it", c.serial, 0)
	case wire.RefusedPosition:
		j.over(s, "a position contradicts", c.serial, sequence)
	default:
		s.refused[sequence] = true
	}
}

// nameless takes note that the collector does not know names, and cannot say which frame
// that was: the emitter gives those of this source up.
func (j *judge) nameless(s *source) {
	for n, f := range s.frames {
		if f.header.Type == wire.TypeNames {
			s.refused[n] = true
		}
	}
}
