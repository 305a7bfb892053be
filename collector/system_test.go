package collector

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/panjf2000/gnet/v2"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/spool"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/wire"
)

// systemRounds is how many systems live and end, of systemSteps steps each.
var systemRounds = 300

const systemSteps = 5000

// Clients that resend, senders of datagrams, shards, cuts, the spool and a store
// that lies, under power cuts: what was sealed is there once, what was not is not
// there, the books say exactly that, and no ack goes before its seal.
func TestSystem(t *testing.T) {
	seed := testSeed(t)
	counts, rounds := map[string]int{}, 0
	for round := range uint64(systemRounds) {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			newSystem(t, rand.New(rand.NewPCG(seed, round)), counts).run()
			rounds++
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d steps: %v", rounds*systemSteps, counts)
	if rounds < 100 {
		return // too few for every rare thing
	}
	for _, what := range []string{
		"kill", "power loss", "died", "died at the start", "stop", "retried", "pending kept", "pending gone", "torn", "denied", "cut failed",
		"frame again", "frame came during a seal", "takeover", "no room", "shed", "stored again", "stored late", "parked", "merged", "forgotten",
		"some minutes frozen", "named", "clock stepped", "wrong clock at a start",
		"refused and placed", "refused as position", "refused as sources", "refused as unexpected", "refused as sequence", "refused as forgotten",
	} {
		if counts[what] == 0 {
			t.Errorf("it never came to this: %s", what)
		}
	}
}

// parcel is a frame, and what the model knows of it.
type parcel struct {
	from               *origin
	bytes              []byte
	serial             uint64 // among all frames; the content of its events but the first
	hot                uint64 // the content of the first
	sequence, position uint64
	events             uint64
	taken              bool          // by the collector that runs, or one before
	heard              time.Duration // when it was taken, by the time in which a collector ran
	sealed             bool
	shed               bool
	wrong              bool   // it is refused for its body
	name               string // of a frame of names: its only one
}

// origin is one numbering.
type origin struct {
	id                 uint64
	stream             uint16
	session            bool
	sequence, position uint64
	parcels            []*parcel
	promised           int  // so many parcels are acknowledged
	over               bool // nothing comes any more
	gone               bool // the collector forgot it
}

// batch is what happened in one window.
type batch struct {
	taken []*parcel
	gone  []*origin
}

// caller is a client with sessions.
type caller struct {
	*origin
	acked, sent int // so many parcels
	ready       bool
	credit      uint64
	line        *line // nil: none
}

// line is a connection: gnet's side of it, and what is on the way.
type line struct {
	gnet.Conn // nil: what is not below is not called
	s         *system
	from      *origin
	shard     *shard
	context   any
	came      []byte // of one wake-up
	up        []*parcel
	at        int // bytes of the first of up that came
	down      []byte
	ended     bool // by the collector
	left      bool // by the client
	stranger  bool // nobody reads what it is told
}

// RemoteAddr is nobody's: no address pays for a source of the system.
func (*line) RemoteAddr() net.Addr { return nil }

func (l *line) Next(int) ([]byte, error)                   { return l.came, nil }
func (l *line) Context() any                               { return l.context }
func (l *line) SetContext(x any)                           { l.context = x }
func (l *line) OutboundBuffered() int                      { return 0 }
func (l *line) Fd() int                                    { return -1 }
func (l *line) Close() error                               { l.ended = true; return nil }
func (l *line) CloseWithCallback(gnet.AsyncCallback) error { return l.Close() }

func (l *line) Write(b []byte) (int, error) {
	if !l.stranger {
		l.s.promise(b)
	}
	l.down = append(l.down, b...)
	return len(b), nil
}

func (l *line) AsyncWrite(b []byte, done gnet.AsyncCallback) error {
	_, _ = l.Write(b)
	return done(l, nil)
}

// totals are what rows and books add up to.
type totals struct {
	events map[uint64]uint64 // by content
	coarse uint64            // without one
	books  map[uint16]storage.Book
}

func newTotals() totals {
	return totals{events: map[uint64]uint64{}, books: map[uint16]storage.Book{}}
}

func (c *totals) row(r storage.Row) {
	if r.Coarse == storage.CoarseContents {
		c.coarse += r.Events()
	} else {
		c.events[r.Content] += r.Events()
	}
}

func (c *totals) book(b storage.Book) {
	sum := c.books[b.Stream]
	sum.Stream = b.Stream
	sum.Add(&b)
	c.books[b.Stream] = sum
}

func (c *totals) block(b *storage.Block) {
	for i := range b.Rows.Len() {
		c.row(b.Rows.Row(i))
	}
	for _, k := range b.Books {
		c.book(k)
	}
}

// system is all that is tried, and the model of it.
type system struct {
	*testing.T
	rand   *rand.Rand
	counts map[string]int
	odds   []int         // running sums
	now    time.Time     // of the wall clock, which steps
	steady time.Duration // for which a collector has run
	began  time.Duration // when the one that runs did

	// The process, and its disk.
	limits Options
	events []wire.Event
	shards []*shard
	cuts   *cutter
	disk   *vfstest.Disk
	spool  *spool.Spool
	size   int64 // of the spool
	set    *metrics.Set
	lines  []*line
	inSeal bool

	// What the gatherer keeps.
	rows    []storage.Row
	books   map[uint16]storage.Book
	window  storage.Window
	through uint64
	before  uint64
	late    []uint64 // blocks of which the store has not answered yet

	// The model.
	origins []*origin
	parcels uint64
	callers []*caller
	senders []*origin
	air     []*parcel
	running batch
	pending *batch
	sealed  uint64 // number of the last seal
	away    bool   // the store
	blocks  map[uint64]*storage.Block
	stored  totals
}

func newSystem(t *testing.T, r *rand.Rand, counts map[string]int) *system {
	s := &system{
		T: t, rand: r, counts: counts, now: epoch, disk: vfstest.New(r.Uint64()), events: make([]wire.Event, 256),
		limits: Options{
			NamesAMinute: 1 << 30, NamesMemory: 1 << 16,
			SourcesMax: 1000, ConnectionsMax: 1000, CreditMax: 200 << r.IntN(6),
			ConnectionIdleMax: longerThanARound, SourceIdleMax: longerThanARound, SessionIdleMax: longerThanARound,
		},
		size: 96<<10 + r.Int64N(512<<10), blocks: map[uint64]*storage.Block{}, stored: newTotals(),
	}
	sum := 0
	for i := range actions { // so that rounds differ in kind
		sum += 1 + actions[i].odds*r.IntN(9)/4
		s.odds = append(s.odds, sum)
	}
	for range 1 + r.IntN(4) {
		s.callers = append(s.callers, &caller{origin: s.newOrigin(true)})
		s.senders = append(s.senders, s.newOrigin(false))
	}
	s.start()
	return s
}

func (s *system) newOrigin(session bool) *origin {
	o := &origin{id: s.rand.Uint64(), stream: uint16(s.rand.IntN(3)), session: session}
	s.origins = append(s.origins, o)
	return o
}

// actions are what a step may be, and how often.
var actions = []struct {
	odds int
	do   func(*system)
}{
	{120, func(s *system) { s.newParcel(s.caller().origin) }},
	{40, func(s *system) { s.connect(s.caller()) }},
	{120, func(s *system) { s.send(s.caller()) }},
	{200, (*system).deliver},
	{100, func(s *system) { s.receive(s.caller()) }},
	{6, func(s *system) { s.hangUp(s.caller()) }},
	{120, func(s *system) { s.throw(s.senders[s.rand.IntN(len(s.senders))]) }},
	{60, (*system).land},
	{20, (*system).contradict},
	{30, func(s *system) { s.cut(causeTime) }},
	{30, func(s *system) { s.freeze(s.rand.IntN(2) == 0) }},
	{30, (*system).ship},
	{6, (*system).merge},
	{10, (*system).answerLate},
	{2, func(s *system) { s.crash() }},
	{1, func(s *system) { s.disk.CrashAt = s.disk.Steps + 1 + s.rand.IntN(30) }},
	{3, func(s *system) { s.fail(20, false) }},
	{3, func(s *system) { s.fail(80, true) }},
	{1, (*system).stop},
	{12, (*system).sweep},
	{5, (*system).retire},
	{1, func(s *system) { s.away = !s.away }},
	{4, (*system).stepClock},
}

// longerThanARound is a silence that nobody keeps: a round has systemSteps steps
// of less than 20 ms.
const longerThanARound = 2 * time.Minute

func (s *system) caller() *caller { return s.callers[s.rand.IntN(len(s.callers))] }

func (s *system) run() {
	for range systemSteps {
		passed := time.Duration(s.rand.IntN(20)) * time.Millisecond
		s.now, s.steady = s.now.Add(passed), s.steady+passed
		n := s.rand.IntN(s.odds[len(s.odds)-1])
		at, _ := slices.BinarySearchFunc(s.odds, n, func(below, n int) int { return cmp.Compare(below, n+1) })
		actions[at].do(s)
		if s.disk.Dead() {
			s.counts["died"]++
			s.crash()
		}
		if s.Failed() {
			return
		}
	}
	s.end()
}

// newParcel makes the next frame of a numbering. Sometimes one before it is left
// out, as an emitter does that drops.
func (s *system) newParcel(o *origin) *parcel {
	if o.sequence > 0 && s.rand.IntN(10) == 0 {
		o.sequence++
		o.position += s.rand.Uint64N(5)
	}
	s.parcels++
	p := &parcel{from: o, serial: 1000 + s.parcels, hot: s.rand.Uint64N(5), sequence: o.sequence, position: o.position}
	var events []wire.Event
	if s.rand.IntN(10) > 0 {
		events = append(events, wire.Event{Content: p.hot})
		for i := range 1 + s.rand.Uint64N(5) {
			events = append(events, wire.Event{Content: p.serial, User: i})
		}
	} else if s.rand.IntN(2) == 0 {
		p.name = fmt.Sprint("/", p.serial)
		s.counts["named"]++
	}
	p.events = uint64(len(events))
	at := s.now.AddDate(0, 0, -s.rand.IntN(2)*s.rand.IntN(2))
	p.bytes = frameOf(o.stream, o.id, o.sequence, o.position, at, events...)
	if p.name != "" {
		p.bytes = namesFrame(o.stream, o.id, o.sequence, o.position, at, named(p.name))
	}
	o.sequence++
	o.position += p.events
	o.parcels = append(o.parcels, p)
	return p
}

// connect makes a connection and says hello.
func (s *system) connect(c *caller) {
	if c.line != nil {
		return
	}
	shard := s.shards[s.rand.IntN(len(s.shards))]
	l := &line{s: s, from: c.origin, shard: shard, up: []*parcel{{bytes: wire.AppendHello(nil, c.stream, c.id, 0)}}}
	if _, action := shard.OnOpen(l); action != gnet.None {
		s.Fatal("no room for a connection")
	}
	s.lines = append(s.lines, l)
	c.line, c.ready = l, false
}

// send sends what credit allows, from the first frame that is not acknowledged.
func (s *system) send(c *caller) {
	if c.line == nil || !c.ready {
		return
	}
	flying := 0
	for _, p := range c.parcels[c.acked:c.sent] {
		flying += len(p.bytes)
	}
	for n := 1 + s.rand.IntN(4); n > 0 && c.sent < len(c.parcels) && c.credit > 0; n-- {
		p := c.parcels[c.sent]
		flying += len(p.bytes)
		if flying > len(p.bytes) && uint64(flying) > c.credit {
			return
		}
		c.line.up = append(c.line.up, p)
		c.sent++
	}
}

// deliver brings a part of a frame, or the rest of it, to a loop.
func (s *system) deliver() {
	if len(s.lines) == 0 {
		return
	}
	l := s.lines[s.rand.IntN(len(s.lines))]
	if l.ended || l.left && len(l.up) == 0 {
		s.drop(l)
		return
	}
	if !s.makeRoom(l.shard) || len(l.up) == 0 {
		return
	}
	p := l.up[0]
	left := len(p.bytes) - l.at
	n := left
	if s.rand.IntN(3) == 0 {
		n = 1 + s.rand.IntN(left)
	}
	l.came = p.bytes[l.at : l.at+n]
	if l.at += n; n == left {
		l.up, l.at = l.up[1:], 0
	}
	var action gnet.Action
	s.taking(l.shard, p, func() { action = l.shard.OnTraffic(l) })
	if action == gnet.Close {
		s.counts["no room"]++
		s.drop(l)
	}
}

// makeRoom makes a cut where the loop would wait for one, and says whether it
// will not.
func (s *system) makeRoom(shard *shard) bool {
	ready := func() bool { return shard.table.free() >= 8 || s.cuts.full.Load() }
	if !ready() && !s.inSeal {
		s.cut(causeFull)
	}
	return ready() && !s.disk.Dead()
}

// taking notes what a loop does with a frame.
func (s *system) taking(shard *shard, p *parcel, do func()) {
	before, beats := s.cuts.total(), shard.tally[beatFrames]+shard.tally[nameFrames]
	do()
	after := s.cuts.total()
	more := func(c storage.Counter) uint64 { return after.Counts[c] - before.Counts[c] }
	accepted, shed, refused := more(storage.Accepted), more(storage.Shed), more(storage.RefusedEvents.Of(wire.RefusedKind))
	beats = shard.tally[beatFrames] + shard.tally[nameFrames] - beats
	if refused > 0 != (p.wrong && accepted+shed+beats+refused > 0) {
		s.Errorf("frame %d of source %x, wrong: %v: %d events are refused", p.sequence, p.from.id, p.wrong, refused)
	}
	if more(storage.Duplicate)+more(storage.Stale) > 0 {
		s.counts["frame again"]++
	}
	if accepted+shed+beats+refused == 0 {
		return
	}
	if s.inSeal {
		s.counts["frame came during a seal"]++
	}
	if p.taken || accepted+shed+refused != p.events {
		s.Errorf("frame %d of source %x with %d events: %d are taken, again: %v", p.sequence, p.from.id, p.events, accepted+shed+refused, p.taken)
	}
	if refused > 0 {
		s.counts["refused and placed"]++
	}
	if shed > 0 {
		s.counts["shed"]++
	}
	p.taken, p.shed, p.heard = true, shed > 0, s.steady
	s.running.taken = append(s.running.taken, p)
}

// promise checks what the collector says to a client.
func (s *system) promise(b []byte) {
	h, _ := wire.ParseHeader(b)
	if h.Type != wire.TypeAck {
		s.Errorf("source %x is told %q", h.Source, b[wire.HeaderSize:])
		return
	}
	a, _ := wire.ParseAck(&h, h.Body(b))
	for _, o := range s.origins {
		if o.id != h.Source {
			continue
		}
		for ; o.promised < len(o.parcels) && o.parcels[o.promised].sequence < a.Durable; o.promised++ {
			if p := o.parcels[o.promised]; !p.sealed {
				s.Errorf("frame %d of source %x is acknowledged, and not sealed", p.sequence, o.id)
			}
		}
	}
}

// receive reads what the collector said.
func (s *system) receive(c *caller) {
	l := c.line
	if l == nil {
		return
	}
	for len(l.down) > 0 {
		h, _ := wire.ParseHeader(l.down)
		a, _ := wire.ParseAck(&h, h.Body(l.down))
		l.down = l.down[h.Size:]
		for c.acked < len(c.parcels) && c.parcels[c.acked].sequence < a.Durable {
			c.acked++
		}
		if c.sent = max(c.sent, c.acked); !c.ready {
			c.ready, c.sent = true, c.acked
		}
		c.credit = a.Credit
	}
	if !slices.Contains(s.lines, l) { // the collector has closed it
		c.line = nil
	}
}

// hangUp ends a connection, which the collector may learn later: then another
// takes over.
func (s *system) hangUp(c *caller) {
	l := c.line
	if l == nil {
		return
	}
	c.line = nil
	if s.rand.IntN(2) == 0 {
		s.counts["takeover"]++
		l.up = l.up[:s.rand.IntN(len(l.up)+1)]
		l.left = true
		return
	}
	s.drop(l)
}

// drop tells the collector that a connection is closed.
func (s *system) drop(l *line) {
	if i := slices.Index(s.lines, l); i >= 0 {
		s.lines = slices.Delete(s.lines, i, i+1)
		l.up = nil
		l.shard.OnClose(l, nil)
	}
}

// throw sends a datagram, which may be lost, doubled or late.
func (s *system) throw(o *origin) {
	p := s.newParcel(o)
	if p.events > 0 && s.rand.IntN(20) == 0 {
		p.wrong, p.bytes[wire.HeaderSize+1] = true, 7 // a kind that has no name
	}
	if s.source(o) == nil && s.rand.IntN(4) == 0 {
		s.withoutRoom(p)
		return
	}
	switch s.rand.IntN(10) {
	case 0:
	case 1:
		s.air = append(s.air, p, p)
	case 2, 3:
		s.air = append(s.air, p)
	default:
		s.datagram(p)
	}
}

// land brings a datagram from the air.
func (s *system) land() {
	if n := len(s.air); n > 0 {
		i := s.rand.IntN(n)
		p := s.air[i]
		s.air = slices.Delete(s.air, i, i+1)
		s.datagram(p)
	}
}

func (s *system) datagram(p *parcel) {
	shard := s.shards[s.rand.IntN(len(s.shards))]
	if !s.makeRoom(shard) {
		return
	}
	s.taking(shard, p, func() {
		shard.Lock()
		defer shard.Unlock()
		shard.tick()
		shard.datagram(p.bytes, address{})
	})
}

// withoutRoom sends a datagram of a source for which there is no room: where the
// source goes on later, it was met in the middle.
func (s *system) withoutRoom(p *parcel) {
	sources := s.cuts.sources
	open := sources.full()
	shard := s.shards[s.rand.IntN(len(s.shards))]
	s.changesNothing(wire.RefusedSources, func() { s.stranger(shard, p.bytes, true) })
	open()
}

// contradict has somebody send what contradicts a numbering, or is not taken where
// it comes: what is refused so is in no book, and what comes in its place later is.
func (s *system) contradict() {
	shard := s.shards[s.rand.IntN(len(s.shards))]
	if !s.makeRoom(shard) {
		return
	}
	o, c := s.senders[s.rand.IntN(len(s.senders))], s.caller()
	n := s.rand.IntN(5)
	frame := func(o *origin, sequence, position uint64) []byte {
		return frameOf(o.stream, o.id, sequence, position, s.now, opens(1+n)...)
	}
	datagram := s.rand.IntN(2) == 0
	switch src, other := s.source(o), s.source(c.origin); s.rand.IntN(4) {
	case 0:
		if src != nil {
			bytes := frame(o, src.next, src.end+1+s.rand.Uint64N(1<<40))
			s.changesNothing(wire.RefusedPosition, func() { s.stranger(shard, bytes, datagram) })
		}
	case 1:
		if other != nil && other.session {
			bytes := frame(c.origin, other.next+s.rand.Uint64N(100), other.end)
			s.changesNothing(wire.RefusedUnexpected, func() { s.stranger(shard, bytes, datagram) })
		}
	case 2:
		bytes := append(wire.AppendHello(nil, o.stream, s.rand.Uint64(), 0), frame(o, o.sequence, o.position)...)
		s.changesNothing(wire.RefusedSequence, func() { s.stranger(shard, bytes, false) })
	default:
		unknown := &origin{id: s.rand.Uint64(), stream: o.stream}
		bytes := append(wire.AppendHello(nil, o.stream, unknown.id, 0), frame(unknown, 1+s.rand.Uint64N(9), 100)...)
		s.changesNothing(wire.RefusedForgotten, func() { s.stranger(shard, bytes, false) })
	}
}

// stranger sends bytes to a loop, in a datagram or on a connection of their own.
func (s *system) stranger(shard *shard, bytes []byte, datagram bool) {
	if datagram {
		shard.Lock()
		defer shard.Unlock()
		shard.tick()
		shard.datagram(bytes, address{})
		return
	}
	l := &line{s: s, shard: shard, stranger: true, came: bytes}
	shard.OnOpen(l)
	shard.OnTraffic(l)
	shard.OnClose(l, nil)
}

// changesNothing wants what is done to be refused for this reason, and no event to
// be in any book by it.
func (s *system) changesNothing(why wire.Refusal, do func()) {
	before := s.cuts.total()
	do()
	after, frames := s.cuts.total(), storage.RefusedFrames.Of(why)
	if after.Counts[frames] != before.Counts[frames]+1 || after.Counts[storage.Sent] != before.Counts[storage.Sent] || after.RefusedEvents() != before.RefusedEvents() {
		s.Errorf("it is to be refused as %s and to change nothing: %d sent, refused frames %v, before %d and %v", why.String(),
			after.Counts[storage.Sent], after.ByReason(storage.RefusedFrames), before.Counts[storage.Sent], before.ByReason(storage.RefusedFrames))
	}
	s.counts["refused as "+why.String()]++
}

func (s *system) cut(why cause) bool {
	denied := s.cuts.denied.Load()
	ok := s.cuts.cut(why)
	if s.cuts.denied.Load() > denied {
		s.counts["denied"]++
	} else if !ok {
		s.counts["cut failed"]++
	}
	return ok
}

// Room is a part of Sink, with Seal and Retry: they do what pipeline.Gatherer does, on
// this goroutine.
func (s *system) Room() int { return s.spool.Room() }
func (s *system) MakeRoom() {}

func (s *system) Seal(seal *storage.Seal, durable func()) error {
	b := s.running
	s.running = batch{}
	if len(seal.Rows)+len(seal.Books)+len(seal.Sources)+len(seal.Forgotten) == 0 {
		if len(b.taken)+len(b.gone) > 0 {
			s.Errorf("an empty seal of %d frames", len(b.taken))
		}
		durable()
		return nil
	}
	s.meanwhile()
	s.pending = &b
	return s.spool.Seal(seal, func(number uint64) {
		s.meanwhile()
		s.settle()
		if number != s.sealed {
			s.Errorf("seal %d gets number %d", s.sealed, number)
		}
		durable()
		s.take(seal)
	})
}

// meanwhile has frames arrive while a seal is written.
func (s *system) meanwhile() {
	s.inSeal = true
	for range s.rand.IntN(4) {
		s.deliver()
		s.land()
	}
	s.inSeal = false
}

func (s *system) Retry() error {
	if s.pending == nil {
		return nil
	}
	err := s.spool.Retry()
	if err == nil {
		s.counts["retried"]++
	}
	return err
}

// take adds the sealed rows and books to those that wait. The acks are out by then.
func (s *system) take(seal *storage.Seal) {
	s.rows = append(s.rows, seal.Rows...)
	for _, b := range seal.Books {
		sum := totals{books: s.books}
		sum.book(b)
	}
	s.window = storage.Window{Start: cmp.Or(s.window.Start, seal.Window.Start), End: seal.Window.End}
	s.through = s.sealed
}

// settle takes the pending seal for true in the model.
func (s *system) settle() {
	for _, p := range s.pending.taken {
		p.sealed = true
	}
	for _, o := range s.pending.gone {
		s.counts["forgotten"]++
		o.gone = true
	}
	s.pending = nil
	s.sealed++
}

// undo is what a crash does to a window that was not sealed.
func (b *batch) undo() {
	for _, p := range b.taken {
		p.taken, p.shed = false, false
	}
}

func (s *system) freeze(all bool) {
	m := storage.Mark{Through: s.through, Before: storage.All}
	minutes := map[uint64]bool{}
	for _, r := range s.rows {
		minutes[uint64(r.Minute)] = true
	}
	if at := slices.Sorted(maps.Keys(minutes)); len(at) > 0 && !all {
		m.Before = at[s.rand.IntN(len(at))]
		if m.Before < s.before {
			m.Before = storage.All
		}
	}
	for stream, b := range s.books {
		var open uint64
		for _, r := range s.rows {
			if r.Stream == stream && uint64(r.Minute) >= m.Before {
				open += r.Events()
			}
		}
		if min(b.Counts[storage.Sent], b.Counts[storage.Accepted]) < open { // it came late: see pipeline.Gatherer
			s.counts["books not divided"]++
			m.Before = storage.All
			break
		}
	}
	rows, open := storage.NewMinutes(), map[uint16]uint64{}
	var later []storage.Row
	for _, r := range s.rows {
		if uint64(r.Minute) < m.Before {
			rows.Add([]storage.Row{r})
			continue
		}
		later = append(later, r)
		open[r.Stream] += r.Events()
	}
	var books []storage.Book
	stay := map[uint16]storage.Book{}
	for _, stream := range slices.Sorted(maps.Keys(s.books)) {
		b := s.books[stream]
		if n := open[stream]; n > 0 {
			stay[stream] = storage.Book{Stream: stream, Counts: storage.Counts{storage.Sent: n, storage.Accepted: n}}
			b.Counts[storage.Sent] -= n
			b.Counts[storage.Accepted] -= n
		}
		books = append(books, b)
	}
	if s.spool.Flush(rows, books, s.window, m) != nil {
		return
	}
	s.rows, s.books, s.window.Start, s.before = later, stay, s.window.End, m.Before
	if m.Before == storage.All {
		s.before = 0
	} else if rows.Len() > 0 {
		s.counts["some minutes frozen"]++
	}
}

// ship gives the store the oldest block. Its answer may be wrong, late or lost.
func (s *system) ship() {
	b, ok, err := s.spool.Oldest()
	if err != nil || !ok || s.disk.Dead() {
		return
	}
	what := s.rand.IntN(10)
	switch {
	case s.away || what == 0:
		s.sameBytes(b)
		return
	case what == 1:
		s.counts["parked"]++
		s.spool.Park(b.Number)
		return
	}
	s.store(b)
	switch what {
	case 2: // the answer is lost
	case 3, 4:
		s.counts["stored late"]++
		s.late = append(s.late, b.Number)
	case 5: // it comes twice
		_ = s.spool.Stored(b.Number)
		_ = s.spool.Stored(b.Number)
	default:
		if err := s.spool.Stored(b.Number); err != nil {
			s.Error(err)
		}
	}
}

// sameBytes fails where a number was given to other bytes before.
func (s *system) sameBytes(b *storage.Block) (before bool) {
	old := s.blocks[b.Number]
	if old != nil && !reflect.DeepEqual(old, b) {
		s.Errorf("block %d has changed", b.Number)
	}
	return old != nil
}

func (s *system) store(b *storage.Block) {
	if s.sameBytes(b) {
		s.counts["stored again"]++
		return
	}
	s.blocks[b.Number] = b
	s.stored.block(b)
}

func (s *system) answerLate() {
	if len(s.late) > 0 {
		_ = s.spool.Stored(s.late[0]) // it may have been told by now
		s.late = s.late[1:]
	}
	s.spool.Unpark()
}

func (s *system) merge() {
	before := s.spool.LastNumber()
	if err := s.spool.Compact(s.Context()); err == nil && s.spool.LastNumber() > before {
		s.counts["merged"]++
	}
}

// sweep closes connections that others took over from, and forgets sources whose
// senders are gone. What those still sent would count again. Nobody has been
// silent for long, whatever the wall clock says.
func (s *system) sweep() {
	live := s.cuts.sources.live.Load()
	for _, shard := range s.shards {
		shard.sweep()
	}
	for n := range stripes {
		s.cuts.sources.forgetSilent(n, s.cuts.clocks.steady(), &s.limits)
	}
	if n := s.cuts.sources.live.Load(); n != live {
		s.Errorf("%d of %d sources are forgotten for their silence", live-n, live)
	}
	for _, k := range s.cuts.sessions.takeReplaced() {
		k.shard.hangUpOn(k)
	}
	oldest := s.cuts.clocks.steady()
	var known []*origin
	for _, o := range s.origins {
		src := s.source(o)
		switch {
		case src == nil:
		case o.over:
			known = append(known, o)
		default:
			oldest = min(oldest, src.lastSeen)
		}
	}
	for n := range stripes {
		s.cuts.sources.forget(n, oldest, oldest)
	}
	for _, o := range known {
		if s.source(o) == nil {
			s.running.gone = append(s.running.gone, o)
		}
	}
}

func (s *system) source(o *origin) *source { return s.cuts.sources.of(o.id).known(o.id) }

// retire ends a numbering, and begins another.
func (s *system) retire() {
	if i := s.rand.IntN(len(s.senders)); s.rand.IntN(2) == 0 {
		o := s.senders[i]
		o.over = true
		s.air = slices.DeleteFunc(s.air, func(p *parcel) bool { return p.from == o })
		s.senders[i] = s.newOrigin(false)
		return
	}
	i := s.rand.IntN(len(s.callers))
	c := s.callers[i]
	if c.acked < len(c.parcels) {
		return
	}
	c.over = true
	for _, l := range slices.Clone(s.lines) {
		if l.from == c.origin {
			s.drop(l)
		}
	}
	s.callers[i] = &caller{origin: s.newOrigin(true)}
}

// stepClock sets the wall clock, by a second to ten years.
func (s *system) stepClock() {
	s.counts["clock stepped"]++
	step := time.Duration(float64(time.Second) * math.Pow(10, 8.5*s.rand.Float64()))
	if s.rand.IntN(2) == 0 {
		step = -step
	}
	s.setClock(s.now.Add(step))
}

// setClock sets the wall clock to what a row's minute can say.
func (s *system) setClock(now time.Time) {
	first, last := time.Unix(0, 0).AddDate(0, 0, 1), epoch.AddDate(50, 0, 0)
	switch {
	case now.Before(first):
		now = first
	case now.After(last):
		now = last
	}
	s.now = now
}

// crash ends the process, or the machine.
func (s *system) crash() {
	power := s.rand.IntN(2) == 0
	s.counts[map[bool]string{false: "kill", true: "power loss"}[power]]++
	s.restart(power)
}

// stop ends the process as an operator does.
func (s *system) stop() {
	if s.cut(causeStop) && !s.disk.Dead() {
		s.counts["stop"]++
		s.freeze(true)
		_ = s.spool.Close()
		s.restart(false)
	}
}

// fail has operations of the disk fail for some time: all syncs of its directory, or
// some of any kind.
func (s *system) fail(within int, names bool) {
	until := s.disk.Steps + 1 + s.rand.IntN(within)
	s.disk.Fault = func(o vfstest.Op) error {
		if o.Step < until && (names && o.What == "syncdir" || !names && s.rand.IntN(3) == 0) {
			return vfstest.ErrFault
		}
		return nil
	}
}

// endProcess ends the process, and with power the machine.
func endProcess(d *vfstest.Disk, power bool) {
	if power {
		d.PowerLoss()
	} else {
		d.Kill()
	}
}

func (s *system) restart(power bool) {
	endProcess(s.disk, power)
	for _, c := range s.callers {
		if s.rand.IntN(2) == 0 {
			s.receive(c) // what the process said before it died
		}
		c.line = nil
	}
	s.lines, s.late = nil, nil
	switch s.rand.IntN(6) {
	case 0: // a board without a battery
		s.counts["wrong clock at a start"]++
		s.setClock(time.Unix(0, 0))
	case 1:
		s.stepClock()
	}
	s.start()
}
