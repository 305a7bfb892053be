package live

import (
	"iter"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/pages"
)

const (
	minuteSeconds = 60  // of a reader in the last minute
	allSeconds    = 300 // and in the last five
)

// Options configure Readers.
type Options struct {
	ReadersMax  int                      // readers of contents and of streams together: who reads one content is two
	ContentsMax int                      // contents
	Named       func(stream uint16) bool // streams that have room of their own; nil: none
}

// Bytes is how much memory these options may take.
func (o *Options) Bytes() int64 {
	readers := int64(o.ReadersMax)
	slots := int64(slotsFor(o.ReadersMax)) * int64(unsafe.Sizeof(slot{})) * 5 / 4 // growing, they are there twice, once a quarter as many
	nodes := readers * int64(unsafe.Sizeof(node{})) * 9 / 8                       // and once more an eighth of them, when these are moved together
	wheel := readers * 8                                                          // a place for each, in lists that grow by doubling
	return slots + nodes + wheel + int64(o.ContentsMax)*int64(contentBytes)*3/2
}

// Readers knows who reads what now. It is a storage.Watcher, of the Minutes that are
// told of each cut; its other methods may be called by several goroutines at once.
type Readers struct {
	o Options

	mu       sync.Mutex // protects what follows
	table    *table
	nodes    nodes
	wheel    wheel
	contents *contents
	streams  streams
	now      uint32        // the second up to which slots that were due have been looked at; 0: nothing has come yet
	to       uint32        // and up to which they will be after the cut that comes
	time     int64         // Unix milliseconds: the end of the last cut,
	since    int64         // and the beginning of the first
	unplaced uint64        // events that are in no figure of readers, since ever
	crowded  uint32        // up to this second all events of those without room are counted
	took     time.Duration // what all of this has taken

	visits [ahead]visit // that wait to be looked for together
	wait   int          // so many of them
	fresh  [ahead]uint8 // those of them that are of nobody who is known
	lines  [2 * ahead]uintptr

	ended     atomic.Int64 // time, as soon as there are figures of it
	cuts      atomic.Uint64
	asked     atomic.Uint64 // cuts, when Latest was last called
	published atomic.Pointer[Figures]
}

// visit is a reader who was seen on a content.
type visit struct {
	print         uint64
	content, user uint64
	events        uint64 // of a row that came; 0: nothing is new but when
	opens         uint32 // that the row stands for
	first, last   uint32 // seconds
	stream        uint16
	coarse        storage.Coarse
}

// New returns Readers that know of nobody.
func New(o Options) *Readers {
	r := &Readers{o: o, table: newTable(o.ReadersMax), nodes: nodes{most: o.ReadersMax}}
	r.clear()
	return r
}

// clear forgets everything.
func (r *Readers) clear() {
	if r.contents != nil {
		r.contents.memory.Free()
		r.contents.seriesMemory.Free()
	}
	r.table.clear()
	r.nodes.clear()
	r.contents = newContents(r.o.ContentsMax, r.table.seed)
	r.wheel = wheel{}
	r.streams = streams{named: r.o.Named, of: make(map[uint16]uint16)}
}

// Seed is part of storage.Watcher.
func (r *Readers) Seed(s storage.KeySeed) { r.table.order = s }

// Lock is part of storage.Watcher.
func (r *Readers) Lock() { r.mu.Lock() }

// Unlock is part of storage.Watcher.
func (r *Readers) Unlock() {
	r.meet()
	r.mu.Unlock()
}

// Begin is part of storage.Watcher.
func (r *Readers) Begin(w storage.Window) (before, end uint32, each bool) {
	to := uint32(max(0, min(w.End/1000, math.MaxUint32-allSeconds)))
	switch {
	case r.now == 0, to+allSeconds < r.now: // the clock was set back by more than what is known
		if r.now != 0 {
			r.clear()
		}
		r.now, r.since = to, w.Start
	case to > r.now+allSeconds: // the machine slept
		r.forgetReaders()
		r.now = to
	}
	r.to = max(to, r.now)
	return r.now / 60 * 60, r.to / 60 * 60, r.to < r.crowded
}

// Row is part of storage.Watcher.
func (r *Readers) Row(x *storage.Row) {
	v := r.next()
	*v = visit{
		print: r.table.print(x.Stream, x.Content, x.User), content: x.Content, user: x.User, stream: x.Stream, coarse: x.Coarse, events: x.Events(),
		first: r.second(x.First), last: r.second(x.Last),
	}
	if x.Opens != 0 {
		v.opens = uint32(min(uint64(x.Opens)*x.Weight(), math.MaxUint32))
	}
	switch {
	case x.Coarse != storage.CoarseNot:
		r.addCoarse(v)
	case x.Minute > r.to: // its reader is seen when that begins
		r.addGone(v)
	default:
		r.wait++
	}
}

// Seen is part of storage.Watcher. It goes through the table as it lies: nothing has to
// be asked for before it is looked at.
func (r *Readers) Seen(stream uint16, all iter.Seq[storage.Sight]) {
	r.meet()
	began := time.Now()
	for s := range all {
		v := visit{
			print: r.table.print(stream, s.Content, s.User), content: s.Content, user: s.User, stream: stream, last: r.second(s.Last),
		}
		if !r.meets(&v) {
			r.table.reserve(2)
			r.arrives(&v)
		}
	}
	r.took += time.Since(began)
}

// next is the place of the next visit.
func (r *Readers) next() *visit {
	if r.wait == ahead {
		r.meet()
	}
	return &r.visits[r.wait]
}

// End is part of storage.Watcher.
func (r *Readers) End(w storage.Window) {
	r.meet()
	began := time.Now()
	r.advance(r.to)
	r.time = w.End
	r.cuts.Add(1)
	r.publish()
	r.ended.Store(w.End)
	r.took += time.Since(began)
}

// second is when something happened, not after the cut that brings it.
func (r *Readers) second(ms int64) uint32 { return uint32(max(0, min(ms/1000, int64(r.to)))) }

// meet looks for those who wait. What is looked at for one of them after the other has
// been asked for before, of all of them.
func (r *Readers) meet() {
	if r.wait == 0 {
		return
	}
	began := time.Now()
	all := r.visits[:r.wait]
	r.wait = 0
	r.table.reserve(2 * len(all))
	for i := range all {
		r.lines[i] = r.table.line(all[i].print)
	}
	pages.Prefetch(&r.lines[0], len(all))
	fresh := r.fresh[:0]
	for i := range all {
		if !r.meets(&all[i]) {
			fresh = append(fresh, uint8(i))
		}
	}
	if len(fresh) > 0 {
		r.welcome(fresh)
	}
	r.took += time.Since(began)
}

// meets deals with a visit of somebody who is known.
func (r *Readers) meets(v *visit) bool {
	at, found := r.table.find(v.print)
	if !found {
		return false
	}
	r.sees(at, v.last)
	if v.opens != 0 {
		r.addOpens(v, r.nodes.list[r.table.slots[at].node&nodeIndex].index())
	}
	return true
}

// welcome deals with those visits of whom nobody was known.
func (r *Readers) welcome(fresh []uint8) {
	for i, at := range fresh {
		v := &r.visits[at]
		stream, _ := r.streams.find(v.stream)
		r.lines[2*i], r.lines[2*i+1] = r.table.line(r.table.wholePrint(v.stream, v.user)), r.contents.homeLine(stream, v.content)
	}
	pages.Prefetch(&r.lines[0], 2*len(fresh))
	for i, at := range fresh {
		v := &r.visits[at]
		stream, _ := r.streams.find(v.stream)
		r.lines[2*i], r.lines[2*i+1] = r.contents.lines(stream, v.content)
	}
	pages.Prefetch(&r.lines[0], 2*len(fresh))
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
	if s.node&recent == 0 && last+minuteSeconds > r.now {
		r.comes(at)
		r.putOff(at, last+minuteSeconds)
	}
}

// arrives adds a visit of somebody who is not known to be with the content.
func (r *Readers) arrives(v *visit) {
	if v.last+allSeconds <= r.now { // he is gone already
		r.addGone(v)
		return
	}
	i, ok := r.streams.place(v.stream)
	if !ok {
		r.finds(v)
		return
	}
	st := r.streams.list[i]
	left := r.table.most - r.table.used
	room := left >= 2 && st.account.readers+2 <= lendsTo*left
	c, named := r.contents.find(i, v.content)
	if !named && room {
		c, named = r.content(v.content, i)
	}
	x, print := node{what: c}, v.print
	if !named {
		x.what, print = uint32(i)|nameless, r.table.namelessPrint(v.stream, v.user)
		if at, found := r.table.find(print); found {
			r.sees(at, v.last)
			r.finds(v)
			return
		}
	}
	if !room {
		r.finds(v)
		return
	}
	if named {
		r.contents.list[c].all++
		r.addOpens(v, c)
	} else {
		r.finds(v)
	}
	r.joins(st, i, x, print, v)
}

// joins adds a reader of a content, who may be with others of the stream already.
func (r *Readers) joins(st *stream, i uint16, x node, print uint64, v *visit) {
	ofWholePrint := r.table.wholePrint(v.stream, v.user)
	at, found := r.table.find(ofWholePrint)
	if found {
		x.whole = r.table.slots[at].node & nodeIndex
	} else {
		x.whole = r.nodes.add(node{user: v.user, what: uint32(i) | ofWhole})
		r.table.put(at, slot{print: ofWholePrint, node: x.whole | ofStream})
		st.account.readers++
		st.all++
	}
	r.nodes.list[x.whole].all++
	st.account.readers++
	at, _ = r.table.find(print)
	r.table.put(at, slot{print: print, node: r.nodes.add(x), last: uint16(v.last)})
	due := v.last + allSeconds
	if v.last+minuteSeconds > r.now {
		r.comes(at)
		due = v.last + minuteSeconds
	}
	r.putOff(at, due)
}

// finds is a visit for which there was no room: all of its events are to be known.
func (r *Readers) finds(v *visit) {
	r.crowded = r.to + 2*minuteSeconds
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

// addGone adds the opens of a visit whose reader is not there now.
func (r *Readers) addGone(v *visit) {
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

// comes counts a reader as of the last minute, in his content and in his stream.
func (r *Readers) comes(at int) {
	s := &r.table.slots[at]
	s.node |= recent
	n := &r.nodes.list[s.node&nodeIndex]
	n.what |= within
	if !n.is(nameless) {
		r.contents.list[n.index()].minute++
	}
	w := &r.nodes.list[n.whole]
	if w.minute++; w.minute == 1 {
		r.streams.list[w.index()].minute++
	}
}

// leaves is the opposite of comes.
func (r *Readers) leaves(at int) {
	s := &r.table.slots[at]
	s.node &^= recent
	n := &r.nodes.list[s.node&nodeIndex]
	n.what &^= within
	if !n.is(nameless) {
		r.contents.list[n.index()].minute--
	}
	w := &r.nodes.list[n.whole]
	if w.minute--; w.minute == 0 {
		r.streams.list[w.index()].minute--
	}
}

// goes forgets a reader of a content, who was silent for five minutes.
func (r *Readers) goes(at int) {
	id := r.table.slots[at].node & nodeIndex
	n := r.nodes.list[id]
	if !n.is(nameless) {
		r.contents.list[n.index()].all--
	}
	r.table.remove(at)
	r.nodes.remove(id)
	w := &r.nodes.list[n.whole]
	st := r.streams.list[w.index()]
	st.account.readers--
	if w.all--; w.all > 0 {
		return
	}
	st.all--
	st.account.readers--
	at, _ = r.table.find(r.table.wholePrint(st.number, w.user))
	r.table.remove(at)
	r.nodes.remove(n.whole)
}

// putOff has a slot looked at in this second, and in no other.
func (r *Readers) putOff(at int, due uint32) {
	s := &r.table.slots[at]
	s.due = uint16(due)
	r.wheel.put(due, s.print)
}

// advance looks at all slots that are due up to a second.
func (r *Readers) advance(to uint32) {
	for r.now < to {
		r.now++
		due := r.wheel.take(r.now)
		for rest := due; len(rest) > 0; {
			n := min(len(rest), ahead)
			for i, begin := range rest[:n] {
				r.lines[i] = r.table.line(uint64(begin) << 32)
			}
			pages.Prefetch(&r.lines[0], n)
			for _, begin := range rest[:n] {
				r.look(begin)
			}
			rest = rest[n:]
		}
		r.wheel.give(due)
		if r.now%60 == 0 {
			r.tidy()
		}
	}
}

// look looks at a slot that may be due now.
func (r *Readers) look(begin uint32) {
	now := r.now
	at, found := r.table.findDue(begin, uint16(now))
	if !found {
		return // he is gone, or was put off otherwise
	}
	s := &r.table.slots[at]
	silent := int(int16(uint16(now) - s.last))
	if s.node&recent != 0 {
		if silent < minuteSeconds {
			r.putOff(at, now+uint32(minuteSeconds-silent))
			return
		}
		r.leaves(at)
	}
	if silent < allSeconds {
		r.putOff(at, now+uint32(allSeconds-silent))
		return
	}
	r.goes(at)
}

// compactFrom is from how many nodes on memory is given back.
const compactFrom = 1 << 16

// tidy gives back what has not been needed for some time.
func (r *Readers) tidy() {
	now := r.now
	r.contents.sweep(func(s *series) bool { return s.idle(now) }, r.contentLeaves)
	r.streams.sweep(now)
	if n := len(r.table.slots); n > slotsFirst && r.table.used < n/16 {
		r.table.resize(max(slotsFirst, n/4))
	}
	if n := int(r.nodes.top); n > compactFrom && r.table.used < n/8 {
		r.compact()
	}
}

// forgetReaders forgets who reads, and not what was opened.
func (r *Readers) forgetReaders() {
	r.table.clear()
	r.nodes.clear()
	r.wheel = wheel{}
	for i := range r.contents.list {
		r.contents.list[i].minute, r.contents.list[i].all = 0, 0
	}
	for _, s := range r.streams.list {
		if s != nil {
			s.minute, s.all, s.account.readers = 0, 0, 0
		}
	}
}
