//go:build go1.26

package emit

import (
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/lectern/lectern/wire"
)

// instant is some time of events, in Unix milliseconds.
const instant = 1_700_000_000_000

// fakeSource is what the fake collector knows of one source.
type fakeSource struct {
	newest, end uint64 // sequence, and position behind it
	any         bool
	frames      map[uint64][]byte
	placed      map[uint64]bool // sequences of frames that were refused and used up
}

func newFakeSource() *fakeSource {
	return &fakeSource{frames: map[uint64][]byte{}, placed: map[uint64]bool{}}
}

// fakeSpool is one collector, and what it keeps.
type fakeSpool struct {
	id      uint64
	sources map[uint64]*fakeSource // as of now
	sealed  map[uint64]*fakeSource // as of the last seal
	conns   map[uint64]net.Conn    // of each source
}

// fakeCollector is some collectors that speak the session protocol, with faults,
// each with a spool of its own. They are not copies of the real one: they keep
// every frame, and every event that one sealed, by number.
type fakeCollector struct {
	mu        sync.Mutex
	rand      *rand.Rand // nil: no faults, and every frame is sealed at once
	chaos     bool       // faults go on
	forgetful bool       // one of which is to lose everything
	slow      bool       // and to answer late, or never
	credit    uint64
	spools    []*fakeSpool
	ids       uint64 // given to spools

	counted  map[uint64]int    // sealed: how often each user came
	refused  map[uint64]int    // events of refused frames
	answered map[uint64]uint64 // the spool that each source was first answered by
	problems []string
	seal     *fakeSeal // nil: nothing is sealed
	forgings int       // answers that no collector gave
	forgets  int
	refuses  int
	named    map[string]int // names that are durable
	aheads   int            // acks of what was never sent
	moves    int            // answers by another spool than the first
}

func newFake(r *rand.Rand) *fakeCollector {
	f := &fakeCollector{
		rand: r, chaos: r != nil, forgetful: r != nil, slow: r != nil, credit: 1 << 20,
		counted: map[uint64]int{}, named: map[string]int{}, refused: map[uint64]int{}, answered: map[uint64]uint64{},
	}
	f.another()
	return f
}

// another adds a collector.
func (f *fakeCollector) another() {
	f.ids++
	f.spools = append(f.spools, &fakeSpool{
		id: f.ids, sources: map[uint64]*fakeSource{}, sealed: map[uint64]*fakeSource{}, conns: map[uint64]net.Conn{},
	})
}

// odds says yes once in n times, while there are faults.
func (f *fakeCollector) odds(n int) bool { return f.chaos && f.rand.IntN(n) == 0 }

func (f *fakeCollector) problem(text string) { f.problems = append(f.problems, text) }

// fakeConn is cut after so many bytes that were read from it.
type fakeConn struct {
	net.Conn
	left int // negative: never
}

func (c *fakeConn) Read(b []byte) (int, error) {
	if c.left < 0 {
		return c.Conn.Read(b)
	}
	if c.left == 0 {
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// serve speaks with one client, for the collector of a spool.
func (f *fakeCollector) serve(p *fakeSpool, conn net.Conn) {
	defer conn.Close()
	f.mu.Lock()
	c := &fakeConn{conn, -1}
	full := f.odds(10)
	if f.odds(3) {
		c.left = f.rand.IntN(3000)
	}
	f.mu.Unlock()
	if full {
		return
	}
	hello := make([]byte, wire.FrameSizeMax)
	if _, err := io.ReadFull(c, hello[:wire.HeaderSize]); err != nil {
		return
	}
	h, why := wire.ParseHeader(hello)
	if _, err := io.ReadFull(c, hello[wire.HeaderSize:max(h.Size, wire.HeaderSize)]); err != nil {
		return
	}
	f.mu.Lock()
	if why != wire.Accepted || h.Type != wire.TypeHello {
		f.problem("the first frame is not a hello")
	}
	session, err := f.seal.greet(f.rand, &h, hello[:h.Size])
	if err != nil {
		if err != errRetired {
			f.problem(err.Error())
		}
		f.mu.Unlock()
		return
	}
	if old := p.conns[h.Source]; old != nil {
		_ = old.Close()
	}
	p.conns[h.Source] = conn
	if f.forgetful && f.odds(40) {
		f.forget(p)
	}
	if f.odds(20) {
		p.crash()
	}
	known := p.sources[h.Source]
	if known == nil {
		known = newFakeSource()
	}
	first, id := f.ack(p, h), p.id
	f.mu.Unlock()
	if _, err := conn.Write(session.say(first)); err != nil {
		return
	}
	f.mu.Lock()
	if f.answered[h.Source] == 0 {
		f.answered[h.Source] = id
	}
	if f.answered[h.Source] != id {
		f.moves++
	}
	f.mu.Unlock()
	next, began := uint64(0), false
	sent := uint64(0) // bytes
	frame := make([]byte, wire.FrameSizeMax)
	for {
		if _, err := io.ReadFull(c, frame[:wire.HeaderSize]); err != nil {
			return
		}
		e, why := wire.ParseHeader(frame)
		if why != wire.Accepted {
			f.mu.Lock()
			f.problem("header refused: " + why.String())
			f.mu.Unlock()
			return
		}
		if _, err := io.ReadFull(c, frame[wire.HeaderSize:e.Size]); err != nil {
			return
		}
		sent += uint64(e.Size)
		f.mu.Lock()
		bare, err := session.open(frame[:e.Size])
		if err != nil {
			f.problem(err.Error())
			f.mu.Unlock()
			return
		}
		e, _ = wire.ParseHeader(bare)
		if p.conns[h.Source] != conn {
			f.mu.Unlock()
			return
		}
		var answers [][]byte
		refusal := wire.Accepted
		switch {
		case !e.Type.Numbered() || e.Source != h.Source || e.Stream != h.Stream:
			f.problem("a frame of another source or type")
		case f.answered[h.Source] != p.id:
			f.problem("a source goes on where another spool answers")
		case began && e.Sequence < next:
			f.problem("a sequence that goes back on a connection")
		case !began && !known.any && e.Sequence > 0:
			refusal = wire.RefusedForgotten
		default:
			refusal = f.frame(known, &e, bare)
		}
		began, next = true, e.Sequence+1
		if refusal != wire.Accepted {
			f.mu.Unlock()
			_, _ = conn.Write(session.say(wire.AppendRefusal(nil, e, 0, refusal, "the fake says so")))
			_, _ = io.Copy(io.Discard, c)
			return
		}
		p.sources[h.Source] = known
		if f.rand == nil || f.rand.IntN(3) == 0 || !f.chaos {
			f.sealAll(p)
			answers = append(answers, f.ack(p, h))
		}
		if f.odds(30) { // credit 0 for a moment
			answers = append(answers, p.ack(h, wire.Ack{Durable: p.durable(h.Source)}), f.ack(p, h))
		}
		if f.odds(30) && p.durable(h.Source) > 0 { // lower than before
			answers = append(answers, p.ack(h, wire.Ack{Durable: p.durable(h.Source) - 1, Credit: f.credit}))
		}
		if f.forgetful && f.odds(60) { // above what was sent
			f.aheads++
			answers = append(answers, p.ack(h, wire.Ack{Durable: 1 << 40, Credit: f.credit}))
		}
		if f.odds(60) { // it ends: what it did not read, nobody has counted
			f.sealAll(p)
			final := p.ack(h, wire.Ack{Durable: p.durable(h.Source), Final: true})
			f.mu.Unlock()
			_, _ = conn.Write(session.say(final))
			return
		}
		hang := f.slow && f.odds(100) // half-open: never a word again
		cut := f.odds(40)
		var pause time.Duration
		if f.slow && f.odds(20) {
			pause = time.Duration(f.rand.IntN(2000)) * time.Millisecond
		}
		if f.odds(25) && sent > f.credit+wire.FrameSizeMax {
			f.problem("more than the credit is in flight")
		}
		var forged []byte
		if session != nil && f.odds(40) {
			f.forgings++
			forged = session.forged(f.rand, h, e.Sequence+1)
		}
		f.mu.Unlock()
		time.Sleep(pause)
		if cut {
			return
		}
		if hang {
			_, _ = io.Copy(io.Discard, c)
			return
		}
		for _, a := range answers {
			if _, err := conn.Write(session.say(a)); err != nil {
				return
			}
		}
		if forged != nil {
			_, _ = conn.Write(forged)
		}
	}
}

// frame takes one frame.
func (f *fakeCollector) frame(s *fakeSource, h *wire.Header, frame []byte) wire.Refusal {
	if before, ok := s.frames[h.Sequence]; ok {
		if !bytes.Equal(before, frame) {
			f.problem("a numbered frame has changed")
		}
		return wire.Accepted
	}
	if s.placed[h.Sequence] { // the refusal was lost on its way: now it is a duplicate
		return wire.Accepted
	}
	switch {
	case s.any && h.Sequence <= s.newest:
		f.problem("a frame behind the newest that never came")
	case s.any && h.Sequence == s.newest+1 && h.Position != s.end, s.any && h.Position < s.end, !s.any && h.Position != 0:
		f.problem("a position that contradicts")
	}
	if f.forgetful && f.odds(50) && f.refuses < 5 {
		f.refuses++
		for _, user := range users(h, frame) {
			f.refused[user]++
		}
		// Half of them are placed, like one with a bad body.
		if f.rand.IntN(2) == 0 {
			s.any, s.newest, s.end = true, h.Sequence, h.Position+uint64(h.Count)
			s.placed[h.Sequence] = true
		}
		return wire.RefusedKind
	}
	s.any, s.newest, s.end = true, h.Sequence, h.Position+uint64(h.Count)
	s.frames[h.Sequence] = bytes.Clone(frame)
	return wire.Accepted
}

func users(h *wire.Header, frame []byte) []uint64 {
	if h.Type == wire.TypeNames {
		return nil
	}
	events, why := wire.DecodeEvents(make([]wire.Event, wire.CountMax), h.Body(frame), h.Count)
	if why != wire.Accepted {
		panic("body refused: " + why.String())
	}
	var all []uint64
	for _, e := range events {
		all = append(all, e.User)
	}
	return all
}

// sealAll makes durable what has come.
func (f *fakeCollector) sealAll(p *fakeSpool) {
	for id, s := range p.sources {
		before := p.sealed[id]
		if before == nil {
			before = newFakeSource()
			p.sealed[id] = before
		}
		from := uint64(0)
		if before.any {
			from = before.newest + 1
		}
		for sequence := from; s.any && sequence <= s.newest; sequence++ {
			frame, ok := s.frames[sequence]
			if !ok {
				if s.placed[sequence] {
					before.placed[sequence] = true
				}
				continue
			}
			h, _ := wire.ParseHeader(frame)
			for _, user := range users(&h, frame) {
				f.counted[user]++
			}
			if h.Type == wire.TypeNames {
				f.name(h.Body(frame))
			}
			before.frames[sequence] = frame
		}
		before.any, before.newest, before.end = s.any, s.newest, s.end
	}
}

// name takes the names of a frame.
func (f *fakeCollector) name(body []byte) {
	for len(body) > 0 {
		n, rest, why := wire.ReadName(body)
		if why != wire.Accepted {
			f.problem("a name is refused")
			return
		}
		f.named[n.Attribute.String()+" "+string(n.Text)]++
		body = rest
	}
}

func (p *fakeSpool) durable(source uint64) uint64 {
	if s := p.sealed[source]; s != nil && s.any {
		return s.newest + 1
	}
	return 0
}

func (p *fakeSpool) ack(h wire.Header, a wire.Ack) []byte {
	a.Spool = p.id
	return wire.AppendAck(nil, h.Stream, h.Source, 0, a)
}

func (f *fakeCollector) ack(p *fakeSpool, h wire.Header) []byte {
	return p.ack(h, wire.Ack{Durable: p.durable(h.Source), Credit: f.credit})
}

// crash ends all connections, and all that was not sealed is gone.
func (p *fakeSpool) crash() {
	p.sources = map[uint64]*fakeSource{}
	for id, s := range p.sealed {
		back := newFakeSource()
		back.newest, back.end, back.any = s.newest, s.end, s.any
		maps.Copy(back.placed, s.placed)
		maps.Copy(back.frames, s.frames)
		p.sources[id] = back
	}
	for id, c := range p.conns {
		_ = c.Close()
		delete(p.conns, id)
	}
}

// forget has a collector lose its spool; what it had counted stays so.
func (f *fakeCollector) forget(p *fakeSpool) {
	f.forgets++
	f.ids++
	p.id = f.ids
	clear(p.sealed)
	p.crash()
}

// lost is how many events the positions tell of that never came.
func (f *fakeCollector) lost() (lost uint64) {
	for _, p := range f.spools {
		for _, s := range p.sealed {
			lost += s.end
			for _, frame := range s.frames {
				h, _ := wire.ParseHeader(frame)
				lost -= uint64(h.Count)
			}
		}
	}
	return lost
}

// sure says that no source had a reason to end. Behind a first frame that was
// refused and not placed, one is not known.
func (f *fakeCollector) sure() bool {
	return f.forgets == 0 && f.refuses == 0 && f.aheads == 0 && f.moves == 0
}

// check returns what is wrong, given what the client says it has done: added
// are the users 0 to added-1, one event each.
func (f *fakeCollector) check(added uint64, s Stats) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	bad := f.problems
	missing, refused := uint64(0), uint64(0) // refused: of the missing, whether the client heard of it or not
	for user := range added {
		switch n := f.counted[user]; {
		case n > 1:
			bad = append(bad, "an event was counted more than once")
		case n == 0:
			missing++
			if f.refused[user] > 0 {
				refused++
			}
		}
	}
	if uint64(len(f.counted)) > added {
		bad = append(bad, "events were counted that nobody added")
	}
	if f.sure() && f.lost() != s.Dropped {
		bad = append(bad, "what was dropped does not show as lost")
	}
	if least, most := s.Refused+s.Dropped, refused+s.Dropped+s.Unsure; missing < least || missing > most {
		bad = append(bad, "events are missing that the client does not account for")
	}
	if s.Events+s.Recovered != s.Acked+s.Refused+s.Dropped+s.Unsure+s.Buffered {
		bad = append(bad, "the client's numbers do not add up")
	}
	return bad
}

// listenFake serves on a loopback port.
func listenFake(f *fakeCollector) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(f.spools[0], conn)
		}
	}()
	return l.Addr().String(), func() { _ = l.Close() }, nil
}
