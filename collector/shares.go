package collector

import (
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// The keys of a table are shared out to streams. Each is sure of its share, as far
// as it may want it, and takes what others leave; what is above that is counted more
// coarsely and not thrown away. The package comment has the order.

const (
	// Of the keys of a table, so many are kept for rows of one content and all other
	// users, and for rows of a whole stream.
	coarseUsersPart    = 32
	coarseContentsPart = 128

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
}

// keyAccount is what one stream holds of a table.
type keyAccount struct {
	sure   int // keys that nobody can take from it
	most   int // keys that it may hold
	used   int
	coarse [storage.Coarses]int // coarse ones that it holds
	peak   int                  // used, at the most, of the windows before; less from one to the next
}

// begin shares the keys of an empty table out, by what streams there are, and by what
// they held in the table before.
func (s *shares) begin(keys int, streams *streamTable, loops int, before *shares) {
	s.coarse = [storage.Coarses]int{storage.CoarseUsers: keys / coarseUsersPart, storage.CoarseContents: keys / coarseContentsPart}
	s.detail = keys - s.coarse[storage.CoarseUsers] - s.coarse[storage.CoarseContents]
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

// mayCoarse says whether it may hold another coarse key.
func (s *shares) mayCoarse(a *keyAccount, c storage.Coarse) bool {
	return s.coarse[c] > 0 && a.coarse[c] < lendsTo*s.coarse[c]
}

// count books a key that is new in the table.
func (s *shares) count(p period) {
	a := s.of(p.stream())
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

// shelters says whether any number of events of a stream can be counted at least
// there.
func (s *shard) shelters(stream uint16) bool {
	whole, missing := s.whole(stream).period(), 0
	for _, e := range [...]wire.Event{{Kind: wire.KindOpen}, {Kind: wire.KindImpression}} { // reading, and headlines
		if !s.table.has(&e, whole.of(&e)) {
			missing++
		}
	}
	return missing == 0 || s.table.shares.coarse[storage.CoarseContents] >= missing
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
		for c < storage.Coarses && !s.table.holds(&events[i], p, c) {
			c++
		}
		if c == storage.Coarses { // no room for another minute, or another number left out
			c = storage.CoarseContents
			if whole := s.whole(h.Stream); p.coarsened(c) != whole.period().of(&events[i]) {
				p, offset = whole.period().of(&events[i]), whole.offset()
				k.Counts[storage.Clamped]++
				s.tally[clampedRoom]++
			}
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

// holds says whether the table has the key of an event, so coarse, or may take it.
func (t *table) holds(e *wire.Event, p period, c storage.Coarse) bool {
	x := coarsened(e, c)
	if t.has(&x, p.coarsened(c)) {
		return true
	}
	a := t.shares.of(p.stream())
	if c == storage.CoarseNot {
		return t.shares.may(a, 1)
	}
	return t.shares.mayCoarse(a, c)
}

// add counts an event so coarse; holds has said yes.
func (t *table) add(e *wire.Event, p period, offset uint16, c storage.Coarse) {
	x, p := coarsened(e, c), p.coarsened(c)
	t.reserve(1)
	t.slot(t.hash(&x, p), &x, p, offset).add(&x, offset)
}
