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

// fakeCollector speaks the session protocol, with faults. It is not a copy of
// the real one: it keeps every frame, and every event that it sealed, by number.
type fakeCollector struct {
	mu        sync.Mutex
	rand      *rand.Rand // nil: no faults, and every frame is sealed at once
	chaos     bool       // faults go on
	forgetful bool       // one of which is to lose everything
	slow      bool       // and to answer late, or never
	credit    uint64
	sources   map[uint64]*fakeSource // as of now
	conns     map[uint64]net.Conn    // of each source

	sealed   map[uint64]*fakeSource // as of the last seal
	counted  map[uint64]int         // sealed: how often each user came
	refused  map[uint64]int         // events of refused frames
	problems []string
	forgets  int
	refuses  int
	aheads   int             // acks of what was never sent
	told     map[uint64]bool // sources that were told of something durable
}

func newFake(r *rand.Rand) *fakeCollector {
	return &fakeCollector{
		rand: r, chaos: r != nil, forgetful: r != nil, slow: r != nil, credit: 1 << 20,
		sources: map[uint64]*fakeSource{}, sealed: map[uint64]*fakeSource{}, conns: map[uint64]net.Conn{},
		counted: map[uint64]int{}, refused: map[uint64]int{}, told: map[uint64]bool{},
	}
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

// serve speaks with one client.
func (f *fakeCollector) serve(conn net.Conn) {
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
	hello := make([]byte, wire.HeaderSize)
	if _, err := io.ReadFull(c, hello); err != nil {
		return
	}
	h, why := wire.ParseHeader(hello)
	f.mu.Lock()
	if why != wire.Accepted || h.Type != wire.TypeHello {
		f.problem("the first frame is not a hello")
	}
	if old := f.conns[h.Source]; old != nil {
		_ = old.Close()
	}
	f.conns[h.Source] = conn
	if f.forgetful && f.odds(40) {
		f.forget()
	}
	crash := f.odds(20)
	if crash {
		f.crash()
	}
	known := f.sources[h.Source]
	if known == nil {
		known = newFakeSource()
	}
	first := f.ack(h)
	f.mu.Unlock()
	if !f.tell(conn, h.Source, first) {
		return
	}
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
		if f.conns[h.Source] != conn {
			f.mu.Unlock()
			return
		}
		var answers [][]byte
		refusal := wire.Accepted
		switch {
		case e.Type != wire.TypeEvents || e.Source != h.Source || e.Stream != h.Stream:
			f.problem("a frame of another source or type")
		case began && e.Sequence < next:
			f.problem("a sequence that goes back on a connection")
		case !began && !known.any && e.Sequence > 0:
			refusal = wire.RefusedForgotten
		default:
			refusal = f.frame(known, &e, frame[:e.Size])
		}
		began, next = true, e.Sequence+1
		if refusal != wire.Accepted {
			f.mu.Unlock()
			_, _ = conn.Write(wire.AppendRefusal(nil, e, 0, refusal, "the fake says so"))
			_, _ = io.Copy(io.Discard, c)
			return
		}
		f.sources[h.Source] = known
		if f.rand == nil || f.rand.IntN(3) == 0 || !f.chaos {
			f.seal()
			answers = append(answers, f.ack(h))
		}
		if f.odds(30) { // credit 0 for a moment
			answers = append(answers, wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: f.durable(h.Source)}), f.ack(h))
		}
		if f.odds(30) && f.durable(h.Source) > 0 { // lower than before
			answers = append(answers, wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: f.durable(h.Source) - 1, Credit: f.credit}))
		}
		if f.forgetful && f.odds(60) { // above what was sent
			f.aheads++
			answers = append(answers, wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: 1 << 40, Credit: f.credit}))
		}
		if f.odds(60) { // it ends: what it did not read, nobody has counted
			f.seal()
			final := wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: f.durable(h.Source), Final: true})
			f.mu.Unlock()
			_, _ = conn.Write(final)
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
			if !f.tell(conn, h.Source, a) {
				return
			}
		}
	}
}

// tell sends an ack, and reports whether the client has read it.
func (f *fakeCollector) tell(conn net.Conn, source uint64, ack []byte) bool {
	if _, err := conn.Write(ack); err != nil {
		return false
	}
	a, _ := wire.ParseAck(ack[wire.HeaderSize:])
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told[source] = f.told[source] || a.Durable > 0
	return true
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

// seal makes durable what has come.
func (f *fakeCollector) seal() {
	for id, s := range f.sources {
		before := f.sealed[id]
		if before == nil {
			before = newFakeSource()
			f.sealed[id] = before
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
			before.frames[sequence] = frame
		}
		before.any, before.newest, before.end = s.any, s.newest, s.end
	}
}

func (f *fakeCollector) durable(source uint64) uint64 {
	if s := f.sealed[source]; s != nil && s.any {
		return s.newest + 1
	}
	return 0
}

func (f *fakeCollector) ack(h wire.Header) []byte {
	return wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: f.durable(h.Source), Credit: f.credit})
}

// crash ends all connections, and all that was not sealed is gone.
func (f *fakeCollector) crash() {
	f.sources = map[uint64]*fakeSource{}
	for id, s := range f.sealed {
		back := newFakeSource()
		back.newest, back.end, back.any = s.newest, s.end, s.any
		maps.Copy(back.placed, s.placed)
		for n, b := range s.frames {
			back.frames[n] = b
		}
		f.sources[id] = back
	}
	for id, c := range f.conns {
		_ = c.Close()
		delete(f.conns, id)
	}
}

// forget is a collector that lost its spool; what it had counted stays so. It
// keeps a source that was never told of anything durable: this one begins again
// with its first frame, and nobody can tell that from a source that is new.
func (f *fakeCollector) forget() {
	f.forgets++
	maps.DeleteFunc(f.sealed, func(source uint64, _ *fakeSource) bool { return f.told[source] })
	f.crash()
}

// lost is how many events the positions tell of that never came.
func (f *fakeCollector) lost() (lost uint64) {
	for _, s := range f.sealed {
		lost += s.end
		for _, frame := range s.frames {
			h, _ := wire.ParseHeader(frame)
			lost -= uint64(h.Count)
		}
	}
	return lost
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
	if f.forgets == 0 && f.refuses == 0 && f.aheads == 0 && f.lost() != s.Dropped {
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
			go f.serve(conn)
		}
	}()
	return l.Addr().String(), func() { _ = l.Close() }, nil
}
