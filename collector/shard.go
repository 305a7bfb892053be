package collector

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// shard is one event loop and what it alone works on. It is its gnet engine's
// event handler, so that no callback looks anything up.
type shard struct {
	gnet.BuiltinEventEngine

	sync.Mutex // held by the loop while it works, by cuts and scrapes for a moment; protects what follows

	table  *table // counts now
	waited uint64 // generation of the last window in which makeRoom waited for a cut in vain
	spare  *table // empty, or being emptied by the cutter
	after  shares // what a cut would share out, when somebody last wanted to know
	books  books
	moved  []uint64 // sources that moved since the last cut

	losses [storage.Classes]uint64 // how many more events may be booked as lost

	recent *storage.Book // the book that was wanted last, nil without one: most frames are of one account

	tally   tally
	refused refusals

	generation uint64 // of the running window, the same on all shards
	leaving    bool   // the collector ends: no more connections, nothing more of sessions
	ended      bool   // nothing more is taken: the last cut comes

	events  []wire.Event // what frames decode to; the first are accepted, and wait to be counted
	moments [waitingMax]moment
	waiting int // of events and moments
	conns   connections
	names   names

	// The clocks, read once a wake-up: Unix milliseconds, and the bounds between
	// which an event's own time is believed; and milliseconds of running time.
	now, oldest, newest int64
	steady              int64

	// Where the source with this id very likely is, nil where nobody knows: of
	// the datagram that is being taken.
	guess   *source
	guessID uint64

	turning   chan struct{} // closed when the loop runs, and connections may be given to it
	connCount atomic.Int64  // connections, and those on their way to it

	sources *sources
	cuts    *cutter
	clocks  *clocks
	limits  *Options
	rules   *rules

	badSeal       uint32       // see sealName
	fresh         int64        // milliseconds that a sealed frame may be old, or ahead
	streams       *streamTable // of rules, as it was at the last tick
	unknownStream uint32       // the last that was refused, or nameless
	disguised     disguise

	udp     receiver
	rest    rest
	direct  directWrite // to TCP clients
	engine  gnet.Engine
	onBoot  func(gnet.Engine) error
	booted  chan error    // gets nil from OnBoot, or why the engine could not start
	halting chan struct{} // closed when it is asked to stop
	stopped chan struct{} // closed when it has stopped
}

// eventsPerFrameMax is the most events that fit a frame's body.
const eventsPerFrameMax = (wire.FrameSizeMax - wire.HeaderSize) / wire.EventSizeMin

// slotsMin keeps room for the largest frame in the smallest table.
const slotsMin = 1 << 16

func newShard(o *Options, r *rules, src *sources, cuts *cutter, clocks *clocks) *shard {
	slots := max(slotsMin, (o.KeysMax+o.Loops-1)/o.Loops)
	return shardOf(slots, make([]wire.Event, eventsPerFrameMax), o, r, src, cuts, clocks)
}

// shardOf is newShard with tables of that number of slots, and with events as room for
// decoded ones.
func shardOf(slots int, events []wire.Event, o *Options, r *rules, src *sources, cuts *cutter, clocks *clocks) *shard {
	s := &shard{
		table: newTable(slots), spare: newTable(slots), generation: 1,
		books: make(books), losses: lossesOf(o.Loops), events: events,
		sources: src, cuts: cuts, clocks: clocks, limits: o,
		rules: r, streams: r.streams.Load(), unknownStream: nameless, badSeal: nameless, fresh: o.fresh(),
		udp: receiver{socket: -1}, rest: rest{over: make(chan struct{}, 1)}, direct: writeSocket,
		names:   names{known: newKnownNames(o.NamesMemory / 4 / max(1, o.Loops)), limits: cuts.nameLimits},
		turning: make(chan struct{}), booted: make(chan error, 1), halting: make(chan struct{}), stopped: make(chan struct{}),
	}
	s.table.shares.begin(s.table.limit, s.streams, o.Loops, &s.spare.shares)
	return s
}

// OnBoot prepares the sockets before the first event.
func (s *shard) OnBoot(e gnet.Engine) gnet.Action {
	err := s.onBoot(e)
	s.booted <- err
	if err != nil {
		return gnet.Shutdown
	}
	return gnet.None
}

// OnTick is called by gnet when the loop runs, and would be called again.
func (s *shard) OnTick() (delay time.Duration, action gnet.Action) {
	close(s.turning)
	return math.MaxInt64, gnet.None
}

// tick reads the clocks.
func (s *shard) tick() {
	s.now, s.steady = s.clocks.now()
	s.streams = s.rules.streams.Load()
	// A row's minute is 32 bits of Unix seconds, until 2106.
	s.oldest, s.newest = 0, math.MaxUint32*1000
	if s.limits.LateMax > 0 {
		s.oldest = s.now - s.limits.LateMax.Milliseconds()
	}
	if s.limits.FutureMax > 0 {
		s.newest = s.now + s.limits.FutureMax.Milliseconds()
	}
}

// hasRoom says whether the table may hold count more keys of a stream.
func (s *shard) hasRoom(stream uint16, count int) bool {
	if count == 0 {
		return true
	}
	room := func() bool {
		t := s.table
		return t.free() >= count+s.waiting && t.shares.may(t.shares.of(stream), count+s.waiting)
	}
	if room() {
		return true
	}
	s.flush() // several of those that wait may be of one key
	return room()
}

// ownLimit says that it is the stream's own limit which count more keys exceed: a cut
// is no cure.
func (s *shard) ownLimit(stream uint16, count int) bool {
	a := s.table.shares.of(stream)
	return a.used+count > a.most && a.most < s.table.shares.detail
}

// cutHelps says whether a table that a cut has just emptied may hold count keys of a
// stream.
func (s *shard) cutHelps(stream uint16, count int) bool {
	t, after := s.table, &s.after
	after.begin(t.limit, s.streams, s.limits.Loops, &t.shares)
	return count <= t.limit && after.may(after.of(stream), count)
}

// makeRoom says whether the table may hold count more keys of a stream, and lets a
// cut empty it where not: for what nobody sends again if it is not taken. No frame waits
// where one has waited in vain since the last cut: what comes behind it, of others,
// waits meanwhile.
func (s *shard) makeRoom(stream uint16, count int, via transport) bool {
	switch {
	case s.hasRoom(stream, count):
		return true
	case s.ownLimit(stream, count):
		return false
	case s.cuts.full.Load() || s.waited == s.generation:
		s.cuts.request(causeFull)
		return false
	case !s.cutHelps(stream, count):
		return false
	case s.awaitCut(stream, count, via):
		return true
	}
	s.waited = s.generation
	return false
}

// holdBack says that a session's frame is not to be taken now, and comes again: a cut
// would make room for it, and is not made; or no cut would, and not even a row of its
// whole stream has room.
func (s *shard) holdBack(stream uint16, count int, via transport) bool {
	began := s.generation
	switch {
	case s.hasRoom(stream, count):
		return false
	case s.ownLimit(stream, count), !s.cutHelps(stream, count):
		return !s.shelters(stream)
	case s.cuts.full.Load():
		s.cuts.request(causeFull)
		return true
	case s.awaitCut(stream, count, via):
		return false
	}
	if s.generation == began { // until a cut is durable there is no credit, and nobody waits here again
		s.cuts.full.Store(true)
	}
	return true
}

// awaitCut waits until a cut has made room, for as long as a frame may hold its loop,
// and says whether it has. The shard's mutex is released meanwhile.
func (s *shard) awaitCut(stream uint16, count int, via transport) bool {
	deadline := time.NewTimer(roomWaitMax[via])
	defer deadline.Stop()
	for over := false; !s.hasRoom(stream, count); {
		if over {
			return false
		}
		done := s.cuts.request(causeFull)
		s.Unlock()
		select {
		case <-done:
		case <-deadline.C:
			over = true
		}
		s.Lock()
	}
	return true
}

// yield lets a waiting cut have its moment. Called between frames.
func (s *shard) yield() {
	if s.cuts.waiting.Load() {
		s.flush()
		s.Unlock()
		s.cuts.pass()
		s.Lock()
	}
}

// part is what one shard has counted in one window.
type part struct {
	table *table
	books books
	moved []uint64
}

// book is the running window's book of an account.
func (s *shard) book(a storage.Account) *storage.Book {
	if s.recent == nil || s.recent.Stream != a.Stream || s.recent.Class != a.Class {
		s.recent = s.books.of(a)
	}
	return s.recent
}

// swap takes what the loop has counted since the last cut and leaves it an
// empty table. The mutex is held; the spare is empty.
func (s *shard) swap() part {
	p := part{s.table, s.books, s.moved}
	s.table, s.spare = s.spare, s.table
	s.table.shares.begin(s.table.limit, s.streams, s.limits.Loops, &p.table.shares)
	s.books = make(books, len(p.books))
	s.recent, s.names.cost = nil, 0
	s.moved = make([]uint64, 0, len(p.moved))
	s.generation++
	return p
}
