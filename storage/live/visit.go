package live

import (
	"math"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/pages"
)

// visit is a reader who was seen on a content.
type visit struct {
	print         uint64
	content, user uint64
	events        uint64 // of a row that came; 0: nothing is new but when
	opens         uint32 // that the row stands for
	first, last   uint32 // seconds
	stream        uint16
	row           uint8 // which of the rows that are shown it is
	outside       bool  // there was no room for the reader
	coarse        storage.Coarse
}

// opensOf is how many opens a row stands for.
func opensOf(x *storage.Row) uint32 {
	return uint32(min(uint64(x.Opens)*x.Weight(), math.MaxUint32))
}

// meet looks for the readers of visits, at most ahead of them. The memory of all is
// prefetched first.
func (r *Readers) meet(all []visit) {
	if len(all) == 0 {
		return
	}
	r.reserve(len(all))
	for i := range all {
		r.lines[i] = r.table.line(all[i].print)
	}
	pages.Prefetch(&r.lines[0], len(all))
	fresh := r.fresh[:0]
	for i := range all {
		if v := &all[i]; !r.meets(v) && !v.outside {
			fresh = append(fresh, uint8(i))
		}
	}
	if len(fresh) > 0 {
		r.welcome(fresh)
	}
}

// reserve sees to it that n more readers fit.
func (r *Readers) reserve(n int) {
	if r.table.reserve(n) {
		r.fill()
	}
	r.wholes.reserve(n)
}

// meets deals with a visit of somebody who is known.
func (r *Readers) meets(v *visit) bool {
	at, known := r.table.known(v.print)
	if !known {
		return false
	}
	r.sees(at, v.last)
	if v.opens != 0 {
		r.addOpens(v, r.table.slots[at].what)
	}
	return true
}

// welcome deals with those visits of whom nobody was known.
func (r *Readers) welcome(fresh []uint8) {
	r.prefetchNameless(fresh)
	r.prefetchPlaces(fresh)
	r.prefetchContents(fresh)
	for _, at := range fresh {
		if v := &r.visits[at]; !r.meets(v) { // one before it may have been the same
			r.arrives(v)
		}
	}
}

// sees notes that a reader who is known had an event.
func (r *Readers) sees(at int, last uint32) {
	s := &r.table.slots[at]
	if last+allSeconds <= r.now || int16(uint16(last)-s.last) <= 0 {
		return
	}
	s.last = uint16(last)
	if !s.is(recent) && last+minuteSeconds > r.now {
		r.comes(at)
		r.due(at, last+minuteSeconds)
	}
}

// arrives adds a visit of somebody who is not known to be with the content.
func (r *Readers) arrives(v *visit) {
	if v.last+allSeconds <= r.now { // he is gone already
		r.addOpensOnly(v)
		return
	}
	i, ok := r.streams.place(v.stream)
	if !ok {
		r.keepsOut(v)
		return
	}
	c, named := r.contents.find(i, v.content)
	room := r.hasRoom(i)
	if !named && room {
		c, named = r.content(v.content, i)
	}
	x := slot{print: v.print, what: c, last: uint16(v.last)}
	if !named {
		if at, known := r.knownNameless(v); known {
			r.sees(at, v.last)
			r.keepsOut(v)
			return
		}
		x.print, x.what, x.flags = r.table.namelessPrint(v.stream, v.user), uint32(i), nameless
	}
	if !room || !r.table.near(x.print) {
		r.keepsOut(v)
		return
	}
	wholeAt, isWhole := r.wholes.find(i, v.user)
	if isWhole && r.wholes.list[wholeAt].all == contentsOfOne {
		r.keepsOut(v)
		return
	}
	st := r.streams.list[i]
	if named {
		r.contents.list[c].all++
		r.addOpens(v, c)
	} else {
		r.nameless++
		r.keepsOut(v)
	}
	if !isWhole {
		r.wholes.put(wholeAt, whole{user: v.user, stream: i + 1})
		st.account.readers++
		st.all++
	}
	r.wholes.list[wholeAt].all++
	st.account.readers++
	r.joins(x, v, wholeAt, i)
}

// knownNameless returns where the reader of a visit is as one of contents for which there
// was no room, if he is there.
func (r *Readers) knownNameless(v *visit) (at int, known bool) {
	if r.nameless == 0 {
		return 0, false
	}
	return r.table.known(r.table.namelessPrint(v.stream, v.user))
}

// hasRoom says that one more may read something of a stream.
func (r *Readers) hasRoom(stream uint16) bool {
	left := r.table.most - r.readers()
	return left >= 2 && r.streams.list[stream].account.readers+2 <= lendsTo*left
}

// joins gives a reader of a content his slot.
func (r *Readers) joins(x slot, v *visit, whole int, stream uint16) {
	at, found := r.table.place(x.print)
	if found { // he was gone
		r.table.slots[at] = x
		r.table.gone--
	} else {
		r.table.put(at, x, v.user)
	}
	if v.last+minuteSeconds > r.now {
		r.comesTo(at, whole, stream)
		r.due(at, v.last+minuteSeconds)
	} else {
		r.due(at, v.last+allSeconds)
	}
}

// keepsOut counts a visit for which there was no room.
func (r *Readers) keepsOut(v *visit) {
	v.outside = true
	if v.events > 0 {
		r.addCoarse(v)
	}
}

// content is the place of a new content, as far as there is room.
func (r *Readers) content(id uint64, stream uint16) (at uint32, ok bool) {
	if at, ok = r.contents.find(stream, id); ok {
		return at, true
	}
	a := r.streams.list[stream].account
	room := func() bool { return a.contents < lendsTo*(r.contents.most-r.contents.used()) }
	if !room() {
		if r.contents.makeRoom(r.now, r.contentLeaves); !room() {
			return 0, false
		}
	}
	a.contents++
	return r.contents.add(stream, id), true
}

func (r *Readers) contentLeaves(stream uint16) { r.streams.list[stream].account.contents-- }

// addOpens adds the opens of a visit to those of its content and its stream, at the first
// of its events.
func (r *Readers) addOpens(v *visit, content uint32) {
	if v.opens == 0 {
		return
	}
	r.contents.series[content].add(v.first, r.to, v.opens)
	r.streams.list[r.contents.list[content].stream].series.add(v.first, r.to, v.opens)
}

// addOpensOnly adds the opens of a visit whose reader is not there: he has gone already, or
// his minute has not begun.
func (r *Readers) addOpensOnly(v *visit) {
	if v.opens == 0 || v.first/60+MinutesKept <= r.to/60 {
		return
	}
	if i, ok := r.streams.place(v.stream); ok {
		if c, ok := r.content(v.content, i); ok {
			r.addOpens(v, c)
			return
		}
		r.streams.list[i].series.add(v.first, r.to, v.opens)
	}
}

// addCoarse adds a row that is in no figure of readers of a content, as far as it has one.
func (r *Readers) addCoarse(v *visit) {
	r.unplaced += v.events
	i, ok := r.streams.place(v.stream)
	if !ok {
		return
	}
	st := r.streams.list[i]
	st.addCoarse(v.last, r.to, v.events)
	if v.opens == 0 {
		return
	}
	if v.coarse != storage.CoarseContents {
		if c, ok := r.content(v.content, i); ok {
			r.addOpens(v, c)
			return
		}
	}
	st.series.add(v.first, r.to, v.opens)
}
