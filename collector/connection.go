package collector

import (
	"fmt"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/lectern/lectern/wire"
)

// connection is one TCP client.
type connection struct {
	conn     gnet.Conn
	shard    *shard // whose mutex protects what follows
	partial  []byte // the beginning of a frame whose rest has not come
	source   uint64 // whose frames come here, once it has said so
	next     uint64 // the sequence that must follow, or be the least
	started  bool
	refused  bool // it has been told why; what still comes is thrown away
	lost     bool // it is of no more use: close it
	leaving  bool // the collector ends: what still comes is thrown away
	closed   bool
	lastByte int64 // milliseconds of running time
	frameAt  int64 // running time when the frame in partial began
	at       int   // its place in the shard's list

	older, younger *connection // in the list of those that stopped inside a frame

	// Of a session:
	session    bool
	waits      bool  // its hello is not answered yet
	since      int64 // running time of the hello, while it waits
	unknown    bool  // the source was not known when it began; an older connection may still bring it
	stream     uint16
	durable    uint64 // what it was told
	total      uint64 // bytes of frames that came
	acked      uint64 // of these, acknowledged
	before     uint64 // total at the end of the last window, if something came since
	generation uint64 // of the window in which something last came
}

// connections are the TCP clients of one shard.
type connections struct {
	list     []*connection
	partials partials
}

// lingerMax is how long a refused client may take to hang up.
const lingerMax = 2 * time.Second

// OnOpen takes a connection that accept gives to the loop. A newcomer for which
// there is no room is told so.
func (s *shard) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	s.Lock()
	defer s.Unlock()
	s.tick()
	over := false
	if n, ok := c.Context().(*newcomer); ok {
		n.opened, over = true, n.over
	}
	s.tally.opened++
	k := &connection{conn: c, shard: s, lastByte: s.steady, at: len(s.conns.list)}
	s.conns.list = append(s.conns.list, k)
	c.SetContext(k)
	if s.leaving {
		k.leaving = true
		return nil, gnet.Close
	}
	if !over {
		return nil, gnet.None
	}
	s.refuse(wire.RefusedConnections)
	return nil, s.hangUp(k, wire.Header{}, wire.RefusedConnections,
		fmt.Sprintf("the collector has its %d connections; raise limits.connections_max", s.limits.ConnectionsMax))
}

// OnClose forgets a connection. A frame of which only a part came is refused.
func (s *shard) OnClose(c gnet.Conn, _ error) gnet.Action {
	k, ok := c.Context().(*connection)
	if !ok {
		return gnet.None // a datagram's
	}
	s.Lock()
	defer s.Unlock()
	s.held.Add(-1)
	k.closed = true
	if k.session {
		s.cuts.sessions.leave(k)
	}
	s.cuts.connected.Add(-1)
	if len(k.partial) > 0 && !k.refused {
		s.refuse(wire.RefusedSize)
	}
	s.drop(k)
	last := len(s.conns.list) - 1
	s.conns.list[k.at] = s.conns.list[last]
	s.conns.list[k.at].at = k.at
	s.conns.list[last] = nil
	s.conns.list = s.conns.list[:last]
	return gnet.None
}

// OnTraffic takes what one wake-up brought: bytes of a stream, or a datagram,
// behind which the socket is drained.
func (s *shard) OnTraffic(c gnet.Conn) gnet.Action {
	b, _ := c.Next(-1) // always all of it: gnet's own buffer has no bound
	s.Lock()
	defer s.Unlock()
	s.tick()
	s.tally.wakeups++
	k, ok := c.Context().(*connection)
	if !ok {
		s.datagram(b)
		s.drain(c.Fd(), batchesMax)
		return gnet.None
	}
	s.tally.bytes[overTCP] += uint64(len(b))
	k.lastByte = s.steady
	if k.refused || k.leaving {
		return gnet.None
	}
	h, why := s.stream(k, b)
	if k.lost {
		return gnet.Close
	}
	if why == wire.Accepted {
		return gnet.None
	}
	return s.hangUp(k, h, why, s.explain(&h, why))
}

// stream takes the bytes that came, behind those that had come before.
func (s *shard) stream(k *connection, b []byte) (h wire.Header, why wire.Refusal) {
	defer s.flush()
	for {
		if n := len(k.partial); n > 0 && n < wire.HeaderSize {
			n = min(wire.HeaderSize-n, len(b)) // the header says where the frame ends
			s.keep(k, b[:n])
			b = b[n:]
		}
		front := b
		if len(k.partial) > 0 {
			front = k.partial
		}
		if len(front) < wire.HeaderSize {
			s.keep(k, b)
			return h, wire.Accepted
		}
		if h, why = wire.ParseHeader(front); why != wire.Accepted {
			s.refuse(why)
			return h, why
		}
		var frame []byte
		switch {
		case len(k.partial)+len(b) < h.Size:
			s.keep(k, b)
			return h, wire.Accepted
		case len(k.partial) > 0:
			frame, b = s.joined(k, h.Size, b)
		default:
			frame, b = b[:h.Size], b[h.Size:]
		}
		if why = s.streamFrame(k, &h, frame); why != wire.Accepted || k.lost {
			return h, why
		}
	}
}

// streamFrame takes one whole frame of a stream, whose frames are of one source
// and follow each other. On a session the client may leave sequences out: they
// show as lost.
func (s *shard) streamFrame(k *connection, h *wire.Header, frame []byte) wire.Refusal {
	if h.Type == wire.TypeHello {
		return s.hello(k, h, frame)
	}
	if k.waits { // for an ack, and so does its client, if it keeps to the protocol
		k.lost = true
		return wire.Accepted
	}
	if h.Type == wire.TypeEvents {
		switch {
		case s.streams.refuses(h.Stream):
			return s.refuseUnknown(h)
		case (k.started || k.session) && h.Source != k.source, k.started && h.Sequence < k.next, k.started && h.Sequence > k.next && !k.session:
			return s.refuseStranger(h, wire.RefusedSequence)
		case k.session && k.unknown && k.durable == 0 && !k.started && h.Sequence > 0:
			return s.refuseStranger(h, wire.RefusedForgotten)
		case k.session && !s.inFlight(k, h.Sequence, h.Size):
			return s.refuseStranger(h, wire.RefusedCredit)
		case k.session && !s.makeRoom(h.Count, overTCP):
			// Nothing of it is acknowledged: the client sends it again, later.
			s.tally.noRoom++
			k.lost = true
			return wire.Accepted
		}
		k.started, k.source, k.next = true, h.Source, h.Sequence+1
	}
	why := s.frame(h, frame, overTCP, k.session)
	s.yield()
	return why
}

// hangUp tells a client why, and closes our half. The rest of what it sends is
// read and thrown away for a moment: closing on unread bytes would reset the
// connection, and the client would not learn the reason.
func (s *shard) hangUp(k *connection, h wire.Header, why wire.Refusal, text string) gnet.Action {
	k.refused = true
	k.frameAt = s.steady
	s.drop(k)
	if _, err := k.conn.Write(wire.AppendRefusal(nil, h, s.now, why, text)); err != nil {
		return gnet.Close
	}
	if k.conn.OutboundBuffered() > 0 || shutdownWrite(k.conn.Fd()) != nil {
		return gnet.Close
	}
	return gnet.None
}

// sweep closes connections that have been silent for too long, or stopped
// inside a frame, or were refused and did not hang up. Called about once a
// second from outside the loop.
func (s *shard) sweep() {
	s.Lock()
	defer s.Unlock()
	s.tick()
	idle := s.limits.ConnectionIdleMax.Milliseconds()
	for _, k := range s.conns.list {
		switch {
		case k.refused:
			if s.steady-k.frameAt > lingerMax.Milliseconds() {
				_ = k.conn.CloseWithCallback(nil) // goes through the loop's queue: OnClose does the rest
			}
		case k.leaving:
		case k.waits:
			s.welcome(k)
		case k.session && k.total != k.acked:
			// It is the client that waits.
		case idle > 0 && (s.steady-k.lastByte > idle || len(k.partial) > 0 && s.steady-k.frameAt > idle):
			s.refuse(wire.RefusedIdle)
			k.refused = true
			k.frameAt = s.steady
			_ = k.conn.AsyncWrite(wire.AppendRefusal(nil, wire.Header{}, s.now, wire.RefusedIdle,
				fmt.Sprintf("nothing whole came for %v", s.limits.ConnectionIdleMax)),
				func(c gnet.Conn, err error) error {
					if err != nil {
						return err
					}
					return shutdownWrite(c.Fd())
				})
		}
	}
}

// hangUpOn closes a connection from outside the loop, without a word.
func (s *shard) hangUpOn(k *connection) {
	s.Lock()
	defer s.Unlock()
	if !k.closed {
		_ = k.conn.CloseWithCallback(nil)
	}
}
