package live

import (
	"math"
	"sync"

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

// Bytes is how much memory these options may take. Growing, a table is there twice,
// once with half as many slots.
func (o *Options) Bytes() int64 {
	slots := int64(slotsFor(o.ReadersMax))
	wheel := int64(o.ReadersMax) * 16 // a print for each, in lists that grow by doubling
	return slots*int64(slotBytes)*3/2 + wheel + int64(o.ContentsMax)*int64(contentBytes)*3/2
}

// Readers knows who reads what now. Its methods may be called by several goroutines at
// once.
type Readers struct {
	o Options

	mu       sync.Mutex // protects what follows
	table    *table
	wheel    wheel
	contents *contents
	streams  streams
	now      uint32 // the second up to which slots that were due have been looked at; 0: nothing has come yet
	time     int64  // Unix milliseconds: the end of the last cut
	since    int64  // and the beginning of the first
	cuts     uint64 // that have come
	unplaced uint64 // events that are in no figure of readers, since ever

	prints [ahead]uint64
	lines  [ahead]uintptr
}

// New returns Readers that know of nobody.
func New(o Options) *Readers {
	r := &Readers{o: o}
	r.clear()
	return r
}

// clear forgets everything.
func (r *Readers) clear() {
	if r.table != nil {
		r.table.free()
		r.contents.memory.Free()
		r.contents.seriesMemory.Free()
	}
	r.table = newTable(r.o.ReadersMax)
	r.contents = newContents(r.o.ContentsMax, r.table.seed)
	r.wheel = wheel{}
	r.streams = streams{named: r.o.Named, of: make(map[uint16]uint16)}
}

// Add takes what one cut brought. It only reads the rows.
func (r *Readers) Add(window storage.Window, rows []storage.Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := uint32(max(0, min(window.End/1000, math.MaxUint32-allSeconds)))
	switch {
	case r.now == 0, to+allSeconds < r.now: // the clock was set back by more than what is known
		if r.now != 0 {
			r.clear()
		}
		r.now, r.since = to, window.Start
	case to > r.now+allSeconds: // the machine slept
		r.forgetReaders()
		r.now = to
	}
	to = max(to, r.now)
	for len(rows) > 0 {
		n := min(len(rows), ahead)
		r.addSome(rows[:n], to)
		rows = rows[n:]
	}
	r.advance(to)
	r.time = window.End
	r.cuts++
}

// Cuts is how many cuts have come: while it is the same, so are all figures.
func (r *Readers) Cuts() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cuts
}

// addSome adds 1 to ahead rows of a cut that ends at this second.
func (r *Readers) addSome(rows []storage.Row, to uint32) {
	t := r.table
	t.reserve(2 * len(rows))
	for i := range rows {
		x := &rows[i]
		print := t.printOf(x.Stream, x.Content, x.User)
		r.prints[i%ahead], r.lines[i%ahead] = print, t.line(print)
	}
	pages.Prefetch(&r.lines[0], len(rows))
	for i := range rows {
		r.addRow(&rows[i], r.prints[i%ahead], to)
	}
}

func (r *Readers) addRow(x *storage.Row, print uint64, to uint32) {
	if x.Variant > 0 {
		return // who was shown a headline reads nothing by that
	}
	if x.Coarse != storage.CoarseNot {
		r.addCoarse(x, to)
		return
	}
	last := seconds(x.Last, to)
	at, found := r.table.find(print)
	if !found {
		r.addReader(x, at, print, last, to)
		return
	}
	s := &r.table.slots[at]
	if last+allSeconds > r.now && int16(uint16(last)-s.last) > 0 {
		s.last = uint16(last)
		if s.what&recent == 0 && last+minuteSeconds > r.now {
			r.comesBack(at, last)
		}
	}
	if s.what&nameless != 0 {
		r.addCoarse(x, to)
	} else if x.Opens != 0 {
		r.addOpens(x, s.what&whatIndex, to)
	}
}

// seconds is when something happened, not after the cut that brings it.
func seconds(ms int64, to uint32) uint32 { return uint32(max(0, min(ms/1000, int64(to)))) }

// addReader adds a row of somebody who is not in the table, and would be at this slot.
func (r *Readers) addReader(x *storage.Row, at int, print uint64, last, to uint32) {
	now := r.now
	if last+allSeconds <= now { // he is gone already
		r.addGone(x, to)
		return
	}
	i, ok := r.streams.place(x.Stream, to)
	if !ok {
		r.unplaced += x.Events()
		return
	}
	st := r.streams.list[i]
	if free := r.table.most - r.table.used; free < 2 || st.account.readers+2 > lendsTo*free {
		r.addCoarse(x, to)
		return
	}
	what := uint32(i) | nameless
	if c, ok := r.content(x, i); ok {
		what = c
		r.contents.list[c].all++
		r.addOpens(x, c, to)
	} else {
		r.addCoarse(x, to)
	}
	r.table.put(at, slot{print: print, what: what, last: uint16(last)}, x.User)
	st.account.readers++

	print = r.table.streamPrint(x.Stream, x.User)
	whole, known := r.table.find(print)
	if !known {
		r.table.put(whole, slot{print: print, what: uint32(i) | ofStream}, x.User)
		st.account.readers++
		st.all++
	}
	r.table.side[whole].all++
	due := last + allSeconds
	if last+minuteSeconds > now {
		r.comes(at, whole)
		due = last + minuteSeconds
	}
	r.putOff(at, due)
}

// content is the place of a row's content, a new one where it has none yet.
func (r *Readers) content(x *storage.Row, stream uint16) (at uint32, ok bool) {
	if at, ok = r.contents.find(stream, x.Content); ok {
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
	return r.contents.add(stream, x.Content), true
}

func (r *Readers) contentLeaves(stream uint16) { r.streams.list[stream].account.contents-- }

// addOpens adds the opens of a row to those of its content and its stream, at the first
// of its events.
func (r *Readers) addOpens(x *storage.Row, content, to uint32) {
	if x.Opens == 0 {
		return
	}
	first, n := seconds(x.First, to), weighed(x)
	r.contents.series[content].add(first, to, n)
	r.streams.list[r.contents.list[content].stream].series.add(first, to, n)
}

// weighed is how many opens a row stands for.
func weighed(x *storage.Row) uint32 {
	return uint32(min(uint64(x.Opens)*x.Weight(), math.MaxUint32))
}

// addGone adds a row that is too late for readers.
func (r *Readers) addGone(x *storage.Row, to uint32) {
	if x.Opens == 0 || seconds(x.First, to)/60+MinutesKept <= to/60 {
		return
	}
	if i, ok := r.streams.place(x.Stream, to); ok {
		if c, ok := r.content(x, i); ok {
			r.addOpens(x, c, to)
			return
		}
		r.streams.list[i].series.add(seconds(x.First, to), to, weighed(x))
	}
}

// addCoarse adds a row that is in no figure of readers of a content, as far as it has one.
func (r *Readers) addCoarse(x *storage.Row, to uint32) {
	r.unplaced += x.Events()
	i, ok := r.streams.place(x.Stream, to)
	if !ok {
		return
	}
	st := r.streams.list[i]
	st.addCoarse(seconds(x.Last, to), to, x.Events())
	if x.Opens == 0 {
		return
	}
	if x.Coarse != storage.CoarseContents {
		if c, ok := r.content(x, i); ok {
			r.addOpens(x, c, to)
			return
		}
	}
	st.series.add(seconds(x.First, to), to, weighed(x))
}

// comes counts a reader as of the last minute, in his content and in his stream.
func (r *Readers) comes(at, whole int) {
	s := &r.table.slots[at]
	s.what |= recent
	if s.what&nameless == 0 {
		r.contents.list[s.what&whatIndex].minute++
	}
	w := &r.table.side[whole]
	if w.minute++; w.minute == 1 {
		r.streams.list[r.table.slots[whole].what&whatIndex].minute++
	}
}

// comesBack is comes for somebody who was silent for more than a minute.
func (r *Readers) comesBack(at int, last uint32) {
	r.comes(at, r.whole(at))
	r.putOff(at, last+minuteSeconds)
}

// leaves is the opposite of comes.
func (r *Readers) leaves(at int) {
	s := &r.table.slots[at]
	s.what &^= recent
	if s.what&nameless == 0 {
		r.contents.list[s.what&whatIndex].minute--
	}
	whole := r.whole(at)
	w := &r.table.side[whole]
	if w.minute--; w.minute == 0 {
		r.streams.list[r.table.slots[whole].what&whatIndex].minute--
	}
}

// goes forgets a reader of a content, who was silent for five minutes.
func (r *Readers) goes(at int) {
	whole := r.whole(at)
	what := r.table.slots[at].what
	if what&nameless == 0 {
		r.contents.list[what&whatIndex].all--
	}
	st := r.streams.list[r.table.slots[whole].what&whatIndex]
	st.account.readers--
	w := &r.table.side[whole]
	if w.all--; w.all > 0 {
		r.table.remove(at)
		return
	}
	st.all--
	st.account.readers--
	print := r.table.slots[whole].print
	r.table.remove(at) // which may move the other
	whole, _ = r.table.find(print)
	r.table.remove(whole)
}

// whole is the slot of the stream's reader that a content's reader is.
func (r *Readers) whole(at int) int {
	what := r.table.slots[at].what
	i := uint16(what & whatIndex)
	if what&nameless == 0 {
		i = r.contents.list[what&whatIndex].stream
	}
	whole, _ := r.table.find(r.table.streamPrint(r.streams.list[i].number, r.table.side[at].user))
	return whole
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
			for i, print := range rest[:n] {
				r.lines[i%ahead] = r.table.line(print)
			}
			pages.Prefetch(&r.lines[0], n)
			for _, print := range rest[:n] {
				r.look(print)
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
func (r *Readers) look(print uint64) {
	at, found := r.table.find(print)
	now := r.now
	if !found || r.table.slots[at].due != uint16(now) {
		return // he is gone, or was put off otherwise
	}
	silent := int(int16(uint16(now) - r.table.slots[at].last))
	if r.table.slots[at].what&recent != 0 {
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

// tidy gives back what has not been needed for some time.
func (r *Readers) tidy() {
	now := r.now
	r.contents.sweep(func(s *series) bool { return s.idle(now) }, r.contentLeaves)
	r.streams.sweep(now)
	if n := len(r.table.slots); n > slotsFirst && r.table.used < n/8 {
		r.table.resize(n / 2)
	}
}

// forgetReaders forgets who reads, and not what was opened.
func (r *Readers) forgetReaders() {
	r.table.free()
	seed := r.table.seed
	r.table = newTable(r.o.ReadersMax)
	r.table.seed = seed // contents are found by it
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
