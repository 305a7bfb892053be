package collector

import (
	"sync"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// A session is a TCP connection that began with a hello: the client names its
// source, is told which of its frames are durable, and is told again after each
// seal. What it has not been told about it keeps and sends again.

// sessions are the connections to which acks go, by source: the newest of each.
type sessions struct {
	mu       sync.Mutex // protects the fields below; may be taken under a shard's, never the other way
	of       map[uint64]*connection
	proving  map[*connection]bool // whose hello was sealed, and that have sent no frame yet
	replaced []*connection        // older ones, to be closed
}

// await has a connection told its credit. Its hello alone, which may be a recording,
// does not make it the session of its source.
func (s *sessions) await(k *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proving[k] = true
}

// join makes k the session of its source. An older one is closed soon: what it
// had not been told of comes again on the newer.
func (s *sessions) join(k *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.proving, k)
	if older := s.of[k.source]; older != nil {
		s.replaced = append(s.replaced, older)
	}
	s.of[k.source] = k
}

// leave forgets a connection that is closed.
func (s *sessions) leave(k *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.proving, k)
	if s.of[k.source] == k {
		delete(s.of, k.source)
	}
}

// find returns the session of a source, nil without one.
func (s *sessions) find(source uint64) *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[source]
}

// all returns every session.
func (s *sessions) all() []*connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*connection, 0, len(s.of)+len(s.proving))
	for _, k := range s.of {
		list = append(list, k)
	}
	for k := range s.proving {
		list = append(list, k)
	}
	return list
}

// takeReplaced returns the older connections that are to be closed.
func (s *sessions) takeReplaced() []*connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.replaced
	s.replaced = nil
	return list
}

// hello begins a session. The shard's mutex is held.
func (s *shard) hello(k *connection, h *wire.Header, frame []byte) wire.Refusal {
	s.tally[framesBy+meter(k.via)]++
	random, why := wire.ParseHello(h, h.Body(frame))
	switch {
	case why != wire.Accepted:
	case !k.phase.accepts(inputHello):
		why = wire.RefusedUnexpected
	case !s.streams.admits(h.Stream, k.names):
		return s.refuseStream(h)
	case h.Sealed():
		why = s.greet(k, h, frame, random)
	default:
		why = s.greetPlain(h)
	}
	if why != wire.Accepted {
		return s.refuseUnplaced(h, why)
	}
	k.source, k.stream = h.Source, h.Stream
	company := s.cuts.company.Load() // before the look: a process that is alone has looked everywhere
	if !s.meet(k) && company {
		k.phase.move(inputWait)
		k.since = s.steady
		return wire.Accepted
	}
	k.phase.move(inputHello)
	if k.peer.write(s.begin(k)) != nil {
		k.ending.reach(endingLost)
	}
	return wire.Accepted
}

// begin makes a connection the session of its source, or one that may become it, and
// returns its first ack.
func (s *shard) begin(k *connection) []byte {
	if k.keys == nil {
		s.cuts.sessions.join(k)
	} else {
		s.cuts.sessions.await(k)
	}
	return s.ack(k)
}

// greetPlain says whether a hello without a tag may begin a session. It may not where frames
// have to be sealed, nor where its source is known from elsewhere than a session:
// somebody else numbers under it, whom a session would shut out.
func (s *shard) greetPlain(h *wire.Header) wire.Refusal {
	if s.streams.find(h.Stream).Seal == SealRequire {
		return wire.RefusedUnsealed
	}
	st := s.sources.of(h.Source)
	st.Lock()
	defer st.Unlock()
	switch src := st.known(h.Source); {
	case src == nil:
		return wire.Accepted
	case src.standing == storage.Proved:
		return wire.RefusedUnsealed
	case !src.session && src.window.any:
		return wire.RefusedPosition
	}
	return wire.Accepted
}

// meet looks up the source of a session, and says whether it is known.
func (s *shard) meet(k *connection) bool {
	st := s.sources.of(k.source)
	st.Lock()
	defer st.Unlock()
	src := st.known(k.source)
	k.unknown = src == nil || k.keys != nil && src.standing != storage.Proved
	if k.unknown {
		return false
	}
	if k.keys == nil {
		src.session, src.lastSeen = true, s.steady
	}
	k.durable = src.durable
	return true
}

// helloWaitMax is how long a hello may wait for its answer: less than clients
// wait for it.
const helloWaitMax = 8 * time.Second

// welcome answers a hello that waits, once its source is known here, or nobody
// else can know it. The shard's mutex is held, outside of the loop.
func (s *shard) welcome(k *connection) {
	company := s.cuts.company.Load()
	switch {
	case s.meet(k) || !company:
		k.phase.move(inputAnswer)
		k.peer.send(s.begin(k))
	case s.steady-k.since > helloWaitMax.Milliseconds():
		k.peer.hangUp() // its client comes back
	}
}

// ack is an ack frame for a session, as things stand.
func (s *shard) ack(k *connection) []byte {
	credit := uint64(s.limits.CreditMax)
	if s.cuts.full.Load() || s.cuts.ending.Load() {
		credit = 0
	}
	s.tally[acksSent]++
	return k.ack(s.now, wire.Ack{Durable: k.durable, Credit: credit, Spool: s.limits.Spool})
}

// ack is an ack frame for this session, sealed if the session is.
func (k *connection) ack(now int64, a wire.Ack) []byte {
	if k.keys == nil {
		return wire.AppendAck(nil, k.stream, k.source, now, a)
	}
	a.Random = k.keys.random
	return wire.AppendSealedAck(nil, k.stream, k.source, now, a, k.keys.down)
}

// finalAck is the last ack frame of a session whose collector takes no more: what
// is durable of its source is all that was taken of it. It is nil where that is
// not so: then the client must not be told.
func (s *shard) finalAck(k *connection) []byte {
	st := s.sources.of(k.source)
	st.Lock()
	src := st.known(k.source)
	all := src == nil || src.durable == src.next
	if src != nil {
		k.durable = max(k.durable, src.durable)
	}
	st.Unlock()
	if !all {
		return nil
	}
	s.tally[acksSent]++
	return k.ack(s.now, wire.Ack{Durable: k.durable, Final: true, Spool: s.limits.Spool})
}

// inFlight counts the bytes of a session's frame, and says whether its client
// keeps to its credit. Half of it asks for a cut, so that a fast client has its
// acks before it must stop. A frame that was acknowledged while it was on its way
// is in flight no more.
func (s *shard) inFlight(k *connection, sequence uint64, size int) bool {
	if sequence < k.durable {
		return true
	}
	if k.generation != s.generation {
		k.before, k.generation = k.total, s.generation
	}
	k.total += uint64(size)
	flying, most := k.total-k.acked, uint64(s.limits.CreditMax)
	if flying > most/2 {
		s.cuts.request(causeCredit)
	}
	return flying <= most+wire.FrameSizeMax
}

// ackBufferMax is how many bytes of acks may wait for a client that does not
// read them.
const ackBufferMax = 64 << 10

// tell sends a session what is durable, of the windows up to this generation.
func (k *connection) tell(durable, generation uint64) {
	s := k.shard
	s.Lock()
	defer s.Unlock()
	if k.ending == endingClosed || k.ending == endingRefused {
		return
	}
	k.durable = max(k.durable, durable)
	switch {
	case k.generation <= generation, k.phase.started() && k.next <= k.durable:
		k.acked = k.total
	default:
		k.acked = max(k.acked, k.before)
	}
	s.tick()
	k.peer.send(s.ack(k))
}

// sealed makes known that what moved in the window of this generation is
// durable.
func (c *cutter) sealed(moved []storage.Source, generation uint64) {
	told := false
	for i := range moved {
		m := &moved[i]
		st := c.sources.of(m.ID)
		st.Lock()
		if src := st.known(m.ID); src != nil {
			src.durable = m.Next
		}
		st.Unlock()
		if !m.Session {
			continue
		}
		if k := c.sessions.find(m.ID); k != nil {
			k.tell(m.Next, generation)
			told = true
		}
	}
	c.sources.sealed.Store(generation)
	if told {
		for _, s := range c.shards {
			s.rest.end() // it is the loop that writes acks
		}
	}
}

// tellAll sends every session its credit, when there is room again or no more.
func (c *cutter) tellAll(generation uint64) {
	for _, k := range c.sessions.all() {
		k.tell(0, generation)
	}
}
