package collector

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lectern/lectern/storage"
)

// source is what is known of one numbering. A frame in its order needs three
// lines of the cache: the first, the second, and that of its bit in the window.
type source struct {
	id uint64
	state
	generation uint64 // of the window in which it last moved
	lastSeen   int64  // milliseconds of running time

	stream   uint16
	standing storage.Standing // 0: the slot is free
	session  bool             // it is acknowledged, so it is remembered for longer
	told     bool             // its state is in a span as it is
	closing  closing          // what its newest frames say of its end
	beat     uint16           // milliseconds, by its own clock, of its newest frame if that was a beat
	durable  uint64           // every frame below this sequence is sealed
	socket   uint32           // of its address; 0: not known
	payer    payer            // who pays for it; 0: nobody
	first    uint32           // seconds of running time: when it was met by this process
	// Events of its frames since then, at most.
	duplicate, stale, reordered tip
	window                      window

	before state // at the end of the last window, if it has moved since

	// Of end − base, events that another process's books have, now and at the end
	// of the last window: its spool was taken over.
	apart, apartBefore uint64

	met   uint32 // Unix seconds: when it was met; with its id it names its span
	noted uint32 // Unix seconds of its last span, 0 for none
}

// account is whose books have its frames.
func (s *source) account() storage.Account {
	if s.standing == storage.Proved {
		return storage.Account{Stream: s.stream, Class: storage.Sealed}
	}
	return storage.Account{Stream: s.stream}
}

// tip is a number that stays at its end: it is for looking at.
type tip uint32

func (t *tip) add(n uint64) { *t = tip(min(uint64(*t)+n, math.MaxUint32)) }

// state is what a seal keeps of a source. end − base is what it said it sent
// since it was met; what came is subtracted as it is booked, so what is lost
// needs no list of gaps.
type state struct {
	base   uint64 // smallest position seen; above 0 the source was met in the middle
	end    uint64 // largest position + count seen
	newest uint64 // position of the frame with the largest sequence
	lost   uint64 // events that have not come, of those that the books here have as sent
	next   uint64 // one above the largest sequence seen
}

// at returns the state at the end of the window of this generation, which is
// the running one or the one before.
func (s *source) at(generation uint64) *state {
	if s.generation > generation {
		return &s.before
	}
	return &s.state
}

// moves keeps the state at the end of the last window, before the first change
// in this one. It says whether this is the first.
func (s *source) moves(generation uint64) bool {
	if s.generation == generation {
		return false
	}
	s.before, s.apartBefore, s.generation, s.told = s.state, s.apart, generation, false
	s.window.held = 0
	return true
}

// What a source can have sent since it was heard, at the most, for each second that
// began since then: more than any socket brings, and than a loop counts. So what one
// forged frame can say is lost is bounded, and no sum over all sources comes near its
// end.
const (
	eventsASecond = 1 << 26
	framesASecond = 1 << 22
)

// believable says whether a fresh frame's numbers agree with the frames before it:
// sequence and position grow together, a late frame fills a gap that is there, and
// neither jumps by more than the source can have sent in silent milliseconds.
// Without this a sender could make its stream's books lose less than nothing.
func (s *source) believable(sequence, position, count uint64, silent int64) bool {
	if !s.window.any {
		return true
	}
	seconds := uint64(max(0, silent))/1000 + 1
	if s.generation == 0 {
		seconds += 24 * 60 * 60 // nobody has heard it here: who knows for how long
	}
	switch {
	case sequence == s.window.newest+1:
		return position == s.end
	case sequence > s.window.newest:
		return position >= s.end && position-s.end <= seconds*eventsASecond && sequence-s.window.newest <= seconds*framesASecond
	}
	gap := s.lost
	if position < s.base {
		if s.base-position > seconds*eventsASecond {
			return false
		}
		gap += s.base - position
	}
	return position+count <= s.newest && count <= gap
}

// behind says whether the events of a stale frame are behind those that were seen.
// Where they are not, it was the newest frame that was somebody else's, and nothing of
// this one has come before.
func (s *source) behind(position, count uint64) bool { return position+count <= s.end }

// foreignMax is for how long after a source was last heard nobody takes it over from
// another socket.
const foreignMax = time.Minute

// takesOver says whether a frame from this socket would leave the source's own frames
// behind as stale, while its own socket is heard. One datagram of anybody who has
// seen the source's number would do. A socket may change its address on the way (NAT),
// so one that goes on where the other was is believed.
func (s *source) takesOver(sequence uint64, from address, silent int64) bool {
	return s.standing != storage.Proved && from.socket != s.socket && s.window.any && sequence >= s.window.newest+windowFrames && sequence > s.window.newest &&
		s.socket != 0 && from.socket != 0 && silent < foreignMax.Milliseconds()
}

// place marks a fresh frame as seen, widens base and end to hold it, and returns
// by how many events the source's span grew.
func (s *source) place(sequence, position, count uint64) (grown uint64) {
	if !s.window.any || sequence > s.window.newest {
		s.newest, s.next = position, sequence+1
	}
	s.window.commit(sequence)
	before := s.end - s.base
	s.base = min(s.base, position)
	s.end = max(s.end, position+count)
	grown = s.end - s.base - before
	s.lost += grown - count // may wrap on the way: a late frame lowers it
	return grown
}

// stripes is a power of two well above any number of loops, so that two loops
// seldom want the same one.
const stripes = 64

// sources holds every live source, in stripes of their own locks. A loop locks
// one stripe for one frame.
type sources struct {
	max        int64
	perAddress int64 // sources of one address that are not proved, and new ones a minute; 0: any number
	budgets    *budgets
	displacing pace
	connected  func(id uint64) bool // whether a session's client is

	live      atomic.Int64
	strangers atomic.Int64 // live ones on probation
	displaced atomic.Uint64
	turned    [turnedAways]atomic.Uint64

	middle atomic.Int64  // live ones met in the middle
	sealed atomic.Uint64 // generation of the last window that is durable
	heard  atomic.Int64  // Unix milliseconds of the last cut
	spans  atomic.Uint64 // left since the start
	seed   [2]uint64     // of the hash, so that nobody can choose ids that collide
	stripe [stripes]stripe

	mu        sync.Mutex // protects what follows
	forgotten []uint64   // ids forgotten since the last cut
	left      books      // with the spans that sources have left since then
}

type stripe struct {
	sync.Mutex // protects all fields
	directory
	_ [64]byte // keeps neighbours off this cache line
}

func newSources(o *Options) *sources {
	s := &sources{
		max: int64(o.SourcesMax), perAddress: int64(o.AddressSourcesMax), budgets: &budgets{seed: rand.Uint64()},
		seed: [2]uint64{rand.Uint64(), rand.Uint64() | 1}, left: make(books),
	}
	slabs := new(arena)
	for i := range s.stripe {
		s.stripe[i].init(s.seed, slabs)
	}
	return s
}

// of returns the stripe of a source.
func (s *sources) of(id uint64) *stripe { return s.ofHash(hashSource(s.seed, id)) }

// ofHash does the same for an id whose hash is known.
func (s *sources) ofHash(hash uint64) *stripe { return &s.stripe[hash>>58%stripes] }

// find returns the source with this id, nil without one. The stripe is locked by
// the caller, and the pointer is good until it unlocks. The guess is nil or was made
// for this id.
func (s *sources) find(st *stripe, guess *source, id uint64) *source {
	if guess != nil && guess.id == id && guess.standing != 0 {
		return guess
	}
	return st.known(id)
}

// meet makes a source that is not known, at the position of its first frame, which
// comes from there now, in running time; nil if there is no room. The stripe is
// locked.
func (s *sources) meet(st *stripe, id, position uint64, stream uint16, from address, standing storage.Standing, now int64) *source {
	pays, ok := s.room(st, from, standing, now)
	if !ok {
		return nil
	}
	src := st.add(id)
	*src = source{
		id: id, stream: stream, state: state{base: position, end: position}, lastSeen: now,
		standing: standing, payer: pays, socket: from.socket, first: seconds(now),
	}
	s.hold(src)
	return src
}

// restore takes what a former process knew. Which frames it had taken is known
// up to the newest one: all below count as taken. Their silence goes on in
// running time, so that sources of short lives do not stay for ever where the
// process often starts.
func (s *sources) restore(all []storage.Source) {
	for i := range all {
		st := s.of(all[i].ID)
		st.Lock()
		s.put(st, &all[i], all[i].LastSeen)
		st.Unlock()
	}
}

// put adds a source that is not known here, as last heard of then, in running
// time. The stripe is locked by the caller.
func (s *sources) put(st *stripe, o *storage.Source, lastSeen int64) *source {
	src := st.add(o.ID)
	*src = source{
		id: o.ID, stream: o.Stream, standing: max(o.Standing, storage.Stranger), session: o.Session, lastSeen: lastSeen, durable: o.Next,
		first: seconds(max(0, lastSeen)), state: stateOf(o), apart: o.Apart, apartBefore: o.Apart,
		window: windowAfter(o.Next),
		met:    seconds(o.Met), noted: notedBefore,
	}
	s.hold(src)
	return src
}

// stateOf is the state that a seal kept.
func stateOf(o *storage.Source) state {
	return state{base: o.Base, end: o.End, newest: o.Newest, lost: o.Lost, next: o.Next}
}

// collect returns the states of sources as they were at the end of the window
// of this generation, in which they moved, now, in Unix milliseconds. Some of them
// leave a span.
func (s *sources) collect(moved []uint64, generation uint64, now int64) []storage.Source {
	out := make([]storage.Source, 0, len(moved))
	for _, id := range moved {
		st := s.of(id)
		st.Lock()
		if src := st.known(id); src != nil {
			x := src.at(generation)
			out = append(out, storage.Source{
				ID: id, Base: x.base, End: x.end, Newest: x.newest, Lost: x.lost, Next: x.next,
				Apart: src.apartAt(generation), Met: millis(src.met),
				LastSeen: src.lastSeen, Stream: src.stream, Session: src.session, Standing: src.standing,
			})
			if src.spanDue(x, now) {
				s.leave(src, generation, storage.SpanLive)
			}
		}
		st.Unlock()
	}
	return out
}

// takeLeft returns the ids that were forgotten since the last call, and the spans that
// sources have left, those of the forgotten among them.
func (s *sources) takeLeft() (forgotten []uint64, left books) {
	s.mu.Lock()
	defer s.mu.Unlock()
	forgotten, left = s.forgotten, s.left
	s.forgotten, s.left = nil, make(books)
	return forgotten, left
}

// sweep looks through the sources of one stripe. Those that have been silent since idle,
// or since sessionIdle where they are acknowledged and no strangers, are forgotten; others
// that have been since quiet leave their spans. All are moments of running time.
func (s *sources) sweep(n int, quiet, idle, sessionIdle int64) {
	st := &s.stripe[n%stripes]
	sealed := s.sealed.Load()
	st.Lock()
	defer st.Unlock()
	for src := range st.all() {
		since := idle
		if src.session && src.standing != storage.Stranger {
			since = sessionIdle
		}
		switch {
		case src.generation > sealed: // what is not sealed stays
		case src.lastSeen < since:
			s.letGo(st, src)
		case src.lastSeen < quiet && src.leavesSpan():
			s.leave(src, src.generation, src.closing.end())
		}
	}
}

// letGo forgets a source, of which all is sealed. What it lost is booked already,
// and it leaves its span. The stripe is locked.
func (s *sources) letGo(st *stripe, src *source) {
	if src.leavesSpan() {
		s.leave(src, src.generation, src.closing.end())
	}
	// Before the stripe is released: whoever comes back now is in a seal with
	// this or a later one, and not forgotten by one that follows.
	s.mu.Lock()
	s.forgotten = append(s.forgotten, src.id)
	s.mu.Unlock()
	s.release(src)
	st.remove(src)
}
