package collector

import "github.com/lectern/lectern/storage"

// adoptAtOnce is how many sources are adopted before the loop gets its turn.
const adoptAtOnce = 128

// Adopt takes what another process, which runs no more, knew of its sources, so
// that their clients go on here. The counting of a source that is known here too
// is joined: what neither of the two has seen between their frames is lost, and
// booked. It may be called before Start. The number it returns is for Sealed:
// until then the other's spool is to be kept as it is.
func (c *Collector) Adopt(all []storage.Source) (window uint64) {
	s := c.shards[0]
	latest := runningTime(all)
	for len(all) > 0 {
		n := min(len(all), adoptAtOnce)
		s.Lock()
		s.tick()
		for i := range all[:n] {
			// By its own spool's time, it was silent for so long before that one
			// heard of anybody last.
			s.adopt(&all[i], s.steady-(latest-all[i].LastSeen))
		}
		window = s.generation
		s.Unlock()
		all = all[n:]
	}
	return window
}

// Sealed says whether the sources of an Adopt, which returned that window, are
// durable here.
func (c *Collector) Sealed(window uint64) bool { return c.sources.sealed.Load() >= window }

// Alone says that no other process knows a source that is not known here. Until
// then, where Options.Company is set, a client with a source that is not known
// waits for the answer to its hello: the others may have counted its frames.
func (c *Collector) Alone() {
	c.cuts.company.Store(false)
	for _, s := range c.shards {
		s.sweep()
	}
}

// adopt takes one source, which was last heard of then, in running time. The
// shard's mutex is held.
func (s *shard) adopt(o *storage.Source, lastSeen int64) {
	st := s.sources.of(o.ID)
	st.Lock()
	defer st.Unlock()
	src := st.known(o.ID)
	if src != nil && (src.standing == storage.Proved) != (o.Standing == storage.Proved) {
		if src.standing == storage.Proved {
			return // the other's was somebody's who used its number without a tag
		}
		s.sources.displace(src, o.Base, o.Stream, address{}, lastSeen)
		src.met = seconds(s.now)
	}
	if src == nil {
		if !o.Session && s.sources.live.Load() >= s.sources.max {
			return // it would be refused if it came now; what it lost is booked
		}
		theirs := *o
		theirs.Lost, theirs.Apart, theirs.Met = 0, o.End-o.Base, s.now
		src = s.sources.put(st, &theirs, lastSeen)
		s.note(src)
		return
	}
	src.session = src.session || o.Session
	src.lastSeen = max(src.lastSeen, lastSeen)
	met := src.base
	before := src.state
	switch {
	case o.Base >= src.base && o.End <= src.end && o.Next <= src.next:
		return // it was adopted before
	case o.Base <= src.base && o.End >= src.end && o.Next >= src.next:
		s.note(src)
		own, lost := src.end-src.base-src.apart, src.lost
		src.state = stateOf(o)
		src.lost, src.apart = lost, o.End-o.Base-own
	default:
		s.note(src)
		gap := src.join(o)
		s.sent(s.books.of(src.account()), gap, 0)
	}
	src.durable = max(src.durable, o.Next)
	if o.Next > before.next {
		src.window = windowAfter(o.Next)
	} else {
		src.window.floor = max(src.window.floor, o.Next)
	}
	if met > 0 && src.base == 0 {
		s.sources.middle.Add(-1)
	}
}

// note has a source sealed with the next cut, before its first change.
func (s *shard) note(src *source) {
	if src.moves(s.generation) {
		s.moved = append(s.moved, src.id)
	}
}

// join adds to a source's state what another process has seen of it before,
// behind or beside it, and returns how many events neither has seen between the
// two spans.
func (s *source) join(o *storage.Source) (gap uint64) {
	if from, to := min(s.end, o.End), max(s.base, o.Base); to > from {
		gap = to - from
	}
	own := s.end - s.base - s.apart + gap
	s.base, s.end = min(s.base, o.Base), max(s.end, o.End)
	s.apart = s.end - s.base - own
	s.lost += gap // what the other has lost is in its own books
	if o.Next > s.next {
		s.newest, s.next = o.Newest, o.Next
	}
	return gap
}
