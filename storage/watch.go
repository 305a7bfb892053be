package storage

import (
	"iter"
	"sync"
)

// Watcher follows who reads what, by the rows that come to Minutes. To look at each row
// would cost as much as adding it up. So it is shown only the rows that bring something
// new (see Rows), and is told at the end of a minute when each of its readers was seen last.
type Watcher interface {
	// Lock and Unlock stand around all other calls but Seed's.
	sync.Locker
	// Seed says how keys are hashed here. What Seen is given is in the order of these hashes.
	Seed(KeySeed)
	// Begin begins a cut. It returns the minutes that run before it and at its end, in
	// Unix seconds.
	Begin(w Window) (before, end uint32)
	// Rows shows rows of the cut, at most 64: each that is the first of its reader and
	// content in the minute, has opens, or is coarse; and each of a minute that is over. Of
	// one that has not begun yet, only those with opens are shown; when it begins, all are,
	// with opens as reads, since they were shown. Some may be shown beside these. It returns
	// a bit for each of them, the lowest of the first, that says that there was no room for
	// its reader. The rows are not to be kept.
	Rows(rows []*Row) (outside uint64)
	// Outside shows a further row of the minute, of a reader for whom there was no room.
	Outside(r *Row)
	// Seen says when each reader of a minute was seen last: when it is over, when it
	// begins, and when its rows leave before that.
	Seen(stream uint16, all iter.Seq[Sight])
	// End ends the cut.
	End(w Window)
}

// Sight is when a reader had his last event on a content, in Unix milliseconds.
type Sight struct {
	Content, User uint64
	Last          int64
	Outside       bool // there was no room for him when he was shown; not said of rows that no slot holds
}

// shown says which rows of a table a Watcher is shown.
type shown uint8

const (
	shownOpens shown = 1 << iota
	shownFirst
	shownEach
)

// watch is what Minutes know of their Watcher.
type watch struct {
	rowsShown
	running uint32 // the minute, in Unix seconds, of which readers are shown when they come,
	end     uint32 // and all of these up to this one while a cut is added
}

// Watch has a Watcher follow what comes from now on. The rows that are there already are
// shown to it as one cut of this window.
func (m *Minutes) Watch(by Watcher, w Window) {
	m.watch.by = by
	by.Seed(m.seed)
	if m.rows == 0 {
		return
	}
	by.Lock()
	defer by.Unlock()
	_, m.watch.running = by.Begin(w)
	m.watch.end = m.watch.running
	for p, t := range m.tables {
		if p.variant == 0 {
			t.showAll(&m.watch.rowsShown, false)
		}
	}
	by.End(w)
}

// AddCut is Add of what a cut has brought.
func (m *Minutes) AddCut(w Window, rows []Row) {
	by := m.watch.by
	if by == nil {
		m.Add(rows)
		return
	}
	by.Lock()
	defer by.Unlock()
	before, end := by.Begin(w)
	m.turn(before) // where the clock was set
	m.watch.end = end
	m.begin(end)
	m.Add(rows)
	m.turn(end)
	by.End(w)
}

// begin shows the rows of a minute that begins with a cut: those that were dated ahead.
func (m *Minutes) begin(minute uint32) {
	if minute <= m.watch.running {
		return
	}
	for p, t := range m.tables {
		if p.readers() && p.minute == minute {
			t.showAll(&m.watch.rowsShown, true)
		}
	}
}

// turn goes on to another minute. Of what is left behind, the Watcher learns when
// readers were seen last; of the one that begins, who is there already.
func (m *Minutes) turn(to uint32) {
	from := m.watch.running
	if from == to {
		return
	}
	m.watch.running = to
	for p, t := range m.tables {
		if p.readers() && p.minute <= to && (p.minute >= from || p.minute == to) {
			m.watch.by.Seen(p.stream, t.sights)
		}
	}
}

// leave tells the Watcher of a table that is taken out before its minute is over.
func (m *Minutes) leave(tables map[period]*minuteTable) {
	if m.watch.by == nil {
		return
	}
	m.watch.by.Lock()
	defer m.watch.by.Unlock()
	for p, t := range tables {
		if p.readers() && p.minute >= m.watch.running {
			m.watch.by.Seen(p.stream, t.sights)
		}
	}
}

// readers says that each row of a period is of one reader, of one content.
func (p period) readers() bool { return p.variant == 0 && p.coarse == CoarseNot }

// of says which rows of a period are shown.
func (w *watch) of(p period) shown {
	switch {
	case w.by == nil || p.variant > 0:
		return 0
	case p.minute > w.end:
		return shownOpens
	case p.minute < w.running, p.coarse != CoarseNot:
		return shownEach
	}
	return shownFirst | shownOpens
}

// wants says that a row is shown, which may be the first of its key.
func (s shown) wants(r *Row, first bool) bool {
	return first && s&shownFirst != 0 || r.Opens != 0 || s&shownEach != 0
}

// sights says when the readers of a table that is not sorted were seen last, in the order
// of hashes but for those whose rows no slot holds.
func (t *minuteTable) sights(yield func(Sight) bool) {
	start := int64(t.minute)*1000 - 1
	for i := range t.slots {
		if s := &t.slots[i]; s.first != 0 && !yield(Sight{s.content, s.user, start + int64(s.last), s.outside()}) {
			return
		}
	}
	for i := range t.beside {
		if r := &t.beside[i]; !yield(Sight{r.Content, r.User, r.Last, false}) {
			return
		}
	}
}

// showAll shows all rows of a table that is not sorted, in the order of sights. Of those
// that were ahead, opens were shown already: they are reads here.
func (t *minuteTable) showAll(show *rowsShown, wereAhead bool) {
	var rows [addAhead]Row
	var none minuteSlot
	put := func(r Row, of *minuteSlot) {
		if wereAhead {
			r.Reads, r.Opens = r.Reads+r.Opens, 0
		}
		rows[show.n] = r
		show.add(&rows[show.n], of)
	}
	for i := range t.slots {
		if s := &t.slots[i]; s.first != 0 {
			put(t.row(s), s)
		}
	}
	for i := range t.beside {
		put(t.beside[i], &none)
	}
	show.flush()
}

// rowsShown are rows that a Watcher is to be shown together.
type rowsShown struct {
	by    Watcher // nil: there is none
	rows  [addAhead]*Row
	slots [addAhead]*minuteSlot // which are told whether there was room for their readers
	n     int
}

// add adds a row, which is to stay where it is until all are flushed.
func (s *rowsShown) add(r *Row, of *minuteSlot) {
	of.mark(askedBit)
	s.rows[s.n], s.slots[s.n] = r, of
	if s.n++; s.n == addAhead {
		s.flush()
	}
}

// flush shows what was added.
func (s *rowsShown) flush() {
	if s.n == 0 {
		return
	}
	outside := s.by.Rows(s.rows[:s.n])
	for i, slot := range s.slots[:s.n] {
		slot.mark(uint8(outside >> i & 1 * outsideBit))
	}
	s.n = 0
}
