package collector

import (
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// roomWaitMax is how long a frame holds its loop while a cut makes room for it.
// What comes behind it waits in the kernel's buffers meanwhile, which for
// datagrams are soon full.
var roomWaitMax = [transports]time.Duration{overUDP: 5 * time.Millisecond, overTCP: time.Second, overTLS: time.Second, overDoor: time.Second}

// datagram takes the frames of one datagram and counts their events.
func (s *shard) datagram(b []byte, from address) {
	s.tally.datagrams++
	s.admit(b, overUDP, from)
	s.flush()
}

// admit takes the frames of one datagram, or of what came like one. A refused frame
// takes the rest of its datagram with it. Events may be waiting afterwards: flush
// counts them.
func (s *shard) admit(b []byte, via transport, from address) wire.Refusal {
	s.tally.bytes[via] += uint64(len(b))
	if len(b) == 0 {
		s.refuse(wire.RefusedShort)
		return wire.RefusedShort
	}
	for len(b) > 0 {
		h, why := wire.ParseHeader(b)
		if why == wire.Accepted && h.Size > len(b) {
			why = wire.RefusedSize
		}
		if why != wire.Accepted {
			s.refuse(why)
			return why // where the next frame begins is not known
		}
		why = s.prove(&h, b[:h.Size], nil)
		switch {
		case !s.streams.takes(h.Stream, nil):
			s.tally.frames[via]++
			why = s.refuseStream(&h)
		case why != wire.Accepted:
			s.tally.frames[via]++
			s.refuseStranger(&h, why)
		default:
			why = s.frame(&h, b[:h.Size], via, false, from)
		}
		b = b[h.Size:]
		if why != wire.Accepted {
			if len(b) > 0 {
				s.refuse(wire.RefusedRest)
			}
			return why
		}
	}
	return wire.Accepted
}

// Of a refused frame the events count as refused only where the frame is placed,
// so that they can be nothing else. The events of all others are still to come:
// they show as lost when their source goes on, or are sent again. wire/SPEC.md has
// it for each word, in section 4.

// refuse counts a frame of which nothing can be believed. It stands in the
// books of the reserved stream.
func (s *shard) refuse(why wire.Refusal) {
	s.tally.refusedFrames[why]++
	s.books.of(wire.StreamReserved).refusedFrames[why]++
}

// refuseStranger counts a frame with a good header that is not placed, without its
// events. It stands in the books of the stream that it names.
func (s *shard) refuseStranger(h *wire.Header, why wire.Refusal) wire.Refusal {
	s.tally.refusedFrames[why]++
	s.tally.unplaced[why] += uint64(h.Count)
	s.books.of(h.Stream).refusedFrames[why]++
	return why
}

// refusePlaced counts a frame that is placed, with its n events. It stands in the
// books of its source's stream.
func (s *shard) refusePlaced(k *book, n uint64, why wire.Refusal) wire.Refusal {
	k.refusedFrames[why]++
	k.refusedEvents[why] += n
	s.tally.refusedFrames[why]++
	s.tally.refusedEvents[why] += n
	return why
}

// frame takes one whole frame, whose header has been parsed: it is accepted
// whole, refused whole or shed whole. A frame seen before is accepted and
// counted as a duplicate. The shard's mutex is held. Events may be waiting
// afterwards. Its tag is checked already.
func (s *shard) frame(h *wire.Header, frame []byte, via transport, session bool, from address) wire.Refusal {
	s.tally.frames[via]++
	if h.Type != wire.TypeEvents {
		return s.refuseStranger(h, wire.RefusedUnexpected)
	}
	n := uint64(h.Count)
	// Before the source's lock: waiting for a cut lets go of the shard, not of
	// a stripe that other loops want.
	room := s.makeRoom(h.Count, via)

	st := s.sources.of(h.Source)
	st.Lock()
	var guess *source
	if s.guessID == h.Source {
		guess = s.guess
	}
	src := s.sources.find(st, guess, h.Source)
	switch {
	case src == nil && !s.mayOpen(h, session):
		st.Unlock()
		return s.refuseStranger(h, wire.RefusedTime)
	case src == nil:
		src = s.sources.meet(st, h.Source, h.Position, h.Stream, from, standingOf(h), s.steady)
		if src == nil {
			st.Unlock()
			return s.refuseStranger(h, wire.RefusedSources)
		}
	case src.standing == storage.Proved && !h.Sealed():
		st.Unlock()
		return s.refuseStranger(h, wire.RefusedUnsealed)
	case src.standing != storage.Proved && h.Sealed():
		if !s.mayOpen(h, session) {
			st.Unlock()
			return s.refuseStranger(h, wire.RefusedTime)
		}
		s.sources.displace(src, h.Position, h.Stream, from, s.steady)
	}
	if src.session && !session {
		// A datagram far ahead, which anybody can send, would have the next ack
		// cover frames that never came.
		st.Unlock()
		return s.refuseStranger(h, wire.RefusedUnexpected)
	}
	src.session = src.session || session
	if session && !src.window.any {
		src.window.floor = h.Sequence // frames of a session come in order: none below is still to come
	}
	k := s.book(src.stream)
	seen, silent := src.window.check(h.Sequence), s.steady-src.lastSeen
	contradicts := seen == stale && !src.behind(h.Position, n) ||
		seen == fresh && (src.takesOver(h.Sequence, from, silent) || !src.believable(h.Sequence, h.Position, n, silent))
	if contradicts {
		st.Unlock()
		return s.refuseStranger(h, wire.RefusedPosition)
	}
	src.lastSeen = s.steady
	if seen != fresh {
		again := seen == duplicate || src.session
		if again {
			src.duplicate.add(n)
		} else {
			src.stale.add(n)
		}
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
	src.socket = from.socket
	if len(s.events)-s.waiting < h.Count {
		s.flush()
	}
	events, why := wire.DecodeEvents(s.events[s.waiting:], h.Body(frame), h.Count)
	if h.Stream != src.stream {
		why = wire.RefusedStream
	}
	// From here on the frame's numbers are used, whatever becomes of it.
	if src.moves(s.generation) {
		s.moved = append(s.moved, src.id)
		s.sources.earn(src, s.steady)
	}
	if !src.window.any && src.met == 0 {
		src.met = seconds(s.now)
	}
	met := src.base
	var reordered uint64
	if src.window.any && h.Sequence < src.window.newest {
		reordered = n
		src.reordered.add(n)
	}
	grown := src.place(h.Sequence, h.Position, n)
	if h.Sequence+1 == src.next {
		src.hear(n, h.Time)
	}
	if met > 0 && src.base == 0 {
		s.sources.middle.Add(-1)
	}
	st.Unlock()

	s.tally.sent += grown
	k.sent += grown
	lost := int64(grown) - int64(n)
	s.tally.miss(lost)
	k.lost += lost
	s.tally.reordered += reordered
	k.reordered += reordered
	switch {
	case why != wire.Accepted:
		return s.refusePlaced(k, n, why)
	case n == 0:
		s.tally.beats++
	case !room:
		s.tally.shed += n
		k.shed += n
	default:
		s.tally.accepted += n
		k.accepted += n
		if users := s.streams.find(h.Stream).Users; users != UsersStored {
			s.disguise(h.Stream, users, events)
		}
		k.clamped += s.count(h, events)
	}
	return wire.Accepted
}

// waitingMax is how many events wait at the most. A datagram may bring a single
// one: counted together with those of the next datagrams, their misses of the
// cache go on at once.
const waitingMax = 2 * lookahead

// count has the frame's events counted, now or with those of the next frames,
// and returns how many were clamped: their own time is outside of what the
// limits allow, so the arrival's counts. The events stand behind those that
// wait.
func (s *shard) count(h *wire.Header, events []wire.Event) (clamped uint64) {
	switch {
	case len(events) >= nearFrom && s.table.near():
		events = events[s.countNear(h, events):]
	case len(events) <= waitingMax-s.waiting:
		clamped = s.when(s.moments[s.waiting:][:len(events)], h, events)
		s.waiting += len(events)
		return clamped
	}
	if len(events) > 0 {
		s.flush() // its moments are wanted
	}
	for len(events) > 0 {
		n := min(len(events), waitingMax)
		clamped += s.when(s.moments[:n], h, events)
		s.table.count(events[:n], s.moments[:n])
		events = events[n:]
	}
	return clamped
}

// nearFrom is how many events of one frame make it worth while not to have them
// wait for others, where the table is near.
const nearFrom = 16

// countNear counts events of a frame in a table that stands in the processor's
// own cache, up to the first that is in another minute than the frame's time, or
// outside of the limits, and returns how many.
func (s *shard) countNear(h *wire.Header, events []wire.Event) int {
	p, offset := periodOf(uint32(h.Time/millisPerMinute), h.Stream), uint32(h.Time%millisPerMinute)
	most := min(s.newest-h.Time, int64(millisPerMinute-1-offset)) // of at
	if most < 0 || h.Time < s.oldest {
		return 0
	}
	for n := 0; ; n++ {
		n += s.table.countNear(events[n:], p, offset, uint32(most))
		if n == len(events) || int64(events[n].At) > most {
			return n
		}
		// A new key, or one that is not where it is looked for first.
		m := p.at(uint16(offset + events[n].At))
		s.table.count(events[n:n+1], []moment{m})
	}
}

// flush counts the events that wait. Nothing may wait when the shard's mutex is
// let go of.
func (s *shard) flush() {
	if s.waiting > 0 {
		s.table.count(s.events[:s.waiting], s.moments[:s.waiting])
		s.waiting = 0
	}
	if s.table.crowded() {
		s.cuts.request(causeFull)
	}
}

// when finds when the first events happened, one for each of into.
func (s *shard) when(into []moment, h *wire.Header, events []wire.Event) (clamped uint64) {
	base, stream := h.Time, h.Stream
	events = events[:len(into)]
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
			into[i] = periodOf(minute, stream).at(uint16(offset + at))
			continue
		default:
			into[i] = periodOf(minute+(offset+at)/millisPerMinute, stream).at(uint16((offset + at) % millisPerMinute))
			continue
		}
		clamped++
		into[i] = periodOf(uint32(s.now/millisPerMinute), stream).at(uint16(s.now % millisPerMinute))
	}
	return clamped
}
