package live

import "math"

const (
	// MinutesKept is how many minutes a series has: the one that is running, five
	// before it, and the hour before those.
	MinutesKept = 66

	spanSeconds = 10
	spans       = 6 // that a rate is of, the running one among them
)

// series is how many opens there were, by minute and by span of ten seconds. Both are
// rings, which are good up to the last minute, and span, that something was added in.
type series struct {
	minutes      [MinutesKept]uint32
	spans        [spans]uint32
	minute, span uint32
}

// add adds n at a moment that is not after now, both in seconds.
func (s *series) add(at, now, n uint32) {
	roll(s.minutes[:], &s.minute, now/60)
	roll(s.spans[:], &s.span, now/spanSeconds)
	addAt(s.minutes[:], s.minute, at/60, n)
	addAt(s.spans[:], s.span, at/spanSeconds, n)
}

// roll makes a ring good up to another time.
func roll(ring []uint32, good *uint32, to uint32) {
	if to <= *good {
		return
	}
	if to-*good >= uint32(len(ring)) {
		clear(ring)
	} else {
		for t := *good + 1; t <= to; t++ {
			ring[t%uint32(len(ring))] = 0
		}
	}
	*good = to
}

// addAt adds to one time of a ring, if it still has it.
func addAt(ring []uint32, good, at, n uint32) {
	if at <= good && good-at < uint32(len(ring)) {
		v := &ring[at%uint32(len(ring))]
		*v = uint32(min(uint64(*v)+uint64(n), math.MaxUint32))
	}
}

// valueAt is what a ring has of a time.
func valueAt(ring []uint32, good, at uint32) uint32 {
	if at <= good && good-at < uint32(len(ring)) {
		return ring[at%uint32(len(ring))]
	}
	return 0
}

// recentOpens are those of the running span and of the five before it.
func (s *series) recentOpens(now uint32) (n uint64) {
	for i := range uint32(spans) {
		if span := now / spanSeconds; i <= span {
			n += uint64(valueAt(s.spans[:], s.span, span-i))
		}
	}
	return n
}

// byMinute are the opens of each minute, the oldest first, the running one last.
func (s *series) byMinute(now uint32) (all [MinutesKept]uint32) {
	for i := range uint32(MinutesKept) {
		if minute := now / 60; i <= minute {
			all[MinutesKept-1-i] = valueAt(s.minutes[:], s.minute, minute-i)
		}
	}
	return all
}

// idle says that nothing of it is to be seen any more.
func (s *series) idle(now uint32) bool { return now/60-min(now/60, s.minute) >= MinutesKept }
