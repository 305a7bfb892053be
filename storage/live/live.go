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
	slots := int64(slotsFor(o.ReadersMax)) * slotBytes
	wholes := int64(slotsFor(o.ReadersMax/2)) * int64(unsafe.Sizeof(whole{}))
	wheel := int64(o.ReadersMax)*13 + minuteSeconds*wheelSpare*4 // lists that grow by a quarter, beside those of another minute: wheel.clear
	return slots + wholes + wheel + int64(o.ContentsMax)*int64(contentBytes)
}

// Readers knows who reads what now. It is a storage.Watcher, of the Minutes that are
// told of each cut; its other methods may be called by several goroutines at once.
type Readers struct {
	o Options

	mu       sync.Mutex // protects what follows
	table    *table
	wholes   wholes
	wheel    wheel
	contents *contents
	streams  streams
	now      uint32        // the second up to which due slots have been looked at; 0: nothing has come yet
	minute   uint32        // the second with which the minute of now began
	to       uint32        // what now will be at the end of the cut that is being added
	time     int64         // Unix milliseconds: the end of the last cut,
	since    int64         // and the beginning of the first
	nameless int           // readers of contents for which there was no room
	unplaced uint64        // events that are in no figure of readers, since the start
	took     time.Duration // what all of this has taken

	visits [ahead]visit       // that are looked for together
	fresh  [ahead]uint8       // places in visits of readers who are not known
	lines  [3 * ahead]uintptr // memory to be prefetched
	silent [ahead]uint32      // slots of those who leave or go

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
	row           uint8 // which of the rows that are shown it is
	outside       bool  // there was no room for the reader
	coarse        storage.Coarse
}

// New returns Readers that know of nobody.
func New(o Options) *Readers {
	r := &Readers{o: o, table: newTable(o.ReadersMax)}
	r.wholes.seed, r.wholes.most = [2]uint64{r.table.seed[0], r.table.seed[2]}, o.ReadersMax/2
	r.clear()
	return r
}

// clear forgets everything.
func (r *Readers) clear() {
	if r.contents != nil {
		r.contents.memory.Free()
		r.contents.seriesMemory.Free()
	}
	r.contents = newContents(r.o.ContentsMax, r.table.seed)
	r.forgetAll()
	r.streams = streams{named: r.o.Named, of: make(map[uint16]uint16)}
}

// Seed takes the hash in whose order readers are told (storage.Watcher).
func (r *Readers) Seed(s storage.KeySeed) { r.table.order = s }

// Lock keeps others out until Unlock (storage.Watcher).
func (r *Readers) Lock() { r.mu.Lock() }

// Unlock lets others in (storage.Watcher).
func (r *Readers) Unlock() { r.mu.Unlock() }

// Begin begins a cut (storage.Watcher). A clock that was set back by more than is known,
// and a machine that slept, begin with nobody.
func (r *Readers) Begin(w storage.Window) (before, end uint32) {
	to := uint32(max(0, min(w.End/1000, math.MaxUint32-allSeconds)))
	switch {
	case r.now == 0, to+allSeconds < r.now: // the clock was set back by more than what is known
		if r.now != 0 {
			r.clear()
		}
		r.setNow(to)
		r.since = w.Start
	case to > r.now+allSeconds: // the machine slept
		r.forgetReaders()
		r.setNow(to)
	}
	r.to = max(to, r.now)
	return r.minute, minuteOf(r.to)
}

// Rows adds rows of the cut, and says for which of their readers there was no room
// (storage.Watcher).
func (r *Readers) Rows(rows []*storage.Row) (outside uint64) {
	began := time.Now()
	n := 0
	for i, x := range rows {
		v := &r.visits[n]
		*v = visit{
			print: r.table.print(x.Stream, x.Content, x.User), content: x.Content, user: x.User, events: x.Events(), opens: opensOf(x),
			first: r.second(x.First), last: r.second(x.Last), stream: x.Stream, row: uint8(i), coarse: x.Coarse,
		}
		switch {
		case x.Coarse != storage.CoarseNot:
			r.addCoarse(v)
		case x.Minute > r.to: // its reader is seen when that begins
			r.addOpensOnly(v)
		default:
			n++
		}
	}
	r.meet(r.visits[:n])
	for i := range r.visits[:n] {
		if v := &r.visits[i]; v.outside {
			outside |= 1 << v.row
		}
	}
	r.took += time.Since(began)
	return outside
}

// opensOf is how many opens a row stands for.
func opensOf(x *storage.Row) uint32 {
	return uint32(min(uint64(x.Opens)*x.Weight(), math.MaxUint32))
}

// Outside adds a row of a reader for whom there was no room (storage.Watcher).
func (r *Readers) Outside(x *storage.Row) {
	r.unplaced += x.Events()
	if i, ok := r.streams.find(x.Stream); ok {
		r.streams.list[i].addCoarse(r.second(x.Last), r.to, x.Events())
	}
}

// Seen notes when readers had their last events (storage.Watcher). They come in the order
// of the table, so nothing has to be prefetched for those who are known. Of those outside
// only the nameless are in any figure.
func (r *Readers) Seen(stream uint16, all iter.Seq[storage.Sight]) {
	began := time.Now()
	n := 0
	for s := range all {
		if s.Outside && r.nameless == 0 {
			continue
		}
		v := visit{
			print: r.table.print(stream, s.Content, s.User), content: s.Content, user: s.User, stream: stream, last: r.second(s.Last),
		}
		if s.Outside {
			v.print, v.outside = r.table.namelessPrint(stream, s.User), true
		} else if r.meets(&v) {
			continue
		}
		r.visits[n] = v
		if n++; n == ahead {
			r.meet(r.visits[:n])
			n = 0
		}
	}
	r.meet(r.visits[:n])
	r.took += time.Since(began)
}

// End ends the cut: who has been silent for too long leaves (storage.Watcher).
func (r *Readers) End(w storage.Window) {
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

// prefetchNameless prefetches where those of some visits would be who are nameless.
func (r *Readers) prefetchNameless(of []uint8) {
	if r.nameless == 0 {
		return
	}
	for i, at := range of {
		v := &r.visits[at]
		r.lines[i] = r.table.line(r.table.namelessPrint(v.stream, v.user))
	}
	pages.Prefetch(&r.lines[0], len(of))
}

// prefetchPlaces prefetches where contents are found, and the rest of what those want who
// get a slot.
func (r *Readers) prefetchPlaces(of []uint8) {
	lines := r.lines[:0]
	for _, at := range of {
		v := &r.visits[at]
		stream, known := r.streams.find(v.stream)
		lines = append(lines, r.contents.homeLine(stream, v.content))
		if known && r.hasRoom(stream) && !r.isNameless(v) {
			lines = append(lines, r.table.userLine(v.print), r.wholes.line(stream, v.user))
		}
	}
	pages.Prefetch(&lines[0], len(lines))
}

// prefetchContents prefetches the contents of visits.
func (r *Readers) prefetchContents(of []uint8) {
	lines := r.lines[:0]
	for _, at := range of {
		v := &r.visits[at]
		stream, _ := r.streams.find(v.stream)
		content, opens := r.contents.lines(stream, v.content, r.to)
		if lines = append(lines, content); v.opens != 0 {
			lines = append(lines, opens[0], opens[1])
		}
	}
	pages.Prefetch(&lines[0], len(lines))
}

// isNameless says that the reader of a visit is known as one of a content for which there
// was no room.
func (r *Readers) isNameless(v *visit) bool {
	if r.nameless == 0 {
		return false
	}
	_, known := r.table.known(r.table.namelessPrint(v.stream, v.user))
	return known
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
		x.print, x.what, x.flags = r.table.namelessPrint(v.stream, v.user), uint32(i), nameless
	}
	if !named && r.nameless > 0 {
		if at, known := r.table.known(x.print); known {
			r.sees(at, v.last)
			r.keepsOut(v)
			return
		}
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

// streamOf is the place of a reader's stream.
func (r *Readers) streamOf(s *slot) uint16 {
	if s.is(nameless) {
		return uint16(s.what)
	}
	return r.contents.list[s.what].stream
}

// wholeOf is where the reader of a slot is as one of the stream, and the place of that.
func (r *Readers) wholeOf(at int) (whole int, stream uint16) {
	stream = r.streamOf(&r.table.slots[at])
	whole, _ = r.wholes.find(stream, r.table.users[at])
	return whole, stream
}

// comes counts a reader as of the last minute, in his content and in his stream.
func (r *Readers) comes(at int) {
	i, stream := r.wholeOf(at)
	r.comesTo(at, i, stream)
}

func (r *Readers) comesTo(at, whole int, stream uint16) {
	s := &r.table.slots[at]
	s.flags |= recent
	if !s.is(nameless) {
		r.contents.list[s.what].minute++
	}
	w := &r.wholes.list[whole]
	if w.minute++; w.minute == 1 {
		r.streams.list[stream].minute++
	}
}

// leaves is the opposite of comes.
func (r *Readers) leaves(at int) {
	s := &r.table.slots[at]
	s.flags &^= recent
	if !s.is(nameless) {
		r.contents.list[s.what].minute--
	}
	i, stream := r.wholeOf(at)
	w := &r.wholes.list[i]
	if w.minute--; w.minute == 0 {
		r.streams.list[stream].minute--
	}
}

// goes forgets a reader of a content, who was silent for five minutes.
func (r *Readers) goes(at int) {
	i, stream := r.wholeOf(at)
	s := &r.table.slots[at]
	if s.is(nameless) {
		r.nameless--
	} else {
		r.contents.list[s.what].all--
	}
	s.flags |= gone
	r.table.gone++
	w, st := &r.wholes.list[i], r.streams.list[stream]
	st.account.readers--
	if w.all--; w.all > 0 {
		return
	}
	st.all--
	st.account.readers--
	r.wholes.remove(i)
}

// readers is how many there are, of contents and of streams.
func (r *Readers) readers() int { return r.table.readers() + r.wholes.used }

// secondOf is the second of a reader's last event.
func (r *Readers) secondOf(s *slot) uint32 { return r.now - uint32(int16(uint16(r.now)-s.last)) }

// due has a slot looked at in a second of the minute that is running. One that is due
// later is found when its minute begins.
func (r *Readers) due(at int, second uint32) {
	if second < r.minute+minuteSeconds {
		r.wheel.put(second, at)
	}
}

// fill fills the wheel.
func (r *Readers) fill() {
	r.wheel.clear(r.table.used)
	for at := range r.table.slots {
		s := &r.table.slots[at]
		if s.print == 0 || s.is(gone) {
			continue
		}
		if s.is(recent) {
			r.due(at, r.secondOf(s)+minuteSeconds)
		} else {
			r.due(at, r.secondOf(s)+allSeconds)
		}
	}
}

// setNow goes on to a second.
func (r *Readers) setNow(second uint32) { r.now, r.minute = second, minuteOf(second) }

// minuteOf is the second with which a minute begins.
func minuteOf(second uint32) uint32 { return second / minuteSeconds * minuteSeconds }

// advance looks at all slots that are due up to a second.
func (r *Readers) advance(to uint32) {
	for r.now < to {
		r.setNow(r.now + 1)
		if r.now == r.minute {
			r.table.sweep()
			r.tidy()
			r.fill()
		}
		due := &r.wheel[r.now%minuteSeconds]
		r.lookAtAll(*due)
		*due = (*due)[:0]
	}
}

// lookAtAll looks at slots that are due.
func (r *Readers) lookAtAll(due []uint32) {
	for len(due) > 0 {
		n := min(len(due), ahead)
		for i, at := range due[:n] {
			r.lines[i] = uintptr(unsafe.Pointer(&r.table.slots[at]))
		}
		pages.Prefetch(&r.lines[0], n)
		silent := r.silent[:0]
		for _, at := range due[:n] {
			if !r.stays(int(at)) {
				silent = append(silent, at)
			}
		}
		if len(silent) > 0 {
			r.depart(silent)
		}
		due = due[n:]
	}
}

// stays says that nothing changes with a slot that may be due now.
func (r *Readers) stays(at int) bool {
	s := &r.table.slots[at]
	if s.is(gone) {
		return true
	}
	due := r.secondOf(s) + allSeconds
	if s.is(recent) {
		due = r.secondOf(s) + minuteSeconds
	}
	if due <= r.now {
		return false
	}
	r.due(at, due)
	return true
}

// depart takes readers out of the last minute who have been silent for one, and out of the
// last five after five.
func (r *Readers) depart(silent []uint32) {
	lines := r.lines[:0]
	for _, at := range silent {
		lines = append(lines, uintptr(unsafe.Pointer(&r.table.users[at])))
		if s := &r.table.slots[at]; !s.is(nameless) {
			lines = append(lines, uintptr(unsafe.Pointer(&r.contents.list[s.what])))
		}
	}
	pages.Prefetch(&lines[0], len(lines))
	for i, at := range silent {
		r.lines[i] = r.wholes.line(r.streamOf(&r.table.slots[at]), r.table.users[at])
	}
	pages.Prefetch(&r.lines[0], len(silent))
	for _, at := range silent {
		at := int(at)
		s := &r.table.slots[at]
		if s.is(recent) {
			r.leaves(at)
		}
		if due := r.secondOf(s) + allSeconds; due > r.now {
			r.due(at, due)
		} else {
			r.goes(at)
		}
	}
}

// tidy gives back what has not been needed for some time.
func (r *Readers) tidy() {
	now := r.now
	r.contents.sweep(func(s *series) bool { return s.idle(now) }, r.contentLeaves)
	r.streams.sweep(now)
	if n := len(r.table.slots); n > slotsFirst && r.table.used < n/16 {
		r.table.shrink(max(slotsFirst, n/4))
	}
	if n := len(r.wholes.list); n > slotsFirst && r.wholes.used < n/16 {
		r.wholes.shrink(max(slotsFirst, n/4))
	}
}

// forgetReaders forgets who reads, and not what was opened.
func (r *Readers) forgetReaders() {
	r.forgetAll()
	for i := range r.contents.list {
		r.contents.list[i].minute, r.contents.list[i].all = 0, 0
	}
	for _, s := range r.streams.list {
		if s != nil {
			s.minute, s.all, s.account.readers = 0, 0, 0
		}
	}
}

func (r *Readers) forgetAll() {
	r.nameless = 0
	r.table.clear()
	r.wholes.clear()
	r.wheel = wheel{}
}
