package collector

import (
	"context"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// rest is how a loop sleeps a moment between two rounds of reading, so that what comes
// a little at a time is read together. Being woken costs ten times what a datagram does,
// the caches have to be warmed again each time, and nobody waits: what is counted is
// stored, and acknowledged, with the next cut. Network cards do the same with their
// interrupts.
type rest struct {
	most   time.Duration // that the receive buffer allows; 0: never
	length time.Duration // of the next one, as traffic was
	asked  bool          // it follows this round
	busy   bool          // this round left something to read
	taken  uint64        // as weigh was told last
	at     int64         // running time of that, in milliseconds
	over   chan struct{} // gets a token from end
}

// end ends the rest that the loop is in, or its next one: there is something to do that is
// not read from a socket. Any goroutine may call it.
func (r *rest) end() {
	select {
	case r.over <- struct{}{}:
	default: // it has been told
	}
}

const (
	// restMax is the longest, and restSessions that of a loop with connections, whose
	// clients wait for acks: of these it may add as much to one in a hundred.
	restMax      = 100 * time.Millisecond
	restSessions = 20 * time.Millisecond
	restMin      = time.Millisecond

	// restTaken is how much a rest may let wait: four batches.
	restTaken = 4 * 64

	// restFill is how many bytes of the receive buffer may come in a nanosecond without
	// a loss: 1 Gbit/s to a loop that had a little to do until then.
	restFill = 0.125

	// restWeigh is how long the traffic is looked at, in milliseconds.
	restWeigh = 20
)

// restFor is how long a loop may rest with this receive buffer.
func restFor(granted int) time.Duration {
	if batchesMax == 0 { // each datagram would have its rest
		return 0
	}
	return min(restMax, time.Duration(float64(granted)/restFill))
}

// weigh is told how often something was taken so far, and how long a rest may be. One in
// which less than two would come, or far too much, is none.
func (r *rest) weigh(taken uint64, now int64, most time.Duration) {
	passed := now - r.at
	if passed < restWeigh {
		return
	}
	each := time.Duration(passed) * time.Millisecond / time.Duration(max(1, taken-r.taken))
	r.length = min(r.most, most, restTaken*each)
	if r.length < restMin || r.length < 2*each {
		r.length = 0
	}
	r.taken, r.at = taken, now
}

// pace is called when something was read, dry when that was all. The mutex is held.
func (s *shard) pace(c gnet.Conn, dry bool) {
	r := &s.rest
	most := restMax
	if len(s.conns.list) > 0 {
		most = restSessions
	}
	r.weigh(s.tally[readDatagrams]+s.tally[wakeups], s.steady, most)
	r.busy = r.busy || !dry
	if r.length > 0 && !r.asked && !s.leaving {
		r.asked = c.EventLoop().Execute(context.Background(), sleeper{s}) == nil
	}
}

// sleeper is what gnet runs on the loop when all that was ready has been read.
type sleeper struct{ *shard }

// Run is part of gnet.Runnable.
func (s sleeper) Run(context.Context) error {
	s.Lock()
	length := s.rest.length
	if s.rest.busy || s.leaving {
		length = 0
	}
	s.rest.asked, s.rest.busy = false, false
	s.Unlock()
	if length > 0 { // until a moment that is the same for all loops, so that the machine wakes up once
		length -= time.Duration(time.Now().UnixNano()) % length
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.rest.over:
	}
	return nil
}
