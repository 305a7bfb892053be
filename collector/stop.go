package collector

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// quietFor is how long nothing must have come from sessions that have no credit
// any more, to believe that nothing is on its way, and quietMax how long that is
// waited for.
const (
	quietFor = 30 * time.Millisecond
	quietMax = 300 * time.Millisecond
)

// lastSealMax is how long clients wait for the seal of what they sent last, and
// dismissMax how long they may take to hang up when they are told that this
// collector ends.
const (
	lastSealMax = 5 * time.Second
	dismissMax  = 500 * time.Millisecond
)

// Stop ends what Start began. Nothing new comes in from its first moment on: the
// TCP sockets accept no more, and where the port is shared, new datagrams go to
// the others. Clients get their last ack and the end of their stream. Then the
// loops end, what is still in the UDP sockets is read, and the last cut goes to
// the sink. After it nothing of the collector runs. With an error the sink could
// not make durable what was counted last, none of it acknowledged.
func (c *Collector) Stop(ctx context.Context) error {
	c.close()
	c.dismiss(ctx)
	if c.secure != nil {
		c.secure.stop()
	}
	var all sync.WaitGroup
	for _, s := range c.shards {
		all.Go(func() { c.halt(ctx, s) })
	}
	all.Wait()
	close(c.stop)
	c.working.Wait()
	if !c.cuts.cut(causeStop) {
		return errors.New("what was counted last could not be made durable; clients that are acknowledged will send it again")
	}
	c.leaveSpans()
	return nil
}

// leaveSpans has all sources leave their spans, in a seal of their own: where that
// finds no room nothing that was counted is at stake.
func (c *Collector) leaveSpans() {
	c.cuts.final = true
	if !c.cuts.cut(causeStop) || c.cuts.untold > 0 {
		c.options.Logger.Warn("the spool has no room for the spans of some sources: where they go on at other collectors, what these saw and what was counted here is not settled",
			"sources", c.cuts.untold)
	}
}

// close keeps anything new from the sockets, except datagrams on a port that is not
// shared, which nobody else would take.
func (c *Collector) close() {
	// All at once, and the last one first. The kernel puts the last socket of the
	// group, another process's, in the place of the one that leaves, and gives
	// each socket its share of all flows by its place: this way ours are always
	// the first, with less than before, and no flow comes back from the others,
	// which would look like loss to both.
	for _, s := range slices.Backward(c.shards) {
		if !c.options.SharePort || s.udp.socket < 0 {
			continue
		}
		if err := leaveGroup(s.udp.socket); err != nil {
			c.options.Logger.Warn("new datagrams still come here until the end: some may be lost", "error", err)
		}
	}
	_ = c.listener.Close() // what waits in its queue is reset, and its client comes again
	if c.secure != nil {
		_ = c.secure.listener.Close()
	}
}

// quiet takes the credit from all sessions and waits for what they had sent. What
// is acknowledged in the end is all that was sent then, so that no client is left
// with frames of which it cannot know whether they were counted, should the next
// collector not know its source.
func (c *Collector) quiet(ctx context.Context) {
	c.cuts.ending.Store(true)
	if c.connected() == 0 {
		return
	}
	c.cuts.tellAll(c.sources.sealed.Load())
	ctx, cancel := context.WithTimeout(ctx, quietMax)
	defer cancel()
	before, since := c.bytesOverTCP(), time.Now()
	until(ctx, func() bool {
		if n := c.bytesOverTCP(); n != before {
			before, since = n, time.Now()
		}
		return time.Since(since) >= quietFor
	})
}

// bytesOverTCP is how many bytes have come from clients of TCP, with TLS or without.
func (c *Collector) bytesOverTCP() (n uint64) {
	for _, s := range c.shards {
		s.Lock()
		n += s.tally[bytesBy+meter(overTCP)] + s.tally[bytesBy+meter(overTLS)]
		s.Unlock()
	}
	return n
}

// dismiss tells every client that this collector ends: sessions get a final ack
// of all that came, then each stream ends. What a session sends behind that ack
// is thrown away, and its client sends it to the next collector: it knows that it
// was not counted here. Other clients' frames are counted for as long as they
// come.
func (c *Collector) dismiss(ctx context.Context) {
	c.quiet(ctx)
	var generation uint64
	for _, s := range c.shards {
		generation = max(generation, s.dismiss())
	}
	sealing, cancel := context.WithTimeout(ctx, lastSealMax)
	defer cancel()
	sealed := until(sealing, func() bool { return c.connected() == 0 || c.acknowledged(generation) })
	if !sealed {
		c.options.Logger.Warn("clients leave without a last ack: what they sent is not sealed yet, and comes again")
	}
	for _, s := range c.shards {
		s.farewell(sealed)
	}
	leaving, cancel := context.WithTimeout(ctx, dismissMax)
	defer cancel()
	until(leaving, func() bool { return c.connected() == 0 })
}

func (c *Collector) connected() int64 { return c.cuts.connected.Load() }

// acknowledged says whether the window of a generation is sealed, and asks for
// the cut that it takes.
func (c *Collector) acknowledged(generation uint64) bool {
	if c.sources.sealed.Load() >= generation {
		return true
	}
	c.cuts.request(causeStop)
	return false
}

// until looks for a condition until ctx ends, and says whether it came.
func until(ctx context.Context, ok func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ok()
		}
	}
	return true
}

// dismiss takes no more frames of sessions, nor connections. It returns the
// generation of the window in which the last ones were taken.
func (s *shard) dismiss() uint64 {
	s.Lock()
	defer s.Unlock()
	s.leaving = true
	for _, k := range s.conns.list {
		if k.phase != phasePlain {
			k.ending.reach(endingLeaving)
			s.drop(k)
		}
	}
	return s.generation
}

// farewell ends our half of every stream, behind the acks that are on their way.
// Where all that sessions sent is sealed, each gets its final ack.
func (s *shard) farewell(sealed bool) {
	s.Lock()
	defer s.Unlock()
	s.tick()
	for _, k := range s.conns.list {
		if k.ending == endingRefused {
			continue // it has been told
		}
		var last []byte
		if sealed && k.phase >= phaseGreeted {
			last = s.finalAck(k)
		}
		k.peer.bye(last)
	}
}

// end takes nothing more.
func (s *shard) end() {
	s.Lock()
	defer s.Unlock()
	s.ended = true
}

// halt ends one loop, then takes what its UDP socket still holds: the duplicate
// kept the socket open.
func (c *Collector) halt(ctx context.Context, s *shard) {
	close(s.halting)
	defer s.end()
	if err := s.engine.Stop(ctx); err != nil {
		c.options.Logger.Warn("a loop did not stop in time", "error", err)
		return
	}
	s.Lock()
	for s.udp.socket >= 0 && !s.drain(s.udp.socket, batchesMax) {
	}
	c.drops.Add(s.udp.dropped())
	s.udp.close()
	s.Unlock()
}
