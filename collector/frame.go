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
	s.tally[readDatagrams]++
	s.admit(b, overUDP, from)
	s.flush()
}

// admit takes the frames of one datagram, or of what came like one. A refused frame
// takes the rest of its datagram with it. Events may be waiting afterwards: flush
// counts them.
func (s *shard) admit(b []byte, via transport, from address) wire.Refusal {
	s.tally[bytesBy+meter(via)] += uint64(len(b))
	if len(b) == 0 {
		s.refuse(wire.RefusedShort, b, via, from, false)
		return wire.RefusedShort
	}
	for len(b) > 0 {
		h, why := wire.ParseHeader(b)
		if why == wire.Accepted && h.Size > len(b) {
			why = wire.RefusedSize
		}
		if why != wire.Accepted {
			s.refuse(why, b, via, from, false)
			return why // where the next frame begins is not known
		}
		why = s.prove(&h, b[:h.Size], nil)
		switch {
		case !s.streams.admits(h.Stream, nil):
			s.tally[framesBy+meter(via)]++
			why = s.refuseStream(&h)
		case why != wire.Accepted:
			s.tally[framesBy+meter(via)]++
			s.refuseUnplaced(&h, why)
		default:
			why = s.frame(&h, b[:h.Size], via, false, from)
		}
		frame := b[:h.Size]
		b = b[h.Size:]
		if why != wire.Accepted {
			s.remember(why, frame, via, from, false)
			if len(b) > 0 {
				s.refuse(wire.RefusedRest, b, via, from, false)
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

// refuse counts a frame of which nothing can be believed, and remembers who sent it.
// It stands in the books of the reserved stream.
func (s *shard) refuse(why wire.Refusal, b []byte, via transport, from address, started bool) {
	s.refuseIn(wire.StreamReserved, why, 0)
	s.remember(why, b, via, from, started)
}

// refuseOn is refuse for what came on a connection.
func (s *shard) refuseOn(k *connection, why wire.Refusal, b []byte) {
	s.refuse(why, b, k.via, k.from, k.phase != phaseFresh)
}

// refuseIn counts a frame that is not placed, and its events beside the sum. It never
// stands among what is sealed.
func (s *shard) refuseIn(stream uint16, why wire.Refusal, events int) {
	k := s.books.of(storage.Account{Stream: stream})
	k.Counts[storage.RefusedFrames.Of(why)]++
	k.Counts[storage.UnplacedEvents.Of(why)] += uint64(events)
}

// refuseUnplaced counts a frame with a good header that is not placed. It stands in
// the books of the stream that it names.
func (s *shard) refuseUnplaced(h *wire.Header, why wire.Refusal) wire.Refusal {
	s.refuseIn(h.Stream, why, h.Count)
	return why
}

// frame takes one whole frame, whose header has been parsed: it is accepted
// whole, refused whole or shed whole. A frame seen before is accepted and
// counted as a duplicate. The shard's mutex is held. Events may be waiting
// afterwards. Its tag is checked already.
func (s *shard) frame(h *wire.Header, frame []byte, via transport, session bool, from address) wire.Refusal {
	s.tally[framesBy+meter(via)]++
	if !h.Type.Numbered() {
		return s.refuseUnplaced(h, wire.RefusedUnexpected)
	}
	// Before the source's lock: waiting for a cut releases the shard, not
	// a stripe that other loops want.
	room := s.makeRoom(h.Stream, h.Count, via)
	st := s.sources.of(h.Source)
	st.Lock()
	var f judgement
	s.judge(&f, st, h, frame, session, from)
	st.Unlock()
	if f.outcome == outcomeUnplaced {
		return s.refuseUnplaced(h, f.why)
	}
	n, k := uint64(h.Count), s.book(f.account)
	switch f.outcome {
	case outcomeDuplicate:
		k.Counts[storage.Duplicate] += n
		return wire.Accepted
	case outcomeStale:
		k.Counts[storage.Stale] += n
		return wire.Accepted
	case outcomeReordered:
		k.Counts[storage.Reordered] += n
	}
	s.sent(k, f.grown, n)
	switch {
	case f.why != wire.Accepted:
		k.Counts[storage.RefusedFrames.Of(f.why)]++
		k.Counts[storage.RefusedEvents.Of(f.why)] += n
	case h.Type == wire.TypeNames:
		s.takeNames(f.account, h.Source, h.Body(frame))
	case n == 0:
		s.tally[beatFrames]++
	case !room && !s.shelters(h.Stream):
		if s.veil(h.Stream, f.events); s.countLast(h, st, f.events, h.Skipped(frame), k) {
			k.Counts[storage.Accepted] += n
		} else {
			k.Counts[storage.Shed] += n
		}
	default:
		k.Counts[storage.Accepted] += n
		s.veil(h.Stream, f.events)
		switch within := s.streams.find(h.Stream).rate.allows(h.Count, s.now); {
		case !within && s.shelters(h.Stream):
			s.countEach(h, f.events, h.Skipped(frame), k, storage.CoarseUsers)
		case !room || h.Sampled():
			s.countEach(h, f.events, h.Skipped(frame), k, storage.CoarseNot)
		default:
			k.Counts[storage.Clamped] += s.count(h, f.events)
		}
	}
	return f.why
}

// veil makes of users what is kept of them.
func (s *shard) veil(stream uint16, events []wire.Event) {
	if users := s.streams.find(stream).Users; users != UsersStored {
		s.disguise(stream, users, events)
	}
}

// outcome is what becomes of a frame by the state of its source.
type outcome uint8

const (
	outcomeUnplaced  outcome = iota // refused, and its numbers are still free
	outcomeDuplicate                // it was taken before
	outcomeStale                    // it may have been
	outcomePlaced                   // its numbers are used, whatever becomes of its events
	outcomeReordered                // placed, and a later frame came before it
)

// judgement is all that a source's state says of a frame.
type judgement struct {
	outcome outcome
	why     wire.Refusal // of its events where it is placed
	account storage.Account
	grown   uint64       // by how many events the source's span grew
	events  []wire.Event // that it brings
}

// judge finds out what becomes of a frame, and places it in its source. The stripe
// is locked. It fills an empty judgement: a copy would cost a datagram of one event
// 5 ns.
func (s *shard) judge(f *judgement, st *stripe, h *wire.Header, frame []byte, session bool, from address) {
	n := uint64(h.Count)
	src, why := s.sender(st, h, session, from)
	if why != wire.Accepted {
		f.why = why
		return
	}
	seen, silent := src.window.check(h.Sequence), s.steady-src.lastSeen
	contradicts := seen == stale && !src.behind(h.Position, n) ||
		seen == fresh && (src.takesOver(h.Sequence, from, silent) || !src.believable(h.Sequence, h.Position, n, silent))
	if contradicts {
		f.why = wire.RefusedPosition
		return
	}
	src.lastSeen = s.steady
	f.account = src.account()
	switch {
	case seen == duplicate, seen == stale && src.session: // a session leaves nothing out by accident
		src.duplicate.add(n)
		f.outcome = outcomeDuplicate
		return
	case seen == stale:
		src.stale.add(n)
		f.outcome = outcomeStale
		return
	}
	src.socket = from.socket
	if len(s.events)-s.waiting < h.Count {
		s.flush()
	}
	if h.Type == wire.TypeNames {
		f.why = wire.CheckNames(h.Body(frame))
	} else {
		f.events, f.why = wire.DecodeEvents(s.events[s.waiting:], h.Body(frame), h.Count)
	}
	if h.Stream != src.stream {
		f.why = wire.RefusedStream
	}
	s.place(src, h, f)
}

// sender is the source of a frame, which it makes where it is new.
func (s *shard) sender(st *stripe, h *wire.Header, session bool, from address) (*source, wire.Refusal) {
	var guess *source
	if s.guessID == h.Source {
		guess = s.guess
	}
	src := s.sources.find(st, guess, h.Source)
	switch {
	case src == nil && !s.mayOpen(h, session):
		return nil, wire.RefusedTime
	case src == nil:
		src = s.sources.meet(st, h.Source, h.Position, h.Stream, from, standingOf(h), s.steady)
		if src == nil {
			return nil, wire.RefusedSources
		}
	case src.standing == storage.Proved && !h.Sealed():
		return nil, wire.RefusedUnsealed
	case src.standing != storage.Proved && h.Sealed():
		if !s.mayOpen(h, session) {
			return nil, wire.RefusedTime
		}
		s.sources.displace(src, h.Position, h.Stream, from, s.steady)
	}
	if src.session && !session {
		// A datagram far ahead, which anybody can send, would have the next ack
		// cover frames that never came.
		return nil, wire.RefusedUnexpected
	}
	src.session = src.session || session
	if session && !src.window.any {
		src.window.floor = h.Sequence // frames of a session come in order: none below is still to come
	}
	return src, wire.Accepted
}

// place uses up a frame's numbers.
func (s *shard) place(src *source, h *wire.Header, f *judgement) {
	n := uint64(h.Count)
	if src.moves(s.generation) {
		s.moved = append(s.moved, src.id)
		s.sources.earn(src, s.steady)
	}
	if !src.window.any && src.met == 0 {
		src.met = seconds(s.now)
	}
	f.outcome = outcomePlaced
	if src.window.any && h.Sequence < src.window.newest {
		f.outcome = outcomeReordered
		src.reordered.add(n)
	}
	met := src.base
	f.grown = src.place(h.Sequence, h.Position, n)
	if h.Sequence+1 == src.next {
		src.hear(h.Type == wire.TypeEvents && n == 0, h.Time)
	}
	if met > 0 && src.base == 0 {
		s.sources.middle.Add(-1)
	}
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
// own cache, up to the first that is in another minute than the frame's time,
// outside of the limits, or of a headline, and returns how many.
func (s *shard) countNear(h *wire.Header, events []wire.Event) int {
	p, offset := periodOf(uint32(h.Time/millisPerMinute), h.Stream), uint32(h.Time%millisPerMinute)
	most := min(s.newest-h.Time, int64(millisPerMinute-1-offset)) // of at
	if most < 0 || h.Time < s.oldest {
		return 0
	}
	for n := 0; ; n++ {
		n += s.table.countNear(events[n:], p, offset, uint32(most))
		if n == len(events) || int64(events[n].At) > most || events[n].Kind.OfHeadline() {
			return n
		}
		// A new key, or one that is not where it is looked for first.
		m := p.at(uint16(offset + events[n].At))
		s.table.count(events[n:n+1], []moment{m})
	}
}

// flush counts the events that wait. Nothing may wait when the shard's mutex is
// released.
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
			s.tally[clampedFuture]++
		case int64(at) < earliest:
			s.tally[clampedLate]++
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
