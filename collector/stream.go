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
	partial  []byte // the beginning of a frame whose rest has not come
	source   uint64 // whose frames come here, once the first has come
	next     uint64 // the sequence that must follow
	started  bool
	refused  bool  // it has been told why; what still comes is thrown away
	lastByte int64 // Unix milliseconds
	frameAt  int64 // Unix milliseconds when the frame in partial began
	at       int   // its place in the shard's list
}

// connections are the TCP clients of one shard.
type connections struct {
	list     []*connection
	buffered int // bytes in all partial frames
}

// partialMax bounds the bytes of half-received frames in one loop: many slow
// clients may not eat the memory that keys_max leaves.
const partialMax = 32 << 20

// lingerMax is how long a refused client may take to hang up.
const lingerMax = 2 * time.Second

// OnOpen takes a connection, or closes it where there is no room.
func (s *shard) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	s.Lock()
	defer s.Unlock()
	s.tick()
	s.tally.opened++
	k := &connection{conn: c, lastByte: s.now, at: len(s.conns.list)}
	s.conns.list = append(s.conns.list, k)
	c.SetContext(k)
	if s.cuts.connected.Add(1) > int64(s.limits.ConnectionsMax) {
		s.refuse(wire.RefusedConnections)
		k.refused = true
		return wire.AppendRefusal(nil, wire.Header{}, s.now, wire.RefusedConnections,
			fmt.Sprintf("the collector has its %d connections; raise limits.connections_max", s.limits.ConnectionsMax)), gnet.Close
	}
	return nil, gnet.None
}

// OnClose forgets a connection. A frame of which only a part came is refused.
func (s *shard) OnClose(c gnet.Conn, _ error) gnet.Action {
	k, ok := c.Context().(*connection)
	if !ok {
		return gnet.None
	}
	s.Lock()
	defer s.Unlock()
	s.tally.closed++
	s.cuts.connected.Add(-1)
	if len(k.partial) > 0 && !k.refused {
		s.refuse(wire.RefusedSize)
	}
	s.conns.buffered -= len(k.partial)
	k.partial = nil
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
	s.lastTraffic = s.now
	s.tally.wakeups++
	k, ok := c.Context().(*connection)
	if !ok {
		s.datagram(b)
		s.drain(c.Fd(), batchesMax)
		return gnet.None
	}
	s.tally.bytes[overTCP] += uint64(len(b))
	k.lastByte = s.now
	if k.refused {
		return gnet.None
	}
	h, why, text := s.stream(k, b)
	if why == wire.Accepted {
		return gnet.None
	}
	return s.hangUp(k, h, why, text)
}

// stream takes the bytes that came, behind those that had come before.
func (s *shard) stream(k *connection, b []byte) (h wire.Header, why wire.Refusal, text string) {
	for len(k.partial) > 0 && len(b) > 0 {
		// First the header, then the rest of that one frame.
		want := wire.HeaderSize
		if len(k.partial) >= wire.HeaderSize {
			if h, why = wire.ParseHeader(k.partial); why != wire.Accepted {
				s.refuse(why)
				return h, why, ""
			}
			want = h.Size
		}
		n := min(want-len(k.partial), len(b))
		k.partial = append(k.partial, b[:n]...)
		s.conns.buffered += n
		b = b[n:]
		if len(k.partial) < wire.HeaderSize {
			return h, wire.Accepted, ""
		}
		if h, why = wire.ParseHeader(k.partial); why != wire.Accepted {
			s.refuse(why)
			return h, why, ""
		}
		if len(k.partial) == h.Size {
			why = s.streamFrame(k, &h, k.partial)
			s.conns.buffered -= len(k.partial)
			k.partial = k.partial[:0]
			if why != wire.Accepted {
				return h, why, ""
			}
		}
	}
	for len(b) > 0 {
		if len(b) >= wire.HeaderSize {
			if h, why = wire.ParseHeader(b); why != wire.Accepted {
				s.refuse(why)
				return h, why, ""
			}
			if h.Size <= len(b) {
				if why = s.streamFrame(k, &h, b[:h.Size]); why != wire.Accepted {
					return h, why, ""
				}
				b = b[h.Size:]
				continue
			}
		}
		return s.keep(k, b)
	}
	return h, wire.Accepted, ""
}

// keep puts the beginning of a frame aside until the rest comes.
func (s *shard) keep(k *connection, b []byte) (h wire.Header, why wire.Refusal, text string) {
	if s.conns.buffered+len(b) > partialMax {
		s.refuse(wire.RefusedConnections)
		return h, wire.RefusedConnections, "too many connections stopped inside a frame; send smaller frames, or connect later"
	}
	k.partial = append(k.partial[:0], b...)
	k.frameAt = s.now
	s.conns.buffered += len(b)
	return h, wire.Accepted, ""
}

// streamFrame takes one whole frame of a stream, whose frames are of one source
// and follow each other.
func (s *shard) streamFrame(k *connection, h *wire.Header, frame []byte) wire.Refusal {
	if h.Type == wire.TypeEvents {
		if k.started && (h.Source != k.source || h.Sequence != k.next) {
			return s.refuseStranger(h, wire.RefusedSequence)
		}
		k.started, k.source, k.next = true, h.Source, h.Sequence+1
	}
	why := s.frame(h, frame, overTCP)
	s.yield()
	return why
}

// hangUp tells a client why, and closes our half. The rest of what it sends is
// read and thrown away for a moment: closing on unread bytes would reset the
// connection, and the client would not learn the reason.
func (s *shard) hangUp(k *connection, h wire.Header, why wire.Refusal, text string) gnet.Action {
	k.refused = true
	k.frameAt = s.now
	s.conns.buffered -= len(k.partial)
	k.partial = nil
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
			if s.now-k.frameAt > lingerMax.Milliseconds() {
				_ = k.conn.CloseWithCallback(nil) // goes through the loop's queue: OnClose does the rest
			}
		case idle > 0 && (s.now-k.lastByte > idle || len(k.partial) > 0 && s.now-k.frameAt > idle):
			s.refuse(wire.RefusedIdle)
			k.refused = true
			k.frameAt = s.now
			_ = k.conn.AsyncWrite(wire.AppendRefusal(nil, wire.Header{}, s.now, wire.RefusedIdle,
				fmt.Sprintf("nothing whole came for %v", s.limits.ConnectionIdleMax)),
				func(c gnet.Conn, _ error) error { return c.Close() })
		}
	}
}
