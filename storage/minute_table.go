package storage

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"unsafe"

	"github.com/lectern/lectern/storage/pages"
)

// minuteTable adds up the rows of one period: open addressing, no
// pointers, half a line of the cache a row. What does not fit a slot stands beside
// the slots as it came.
type minuteTable struct {
	period
	seed   KeySeed
	memory *pages.Memory[minuteSlot]
	slots  []minuteSlot
	used   int
	events uint64 // that the rows are
	beside []Row  // that no slot can hold
	sorted bool   // the first used slots are all, ordered by content and user; so is beside
}

// minuteSlot is a row without its period.
type minuteSlot struct {
	content, user uint64
	dwell         uint32
	first, last   uint16 // milliseconds into the minute, plus 1: 0 is an empty slot's
	lag           uint16 // of resume
	opens, reads  uint8  // of a headline, impressions and clicks
	finishes      uint8
	rare          uint8 // saves, above rareBits shares, and what the Watcher is or was asked of the reader
	progress      uint8
	resume        uint8
}

// rareBits are those of each counter in minuteSlot.rare. Above both, askedBit says that the
// Watcher is still to be asked whether there is room for the reader, and outsideBit that
// there was none.
const (
	rareBits   = 3
	askedBit   = 1 << 6
	outsideBit = 1 << 7
)

// minuteSlotsMin is as few as serve a row or two: whoever sends events of thousands
// of minutes or streams has a table for each.
const (
	minuteSlotsMin = 4
	millisOfMinute = 60_000
)

// addAhead is how many rows are added at a time: the memory of all is asked for
// before the first is looked for.
const addAhead = 64

// rowsAhead is what is known of the rows that are being added.
type rowsAhead struct {
	hashes [addAhead]uint64
	lines  [addAhead]uintptr // of memory that they need
	shown  shown             // those of them that a Watcher is shown
	show   *rowsShown
}

// KeySeed is that of a hash of two ids, so that nobody can choose ids that collide.
type KeySeed [2]uint64

func randomSeed() KeySeed { return KeySeed{rand.Uint64(), rand.Uint64()} }

// Hash mixes an id with the other by a multiplication that keeps both halves (the
// way of wyhash).
func (s *KeySeed) Hash(content, user uint64) uint64 {
	hi, lo := bits.Mul64(content^s[0], user^s[1])
	return (hi ^ lo) * 0xD6E8FEB86659FD93
}

func newMinuteTable(p period, seed KeySeed) *minuteTable {
	memory := pages.Make[minuteSlot](minuteSlotsMin)
	return &minuteTable{period: p, seed: seed, memory: memory, slots: memory.Slice}
}

// free gives the memory back.
func (t *minuteTable) free() {
	t.memory.Free()
	t.slots, t.beside, t.used = nil, nil, 0
}

// len is the number of rows, or one more for each that stands in a slot and beside.
func (t *minuteTable) len() int { return t.used + len(t.beside) }

// spare is how many more rows leave the table empty enough for short searches.
func (t *minuteTable) spare() int { return len(t.slots)*7/10 - t.used }

// add adds rows of the table's period.
func (t *minuteTable) add(rows []Row, ahead *rowsAhead) {
	for len(rows) > 0 {
		n := min(len(rows), addAhead, t.spare())
		if n == 0 {
			ahead.show.flush() // slots move
			t.grow()
			continue
		}
		t.addSome(rows[:n], ahead)
		rows = rows[n:]
	}
	ahead.show.flush()
}

// addSome adds 1 to addAhead rows, for which there is room.
func (t *minuteTable) addSome(rows []Row, ahead *rowsAhead) {
	for i := range rows {
		h := t.seed.Hash(rows[i].Content, rows[i].User)
		ahead.hashes[i%addAhead] = h
		ahead.lines[i%addAhead] = uintptr(unsafe.Pointer(&t.slots[t.home(h)]))
	}
	pages.Prefetch(&ahead.lines[0], len(rows))
	for i := range rows {
		r := &rows[i]
		t.events += r.Events()
		at := t.find(ahead.hashes[i%addAhead], r.Content, r.User)
		first := at.first == 0
		if !t.count(at, r) {
			t.overflow(at, r)
		}
		if ahead.shown == 0 {
			continue
		}
		switch {
		case ahead.shown.wants(r, first), at.rare&askedBit != 0:
			ahead.show.add(r, at)
		case at.outside():
			ahead.show.by.Outside(r)
		}
	}
}

// home is where a hash is looked for first: the former slot of a line of the cache, so
// that the latter one is nearly always the last that is looked at.
func (t *minuteTable) home(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(t.slots)))
	return int(hi) &^ 1
}

// find returns the slot of a key, an empty one where it has none.
func (t *minuteTable) find(hash, content, user uint64) *minuteSlot {
	for i := t.home(hash); ; {
		s := &t.slots[i]
		if s.content == content && s.user == user || s.first == 0 {
			return s
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
}

// grow makes the table larger where it lies. Homes are in the order of hashes, so each row
// moves up, and to slots that have been cleared. The few at the beginning that others had
// pushed away from home, and those that would go round from the end to it, are put when all
// are out.
func (t *minuteTable) grow() {
	n := len(t.slots)
	t.memory.Grow(slotsAfter(n))
	t.slots = t.memory.Slice
	slots, later := t.slots, []minuteSlot(nil)
	for i := n - 1; i >= 0; i-- {
		if slots[i].first == 0 {
			continue
		}
		s := slots[i]
		slots[i] = minuteSlot{}
		at := t.home(t.seed.Hash(s.content, s.user))
		if at < i {
			later = append(later, s)
			continue
		}
		for at < len(slots) && slots[at].first != 0 {
			at++
		}
		if at == len(slots) {
			later = append(later, s)
			continue
		}
		slots[at] = s
	}
	for i := range later {
		s := &later[i]
		*t.find(t.seed.Hash(s.content, s.user), s.content, s.user) = *s
	}
}

// slotsLarge is from where on a table grows by whole large pages.
const slotsLarge = 8 << 20 / int(unsafe.Sizeof(minuteSlot{}))

// slotsAfter is how many slots come after n: at most a half more from 16 on, so that a table
// which grew is 46 of a hundred full at the least, and an even number, for home.
func slotsAfter(n int) int {
	switch {
	case n < 4*minuteSlotsMin:
		return 2 * n
	case n < slotsLarge:
		return (n + n/2) &^ 1
	}
	const page = slotsLarge / 4
	return (n + n/2) / page * page
}

// count adds a row to its slot, which may be empty, and says whether it fits.
func (t *minuteTable) count(s *minuteSlot, r *Row) bool {
	start := int64(t.minute) * 1000
	first, last := uint64(r.First-start), uint64(r.Last-start)
	// A row has what reading brings, or what a headline does.
	opens, reads := uint64(s.opens)+uint64(r.Opens|r.Impressions), uint64(s.reads)+uint64(r.Reads|r.Clicks)
	dwell, finishes := uint64(s.dwell)+r.Dwell, uint64(s.finishes)+uint64(r.Finishes)
	saves, shares := uint64(s.saves())+uint64(r.Saves), uint64(s.shares())+uint64(r.Shares)
	large := (dwell|r.Dwell)>>32 | (opens|reads|finishes)>>8 | (saves|shares)>>rareBits
	if large != 0 || first >= millisOfMinute || last >= millisOfMinute || uint64(r.ResumeLag) > last {
		return false
	}
	if s.first == 0 {
		t.used++
		s.content, s.user, s.first = r.Content, r.User, math.MaxUint16
	}
	s.dwell, s.opens, s.reads = uint32(dwell), uint8(opens), uint8(reads)
	s.finishes, s.rare = uint8(finishes), s.rare&(askedBit|outsideBit)|uint8(saves|shares<<rareBits)
	s.progress = max(s.progress, r.Progress)
	resumed := s.resumed()
	s.first, s.last = min(s.first, uint16(first)+1), max(s.last, uint16(last)+1)
	if r.Resume > 0 {
		resumed = max(resumed, (uint32(last)+1-uint32(r.ResumeLag))<<8|uint32(r.Resume))
	}
	if resumed > 0 {
		s.resume, s.lag = uint8(resumed), s.last-uint16(resumed>>8)
	}
	return true
}

// row is what a slot has counted.
func (t *minuteTable) row(s *minuteSlot) Row {
	start := int64(t.minute)*1000 - 1
	r := Row{
		Content: s.content, User: s.user, Dwell: uint64(s.dwell), First: start + int64(s.first), Last: start + int64(s.last),
		Minute: t.minute, Stream: t.stream, Finishes: uint32(s.finishes),
		Saves: uint32(s.saves()), Shares: uint32(s.shares()),
		Progress: s.progress, Resume: s.resume, ResumeLag: s.lag, Variant: t.variant, Coarse: t.coarse, Skipped: t.skipped,
	}
	if t.variant > 0 {
		r.Impressions, r.Clicks = uint32(s.opens), uint32(s.reads)
	} else {
		r.Opens, r.Reads = uint32(s.opens), uint32(s.reads)
	}
	return r
}

func (s *minuteSlot) saves() uint8  { return s.rare & (1<<rareBits - 1) }
func (s *minuteSlot) shares() uint8 { return s.rare >> rareBits & (1<<rareBits - 1) }

// outside says that the Watcher had no room for the reader.
func (s *minuteSlot) outside() bool { return s.rare&outsideBit != 0 }

// mark has a slot that is in use say nothing of its reader, or one of askedBit and outsideBit.
func (s *minuteSlot) mark(bit uint8) {
	if s.rare &^= askedBit | outsideBit; s.first != 0 {
		s.rare |= bit
	}
}

// resumed is the latest progress, and when that was above it, such that the latest is
// the largest; 0 without one.
func (s *minuteSlot) resumed() uint32 {
	if s.resume == 0 {
		return 0
	}
	return uint32(s.last-s.lag)<<8 | uint32(s.resume)
}

// overflow takes a row that its slot cannot add. What stands in the slot goes beside,
// where it can make room, so that a key of large numbers has few rows there.
func (t *minuteTable) overflow(s *minuteSlot, r *Row) {
	var fresh minuteSlot
	if s.first == 0 || !t.count(&fresh, r) {
		t.beside = append(t.beside, *r)
		return
	}
	t.used-- // the slot was in use already
	fresh.mark(s.rare & (askedBit | outsideBit))
	t.beside = append(t.beside, t.row(s))
	*s = fresh
}

// sort moves the rows to the front and orders them by content and user. Nothing
// can be added after it.
func (t *minuteTable) sort() {
	if t.sorted {
		return
	}
	t.sorted = true
	n := 0
	for i := range t.slots {
		if t.slots[i].first != 0 {
			t.slots[n] = t.slots[i]
			n++
		}
	}
	sortSlots(t.slots[:n])
	t.beside = mergeRows(t.beside)
}

// mergeRows sorts rows by key and adds up those of the same key, in place.
func mergeRows(rows []Row) []Row {
	slices.SortFunc(rows, func(a, b Row) int { return CompareKeys(&a, &b) })
	n := 0
	for i := range rows {
		if n > 0 && CompareKeys(&rows[n-1], &rows[i]) == 0 && rows[n-1].fits(&rows[i]) {
			rows[n-1].Add(&rows[i])
			continue
		}
		rows[n] = rows[i]
		n++
	}
	return rows[:n]
}

// cursor goes through a sorted table.
type cursor struct {
	t            *minuteTable
	slot, beside int // behind the one that row is
	row          Row
}

// Next goes to the next row, the sum of a slot and of what stands beside it, nil at
// the end.
func (c *cursor) Next() (*Row, error) {
	t := c.t
	slot, beside := c.slot < t.used, c.beside < len(t.beside)
	order := 0
	switch {
	case !slot && !beside:
		return nil, nil
	case slot && beside:
		c.row = t.row(&t.slots[c.slot])
		order = CompareKeys(&c.row, &t.beside[c.beside])
	case beside:
		order = 1
	default:
		c.row = t.row(&t.slots[c.slot])
		order = -1
	}
	if order > 0 {
		c.row = t.beside[c.beside]
		c.beside++
		return &c.row, nil
	}
	c.slot++
	if order == 0 && c.row.fits(&t.beside[c.beside]) {
		c.row.Add(&t.beside[c.beside])
		c.beside++
	}
	return &c.row, nil
}
