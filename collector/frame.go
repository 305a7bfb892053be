package collector

import (
	"time"

	"github.com/lectern/lectern/wire"
)

// roomWaitMax is how long a frame holds its loop while a cut makes room for it.
// What comes behind it waits in the kernel's buffers meanwhile, which for
// datagrams are soon full.
var roomWaitMax = [transports]time.Duration{overUDP: 5 * time.Millisecond, overTCP: time.Second}

// datagram takes the frames of one datagram. A refused frame takes the rest of
// its datagram with it.
func (s *shard) datagram(b []byte) {
	s.tally.datagrams++
	s.tally.bytes[overUDP] += uint64(len(b))
	if len(b) == 0 {
		s.refuse(wire.RefusedShort)
	}
	for len(b) > 0 {
		h, why := wire.ParseHeader(b)
		if why == wire.Accepted && h.Size > len(b) {
			why = wire.RefusedSize
		}
		if why != wire.Accepted {
			s.refuse(why)
			return // where the next frame begins is not known
		}
		why = s.frame(&h, b[:h.Size], overUDP, false)
		b = b[h.Size:]
		if why != wire.Accepted {
			if len(b) > 0 {
				s.refuse(wire.RefusedRest)
			}
			return
		}
	}
}

// refuse counts a frame of which nothing can be believed. It stands in the
// books of the reserved stream.
func (s *shard) refuse(why wire.Refusal) {
	s.tally.refusedFrames[why]++
	s.books.of(wire.StreamReserved).refusedFrames[why]++
}

// refuseStranger counts a frame with a good header whose source cannot be held
// to its numbers.
func (s *shard) refuseStranger(h *wire.Header, why wire.Refusal) wire.Refusal {
	k, n := s.books.of(h.Stream), uint64(h.Count)
	k.sent += n
	s.tally.sent += n
	s.refuseEvents(k, n, why)
	return why
}

func (s *shard) refuseEvents(k *book, n uint64, why wire.Refusal) {
	k.refusedFrames[why]++
	k.refusedEvents[why] += n
	s.tally.refusedFrames[why]++
	s.tally.refusedEvents[why] += n
}

// frame takes one whole frame, whose header has been parsed: it is accepted
// whole, refused whole or shed whole. A frame seen before is accepted and
// counted as a duplicate. The shard's mutex is held.
func (s *shard) frame(h *wire.Header, frame []byte, via transport, session bool) wire.Refusal {
	s.tally.frames[via]++
	switch {
	case h.Type != wire.TypeEvents:
		return s.refuseStranger(h, wire.RefusedUnexpected)
	case h.Flags&wire.FlagSealed != 0:
		return s.refuseStranger(h, wire.RefusedSealed)
	}
	n := uint64(h.Count)
	// Before the source's lock: waiting for a cut lets go of the shard, not of
	// a stripe that other loops want.
	room := s.makeRoom(h.Count, via)

	st := s.sources.of(h.Source)
	st.Lock()
	src := s.sources.find(st, h.Source, h.Position, h.Stream)
	if src == nil {
		st.Unlock()
		if session {
			s.refuse(wire.RefusedSources) // the client sends it again: its events are not refused for good
			return wire.RefusedSources
		}
		return s.refuseStranger(h, wire.RefusedSources)
	}
	if src.session && !session {
		// A datagram far ahead, which anybody can send, would have the next ack
		// cover frames that never came.
		st.Unlock()
		return s.refuseStranger(h, wire.RefusedUnexpected)
	}
	src.lastSeen = s.now
	src.session = src.session || session
	if session && !src.window.any {
		src.window.floor = h.Sequence // frames of a session come in order: none below is still to come
	}
	k := s.books.of(src.stream)
	if seen := src.window.check(h.Sequence); seen != fresh {
		again := seen == duplicate || src.session
		st.Unlock()
		if again { // a session leaves nothing out by accident
			s.tally.duplicate += n
			k.duplicate += n
		} else {
			s.tally.stale += n
			k.stale += n
		}
		return wire.Accepted
	}
	if !src.believable(h.Sequence, h.Position, n) {
		st.Unlock()
		return s.refuseStranger(h, wire.RefusedPosition)
	}
	events, why := wire.DecodeEvents(s.events, h.Body(frame), h.Count)
	if h.Stream != src.stream {
		why = wire.RefusedStream
	}
	// From here on the frame's numbers are used, whatever becomes of it.
	if src.moves(s.generation) {
		s.moved = append(s.moved, src.id)
	}
	met := src.base
	grown := src.place(h.Sequence, h.Position, n)
	if met > 0 && src.base == 0 {
		s.sources.middle.Add(-1)
	}
	st.Unlock()

	s.tally.sent += grown
	k.sent += grown
	lost := int64(grown) - int64(n)
	s.tally.lost += lost
	k.lost += lost
	switch {
	case why != wire.Accepted:
		s.refuseEvents(k, n, why)
		return why
	case n == 0:
		s.tally.beats++
	case !room:
		s.tally.shed += n
		k.shed += n
	default:
		s.tally.accepted += n
		k.accepted += n
		k.clamped += s.count(h, events)
		if s.table.crowded() {
			s.cuts.request(causeFull)
		}
	}
	return wire.Accepted
}

// count adds the frame's events to the table and returns how many were clamped:
// their own time is outside of what the limits allow, so the arrival's counts.
func (s *shard) count(h *wire.Header, events []wire.Event) (clamped uint64) {
	var moments [lookahead]moment
	for len(events) > 0 {
		n := min(len(events), lookahead)
		clamped += s.moments(moments[:n], h.Time, events)
		s.table.count(h.Stream, events[:n], moments[:n])
		events = events[n:]
	}
	return clamped
}

// moments finds when the first events happened, one for each of into.
func (s *shard) moments(into []moment, base int64, events []wire.Event) (clamped uint64) {
	minute, offset := uint32(base/millisPerMinute), uint32(base%millisPerMinute)
	earliest, latest := s.oldest-base, s.newest-base // what the limits leave behind the frame's time
	for i := range into {
		at := events[i].At
		switch {
		case int64(at) > latest:
			s.tally.future++
		case int64(at) < earliest:
			s.tally.late++
		case offset+at < millisPerMinute: // spares the divisions
			into[i] = moment{minute, uint16(offset + at)}
			continue
		default:
			into[i] = moment{minute + (offset+at)/millisPerMinute, uint16((offset + at) % millisPerMinute)}
			continue
		}
		clamped++
		into[i] = moment{uint32(s.now / millisPerMinute), uint16(s.now % millisPerMinute)}
	}
	return clamped
}
