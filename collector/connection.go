package collector

import (
	"fmt"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/lectern/lectern/wire"
)

// connection is one TCP client.
type connection struct {
	peer     peer
	via      transport
	from     address
	shard    *shard       // whose mutex protects what follows
	keys     *sessionKeys // where its hello was sealed
	partial  []byte       // the beginning of a frame whose rest has not come
	names    []string     // what its certificate calls it, over TLS
	source   uint64       // whose frames come here, once it has said so
	next     uint64       // the sequence that must follow, or be the least
	phase    phase
	ending   ending
	lastByte int64 // milliseconds of running time
	frameAt  int64 // running time when the frame in partial began
	at       int   // its place in the shard's list

	older, younger *connection // in the list of those that stopped inside a frame

	// Of a session:
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

// OnOpen takes a connection that accept gives to the loop.
func (s *shard) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	full := false
	if n, ok := c.Context().(*newcomer); ok {
		n.opened, full = true, n.full
	}
	k := &connection{peer: loopPeer{c, s.direct}, via: overTCP, from: addressAt(c.RemoteAddr())}
	c.SetContext(k)
	return nil, stays(s.open(k, full))
}

// stays is what gnet is told of a connection.
func stays(open bool) gnet.Action {
	if open {
		return gnet.None
	}
	return gnet.Close
}

// open takes a connection, and says whether it stays open. One for which there is
// no room is told so.
func (s *shard) open(k *connection, full bool) bool {
	s.Lock()
	defer s.Unlock()
	s.tick()
	s.tally[opened]++
	k.shard, k.lastByte, k.at = s, s.steady, len(s.conns.list)
	s.conns.list = append(s.conns.list, k)
	if s.leaving {
		k.ending.reach(endingLeaving)
		return false
	}
	if !full {
		return true
	}
	s.refuseOn(k, wire.RefusedConnections, nil)
	key, most := "limits.connections_max", s.limits.ConnectionsMax
	if k.via == overTLS {
		key, most = "tls.connections_max", s.limits.TLS.ConnectionsMax
	}
	return s.hangUp(k, wire.Header{}, wire.RefusedConnections, fmt.Sprintf("the collector has its %d connections; raise %s", most, key))
}

// OnClose forgets a connection.
func (s *shard) OnClose(c gnet.Conn, _ error) gnet.Action {
	if k, ok := c.Context().(*connection); ok { // else it is a datagram's
		s.forget(k)
	}
	return gnet.None
}

// forget is for a connection that is closed. A frame of which only a part came is
// refused.
func (s *shard) forget(k *connection) {
	s.Lock()
	defer s.Unlock()
	s.connCount.Add(-1)
	refused := k.ending == endingRefused
	k.ending.reach(endingClosed)
	if k.phase.session() {
		s.cuts.sessions.leave(k)
	}
	s.cuts.connected.Add(-1)
	if len(k.partial) > 0 && !refused {
		s.refuseOn(k, wire.RefusedSize, k.partial)
	}
	s.drop(k)
	last := len(s.conns.list) - 1
	s.conns.list[k.at] = s.conns.list[last]
	s.conns.list[k.at].at = k.at
	s.conns.list[last] = nil
	s.conns.list = s.conns.list[:last]
}

// OnTraffic takes what one wake-up brought: bytes of a stream, or a datagram,
// behind which the socket is drained.
func (s *shard) OnTraffic(c gnet.Conn) gnet.Action {
	b, _ := c.Next(-1) // always all of it: gnet's own buffer has no bound
	if k, ok := c.Context().(*connection); ok {
		open := s.take(k, b)
		s.Lock()
		s.pace(c, len(b) < readBuffer/4)
		s.Unlock()
		return stays(open)
	}
	s.Lock()
	defer s.Unlock()
	s.tick()
	s.tally[wakeups]++
	s.datagram(b, addressAt(c.RemoteAddr()))
	s.pace(c, s.drain(c.Fd(), batchesMax))
	return gnet.None
}

// take takes bytes of a connection, from the goroutine that reads it, and says
// whether it stays open.
func (s *shard) take(k *connection, b []byte) bool {
	s.Lock()
	defer s.Unlock()
	s.tick()
	s.tally[wakeups]++
	s.tally[bytesBy+meter(k.via)] += uint64(len(b))
	k.lastByte = s.steady
	if k.ending == endingRefused || k.ending == endingLeaving {
		return true
	}
	h, why := s.stream(k, b)
	if k.ending == endingLost {
		return false
	}
	if why == wire.Accepted {
		return true
	}
	return s.hangUp(k, h, why, s.explain(k, &h, why))
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
			s.refuseOn(k, why, front)
			return h, why
		}
		var frame []byte
		joined := len(k.partial) > 0
		switch {
		case len(k.partial)+len(b) < h.Size:
			s.keep(k, b)
			return h, wire.Accepted
		case joined:
			frame, b = s.joined(k, h.Size, b)
		default:
			frame, b = b[:h.Size], b[h.Size:]
		}
		if why = s.streamFrame(k, &h, frame); why != wire.Accepted {
			s.remember(why, frame, k.via, k.from, false)
		}
		if joined {
			s.parted(frame)
		}
		if why != wire.Accepted || k.ending == endingLost {
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
	if k.phase == phaseWaiting { // for an ack, and so does its client, if it keeps to the protocol
		k.ending.reach(endingLost)
		return wire.Accepted
	}
	if h.Type.Numbered() {
		if !s.streams.admits(h.Stream, k.names) {
			return s.refuseStream(h)
		}
		if why := s.prove(h, frame, k); why != wire.Accepted {
			return s.refuseUnplaced(h, why)
		}
		session, started := k.phase.session(), k.phase.started()
		switch {
		case k.phase != phaseFresh && h.Source != k.source, started && h.Sequence < k.next, k.phase == phasePlain && h.Sequence > k.next:
			return s.refuseUnplaced(h, wire.RefusedSequence)
		case k.phase == phaseGreeted && k.unknown && k.durable == 0 && h.Sequence > 0:
			return s.refuseUnplaced(h, wire.RefusedForgotten)
		case session && !s.inFlight(k, h.Sequence, h.Size):
			return s.refuseUnplaced(h, wire.RefusedCredit)
		case session && s.holdBack(h.Stream, h.Count, k.via):
			// Nothing of it is acknowledged: the client sends it again, later.
			s.tally[closedNoRoom]++
			k.ending.reach(endingLost)
			return wire.Accepted
		}
		if k.keys != nil && !started {
			s.cuts.sessions.join(k) // its hello was no recording
		}
		k.source, k.next = h.Source, h.Sequence+1
		k.phase.move(inputFrame)
	}
	why := s.frame(h, frame, k.via, k.phase.session(), k.from)
	s.yield()
	return why
}

// hangUp tells a client why, and ends our half. The rest of what it sends is
// read and thrown away for a moment: closing on unread bytes would reset the
// connection, and the client would not learn the reason. It says whether the
// connection stays open for that.
func (s *shard) hangUp(k *connection, h wire.Header, why wire.Refusal, text string) bool {
	k.ending.reach(endingRefused)
	k.frameAt = s.steady
	s.drop(k)
	return k.peer.write(k.refusal(h, s.now, why, text)) == nil && k.peer.end() == nil
}

// dropOut is hangUp from another goroutine than the one that reads the connection,
// where there is no frame to name.
func (s *shard) dropOut(k *connection, why wire.Refusal, text string) {
	k.ending.reach(endingRefused)
	k.frameAt = s.steady
	s.drop(k)
	k.peer.bye(k.refusal(wire.Header{}, s.now, why, text))
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
		case k.ending == endingRefused:
			if s.steady-k.frameAt > lingerMax.Milliseconds() {
				k.peer.hangUp()
			}
		case k.ending == endingLeaving:
		case s.retired(k):
			k.peer.hangUp() // its client comes back with a key that is live
		case k.phase == phaseWaiting:
			s.welcome(k)
		case k.phase.session() && k.total != k.acked:
			// It is the client that waits.
		case idle > 0 && (s.steady-k.lastByte > idle || len(k.partial) > 0 && s.steady-k.frameAt > idle):
			s.refuseOn(k, wire.RefusedIdle, k.partial)
			s.dropOut(k, wire.RefusedIdle, fmt.Sprintf("nothing whole came for %v", s.limits.ConnectionIdleMax))
		}
	}
}

// hangUpOn closes a connection from outside the loop, without a word.
func (s *shard) hangUpOn(k *connection) {
	s.Lock()
	defer s.Unlock()
	if k.ending != endingClosed {
		k.peer.hangUp()
	}
}
