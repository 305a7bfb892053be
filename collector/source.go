package collector

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// source is what is known of one numbering. end − base is what it said it sent
// since it was met; what came is subtracted as it is booked, so what is lost
// needs no list of gaps.
type source struct {
	id       uint64
	base     uint64 // smallest position seen; above 0 the source was met in the middle
	end      uint64 // largest position + count seen
	newest   uint64 // position of the frame with the largest sequence
	lost     uint64 // events of the span that have not come
	lastSeen int64  // Unix milliseconds
	stream   uint16
	used     bool
	window   window
}

// believable says whether a fresh frame's position agrees with the frames before
// it: sequence and position grow together, and a late frame fills a gap that is
// there. Without this a sender could make its stream's books lose less than
// nothing.
func (s *source) believable(sequence, position, count uint64) bool {
	switch {
	case !s.window.any:
		return true
	case sequence == s.window.newest+1:
		return position == s.end
	case sequence > s.window.newest:
		return position >= s.end
	}
	gap := s.lost
	if position < s.base {
		gap += s.base - position
	}
	return position+count <= s.newest && count <= gap
}

// place marks a fresh frame as seen, widens base and end to hold it, and returns
// by how many events the source's span grew.
func (s *source) place(sequence, position, count uint64) (grown uint64) {
	if !s.window.any || sequence > s.window.newest {
		s.newest = position
	}
	s.window.commit(sequence)
	before := s.end - s.base
	s.base = min(s.base, position)
	s.end = max(s.end, position+count)
	grown = s.end - s.base - before
	s.lost += grown - count // may wrap on the way: a late frame lowers it
	return grown
}

// stripes is a power of two well above any number of loops, so that two loops
// seldom want the same one.
const stripes = 64

// sources holds every live source, in stripes of their own locks. A loop locks
// one stripe for one frame.
type sources struct {
	max    int64
	live   atomic.Int64
	middle atomic.Int64 // live ones met in the middle
	stripe [stripes]stripe
}

type stripe struct {
	sync.Mutex // protects all fields
	index      map[uint64]int32
	slots      []source
	free       []int32
	_          [64]byte // keeps neighbours off this cache line
}

func newSources(most int) *sources {
	s := &sources{max: int64(most)}
	for i := range s.stripe {
		s.stripe[i].index = make(map[uint64]int32)
	}
	return s
}

// of returns the stripe of a source. Ids are drawn at random, but nobody has to
// obey that: mix them.
func (s *sources) of(id uint64) *stripe {
	hi, lo := bits.Mul64(id^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return &s.stripe[(hi^lo)%stripes]
}

// find returns the source with this id, making it at this position if it is
// new; nil if there is no room. The stripe is locked by the caller, and the
// pointer is good until it unlocks.
func (s *sources) find(st *stripe, id, position uint64, stream uint16) *source {
	if i, ok := st.index[id]; ok {
		return &st.slots[i]
	}
	if s.live.Add(1) > s.max {
		s.live.Add(-1)
		return nil
	}
	var i int32
	if n := len(st.free); n > 0 {
		i, st.free = st.free[n-1], st.free[:n-1]
	} else {
		i = int32(len(st.slots))
		st.slots = append(st.slots, source{})
	}
	st.slots[i] = source{id: id, stream: stream, base: position, end: position, used: true}
	st.index[id] = i
	if position > 0 {
		s.middle.Add(1)
	}
	return &st.slots[i]
}

// forget lets go of the sources of one stripe that have been silent since
// before, in Unix milliseconds. What they lost is booked already.
func (s *sources) forget(n int, before int64) {
	st := &s.stripe[n%stripes]
	st.Lock()
	defer st.Unlock()
	for i := range st.slots {
		src := &st.slots[i]
		if !src.used || src.lastSeen >= before {
			continue
		}
		delete(st.index, src.id)
		if src.base > 0 {
			s.middle.Add(-1)
		}
		*src = source{}
		st.free = append(st.free, int32(i))
		s.live.Add(-1)
	}
}
