package spool

import (
	"math/bits"

	"github.com/lectern/lectern/storage/segment"
)

// queued is a segment of which blocks wait for the store.
type queued struct {
	*segment.Segment
	states     []blockState
	replaced   []fileSize // segments that were compacted into it, until their removal is durable
	left       int        // blocks that wait or are parked
	durable    bool       // its name is
	unlinked   bool       // replaced are removed
	oldest     uint64     // number of the first block that its rows were in; 0: a start found it
	tried      bool       // a store may have seen a block of it: it is never compacted
	compacting bool       // it is being compacted: nothing of it is given to a store
}

func newQueued(s *segment.Segment) *queued {
	q := &queued{Segment: s, states: make([]blockState, len(s.Blocks)), left: len(s.Blocks)}
	for _, name := range s.Replaced {
		q.replaced = append(q.replaced, fileSize{name: name})
	}
	return q
}

type fileSize struct {
	name segment.Name
	size int64
}

type blockState uint8

const (
	blockWaits blockState = iota
	blockParked
	blockStored
	blockDamaged
)

func (q *queued) done() bool { return q.left == 0 }

// coveredBy says that durable records know all that the segment's name says.
func (q *queued) coveredBy(m marks) bool {
	return m.applied.Knows(q.Name.Applied) && q.Name.Last <= m.last
}

func (q *queued) damaged() bool {
	for _, state := range q.states {
		if state == blockDamaged {
			return true
		}
	}
	return false
}

// class is alike for segments of about the same size, within a factor of eight.
func (q *queued) class() int { return bits.Len64(uint64(q.Size)) / 3 }

// set changes the state of a block.
func (q *queued) set(i int, state blockState) {
	waits := func(s blockState) bool { return s == blockWaits || s == blockParked }
	if waits(q.states[i]) && !waits(state) {
		q.left--
	}
	q.states[i] = state
}

// eachLeft calls see, with mu, for each block of a segment that is not stored.
func (s *Spool) eachLeft(see func(q *queued, i int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queue {
		for i, state := range q.states {
			if state == blockWaits || state == blockParked {
				see(q, i)
			}
		}
	}
}

// drop takes a segment out of the queue. The caller has mu.
func (s *Spool) drop(gone *queued) {
	for i, q := range s.queue {
		if q == gone {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			return
		}
	}
}
