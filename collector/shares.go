package collector

import (
	"math"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// The keys of a table are shared out to streams. Each is sure of its share, as far
// as it may want it, and takes what others leave; what is above that is counted more
// coarsely and not thrown away. The package comment has the order.

const (
	// These parts of a table's keys, a 32nd and a 128th, are kept for rows of one content
	// and all other users, and for rows of a whole stream.
	coarseUsersPart    = 32
	coarseContentsPart = 128

	// A 256th, at most lastMax, is kept for datagrams whose stream finds no room for a row
	// of its own; no more than a source counts.
	lastPart = 256
	lastMax  = math.MaxUint16

	// lendsTo is how often what is left a stream may hold beyond what it is sure of.
	// So whoever wants all of it leaves a fifth to others, two leave a ninth, and so
	// on: all who want more than they are sure of come to hold the same (the dynamic
	// thresholds of Choudhury and Hahne).
	lendsTo = 4

	// growsBy is how much more of its share than in the windows before a stream may
	// want at once and be sure of; beginsWith the part of it that it is always sure of.
	growsBy    = 4
	beginsWith = 8
)

// shares are who holds which part of a table's keys in the running window. Streams
// that the configuration does not name hold theirs together.
type shares struct {
	streams  *streamTable
	accounts []keyAccount // one for each of streams.list
	detail   int          // keys that are not coarse
	spare    int          // of these, those that nobody is sure of
	coarse   [storage.Coarses]int
	last     int
	lasting  bool // what is new now is taken of last
}

// keyAccount is what one stream holds of a table.
type keyAccount struct {
	sure   int // keys that nobody can take from it
	most   int // keys that it may hold
	used   int
	coarse [storage.Coarses]int // coarse ones that it holds
	last   int                  // that it holds of those for the last
	peak   int                  // used, at the most, of the windows before; less from one to the next
}

// begin shares the keys of an empty table out, by what streams there are, and by what
// they held in the table before.
func (s *shares) begin(keys int, streams *streamTable, loops int, before *shares) {
	s.coarse = [storage.Coarses]int{storage.CoarseUsers: keys / coarseUsersPart, storage.CoarseContents: keys / coarseContentsPart}
	s.last = min(keys/lastPart, lastMax)
	s.detail = keys - s.coarse[storage.CoarseUsers] - s.coarse[storage.CoarseContents] - s.last
	known := before.streams == streams
	if s.streams != streams {
		s.streams, s.accounts = streams, make([]keyAccount, len(streams.list))
	}
	s.spare = s.detail
	for i := range s.accounts {
		x := &streams.list[i]
		share := s.detail * x.Share / streams.shares
		a := keyAccount{most: s.detail, peak: share}
		if x.KeysMax > 0 {
			a.most = min(s.detail, max(1, x.KeysMax/max(1, loops)))
		}
		if known {
			a.peak = max(before.accounts[i].used, before.accounts[i].peak/2)
		}
		a.sure = min(share, a.most, max(share/beginsWith, growsBy*a.peak))
		s.spare -= a.sure
		s.accounts[i] = a
	}
}

// of is the account of a stream.
func (s *shares) of(stream uint16) *keyAccount { return &s.accounts[s.streams.of[stream]] }

// may says whether an account may hold n more keys.
func (s *shares) may(a *keyAccount, n int) bool {
	used := a.used + n
	if used <= a.sure {
		return true
	}
	lent := used - max(a.sure, a.used)
	return used <= a.most && lent <= s.spare && used-a.sure <= lendsTo*(s.spare-lent)
}

// mayCoarse says whether it may hold n more coarse keys.
func (s *shares) mayCoarse(a *keyAccount, c storage.Coarse, n int) bool {
	left := s.coarse[c] - n
	return left >= 0 && a.coarse[c]+n <= lendsTo*left
}

// mayLast says whether it may hold n more of the keys for the last, all of them of a
// source that already holds held: streams by the rule by which detail is lent, and a source
// no more than a fourth of what its stream could then still hold. So whoever sends much
// leaves four fifths to others, and who sends little finds room when those who send much
// find none. Nothing that was given is taken back, so of those who send much who comes first
// has up to twice as much as who comes last.
func (s *shares) mayLast(a *keyAccount, held, n int) bool {
	left := s.last - n
	more := (lendsTo*left - a.last - n) / (1 + lendsTo)
	return left >= 0 && a.last+n <= lendsTo*left && lendsTo*(held+n) <= more
}

// count books a key that is new in the table.
func (s *shares) count(p period) {
	a := s.of(p.stream())
	if s.lasting {
		a.last++
		s.last--
		return
	}
	if c := p.coarse(); c != storage.CoarseNot {
		a.coarse[c]++
		s.coarse[c]--
		return
	}
	if a.used++; a.used > a.sure {
		s.spare--
	}
}

// whole is where the events of a stream are counted for which there is no room
// otherwise: the row of the whole stream, in the minute of their arrival.
func (s *shard) whole(stream uint16) moment {
	return periodOf(uint32(s.now/millisPerMinute), stream).coarsened(storage.CoarseContents).at(uint16(s.now % millisPerMinute))
}

// missing is how many rows there are not yet in which any number of events of a stream
// can be counted: one of reading, and one of headlines.
func (s *shard) missing(stream uint16) (n int) {
	whole := s.whole(stream).period()
	for _, e := range [...]wire.Event{{Kind: wire.KindOpen}, {Kind: wire.KindImpression}} {
		if !s.table.has(&e, whole.of(&e)) {
			n++
		}
	}
	return n
}

// shelters says whether there is room for those.
func (s *shard) shelters(stream uint16) bool {
	n := s.missing(stream)
	return n == 0 || s.table.shares.mayCoarse(s.table.shares.of(stream), storage.CoarseContents, n)
}

// countEach counts the events of a frame for all of whose keys there may be no room,
// which are above their stream's rate, or of which some were left out: each as coarse as
// least, at its own key where that is known or the stream may hold it, else as coarse as
// it must. Where there is no room the shard shelters the stream. It books what is
// clamped, and coarse.
func (s *shard) countEach(h *wire.Header, events []wire.Event, skipped uint16, k *storage.Book, least storage.Coarse) {
	s.flush()
	for i := range events {
		k.Counts[storage.Clamped] += s.when(s.moments[:1], h, events[i:i+1])
		p, offset, c := s.moments[0].period().sampled(skipped).of(&events[i]), s.moments[0].offset(), least
		for c < storage.Coarses && !s.holds(&events[i], p, c) {
			c++
		}
		if c == storage.Coarses { // no room for another minute, or another number left out
			c = storage.CoarseContents
			p, offset = s.wholeOf(&events[i], p, offset, k)
		}
		s.table.add(&events[i], p, offset, c)
		switch c {
		case storage.CoarseUsers:
			k.Counts[storage.Userless]++
		case storage.CoarseContents:
			k.Counts[storage.Contentless]++
		}
	}
}

// wholeOf is where an event is counted for which there is room nowhere else: in the row
// of its stream of the minute of arrival, and where there is one, in that of as many left
// out. It books what the row does not say.
func (s *shard) wholeOf(e *wire.Event, p period, offset uint16, k *storage.Book) (period, uint16) {
	x, whole := coarsened(e, storage.CoarseContents), s.whole(p.stream())
	at := whole.period().of(e)
	if same := at.sampled(p.skipped()); s.table.has(&x, same) {
		at = same
	}
	k.Counts.Add(storage.Unweighted, uint64(p.skipped()-at.skipped()))
	if p.minute() != at.minute() {
		offset = whole.offset()
		k.Counts[storage.Clamped]++
		s.tally[clampedRoom]++
	}
	return at, offset
}

// countLast counts the events of a frame of whose stream not even a whole row has room,
// at their own keys, and says whether it does: not where its source has had its part of
// what is left, or where it brings more than its stream's rate.
func (s *shard) countLast(h *wire.Header, st *stripe, events []wire.Event, skipped uint16, k *storage.Book) bool {
	s.flush()
	t := s.table
	st.Lock()
	defer st.Unlock()
	src := st.known(h.Source)
	if src == nil || !t.shares.mayLast(t.shares.of(h.Stream), int(src.window.held), len(events)) || !s.streams.find(h.Stream).rate.allows(h.Count, s.now) {
		return false
	}
	before := t.shares.last
	t.shares.lasting = true
	for i := range events {
		k.Counts[storage.Clamped] += s.when(s.moments[:1], h, events[i:i+1])
		m := s.moments[0]
		t.add(&events[i], m.period().sampled(skipped).of(&events[i]), m.offset(), storage.CoarseNot)
	}
	t.shares.lasting = false
	src.window.held += uint16(before - t.shares.last)
	return true
}

// coarsened is an event as a coarse row counts it.
func coarsened(e *wire.Event, c storage.Coarse) wire.Event {
	x := *e
	if c >= storage.CoarseUsers {
		x.User = 0
	}
	if c == storage.CoarseContents {
		x.Content = 0
		if x.Kind.OfHeadline() {
			x.Dwell = 0 // one variant for all
		}
	}
	return x
}

// holds says whether the table has the key of an event, so coarse, or may take it: not
// where that would leave too little room for the rows of the whole stream.
func (s *shard) holds(e *wire.Event, p period, c storage.Coarse) bool {
	t, x := s.table, coarsened(e, c)
	if t.has(&x, p.coarsened(c)) {
		return true
	}
	a := t.shares.of(p.stream())
	switch c {
	case storage.CoarseNot:
		return t.shares.may(a, 1)
	case storage.CoarseContents:
		return t.shares.mayCoarse(a, c, 1+s.missing(p.stream()))
	}
	return t.shares.mayCoarse(a, c, 1)
}

// add counts an event so coarse; holds has said yes.
func (t *table) add(e *wire.Event, p period, offset uint16, c storage.Coarse) {
	x, p := coarsened(e, c), p.coarsened(c)
	t.reserve(1)
	t.slot(t.hash(&x, p), &x, p, offset).add(&x, offset)
}
