package live

import (
	"math/bits"
	"math/rand/v2"
	"unsafe"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/pages"
)

// slot is a reader of a content. It is what is looked at of somebody who is there and
// stays; his id, in the same place of table.users, is wanted when he comes or goes.
type slot struct {
	print uint64 // the hash of what it is; 0 is an empty slot's
	what  uint32 // the place of the content; of a nameless one, of the stream
	last  uint16 // the lower bits of the second of the last event
	flags uint16
}

// The flags of a slot.
const (
	recent   = 1 << iota // he had an event in the last minute
	gone                 // he is counted nowhere any more, and the slot is emptied when the minute is over
	nameless             // a reader of contents for which there was no room
)

func (s *slot) is(flag uint16) bool { return s.flags&flag != 0 }

// slotBytes is what a slot takes, with its user.
const slotBytes = int64(unsafe.Sizeof(slot{})) + 8

// slotsFirst is how many slots a table begins with.
const slotsFirst = 1 << 12

// ahead is how many slots are looked for at a time: the memory of all is prefetched
// before the first is looked at.
const ahead = 64

// table is open addressing without pointers, in the order of hashes, so that a table
// which is gone through in that order goes through this one as it lies. It grows, up to a
// limit. A slot stays where it is until the table is resized or swept.
type table struct {
	order storage.KeySeed // of hashes
	seed  [3]uint64       // of prints: 0 and 1 of namelessPrint, 2 of the streams in print
	slots []slot
	users []uint64
	shift int // of a print, which leaves its home
	used  int // slots that are not empty,
	gone  int // and those of them whose readers are gone
	most  int // readers there may be
	far   int // no slot is filled further from its home

	memory      *pages.Memory[slot]
	usersMemory *pages.Memory[uint64]
}

// slotsFor is how many slots n used ones want: at the most three of four are used.
func slotsFor(n int) int { return max(slotsFirst, 1<<bits.Len(uint(n+n/3))) }

func newTable(most int) *table {
	return &table{most: most, seed: [3]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64() | 1}}
}

// clear empties the table, and gives its memory back.
func (t *table) clear() {
	if t.memory != nil {
		t.memory.Free()
		t.usersMemory.Free()
	}
	t.allocate(slotsFirst)
}

// allocate gives the table that many empty slots.
func (t *table) allocate(slots int) {
	t.memory, t.usersMemory = pages.Make[slot](slots), pages.Make[uint64](slots)
	t.used, t.gone, t.far = 0, 0, 0
	t.take()
}

// take uses all of the memory.
func (t *table) take() {
	t.slots, t.users, t.shift = t.memory.Slice, t.usersMemory.Slice, shiftOf(len(t.memory.Slice))
}

// growing says that the table may still grow.
func (t *table) growing() bool { return len(t.slots) < slotsFor(t.most) }

// shiftOf is what a hash is shifted by to be a place of n, a power of two.
func shiftOf(n int) int { return 64 - bits.Len(uint(n-1)) }

// readers is how many there are.
func (t *table) readers() int { return t.used - t.gone }

// print is the hash of a reader of a content, and namelessPrint that of one who is with
// contents for which there was no room. Those of a stream's contents are in the order of
// storage.KeySeed, from a place on that is the stream's. Nobody can choose ids that
// collide.
func (t *table) print(stream uint16, content, user uint64) uint64 {
	return max(1, t.order.Hash(content, user)+uint64(stream)*t.seed[2])
}

func (t *table) namelessPrint(stream uint16, user uint64) uint64 {
	return max(1, mix(uint64(stream)^t.seed[1], user^t.seed[0]))
}

// mix multiplies and keeps both halves (the way of wyhash).
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return (hi ^ lo) * 0xD6E8FEB86659FD93
}

// line is the memory in which a print is looked for first, and userLine that of the
// user who would be there.
func (t *table) line(print uint64) uintptr {
	return uintptr(unsafe.Pointer(&t.slots[print>>t.shift]))
}

func (t *table) userLine(print uint64) uintptr {
	return uintptr(unsafe.Pointer(&t.users[print>>t.shift]))
}

// find returns where a print is.
func (t *table) find(print uint64) (at int, found bool) {
	mask, home := len(t.slots)-1, int(print>>t.shift)
	for at = home; ; at = (at + 1) & mask {
		switch p := t.slots[at].print; {
		case p == print:
			return at, true
		case p == 0, (at-home)&mask >= t.far:
			return at, false
		}
	}
}

// place returns where a print is, or the empty slot where it would be.
func (t *table) place(print uint64) (at int, found bool) {
	at, found = t.find(print)
	for !found && t.slots[at].print != 0 {
		at = (at + 1) & (len(t.slots) - 1)
	}
	return at, found
}

// farMax is how far from its home a slot may be filled.
const farMax = 1 << 8

// near says that the slot where a print is, or would be, is not too far from its home, in
// a table that does not grow any more. Where there is room for a part of those who come
// in the order of hashes, it is always the first: without this they would fill one end of
// the table without a gap, and whoever is looked for there would be looked for among tens
// of thousands.
func (t *table) near(print uint64) bool {
	if t.growing() {
		return true
	}
	at, found := t.find(print)
	for !found && t.slots[at].print != 0 && t.fromHome(at, print) <= farMax {
		at = (at + 1) & (len(t.slots) - 1)
	}
	return t.fromHome(at, print) <= farMax
}

// fromHome is how far a place is from the home of a print.
func (t *table) fromHome(at int, print uint64) int {
	return (at - int(print>>t.shift)) & (len(t.slots) - 1)
}

// known returns where the reader of a print is, if he is there.
func (t *table) known(print uint64) (at int, ok bool) {
	at, found := t.find(print)
	return at, found && !t.slots[at].is(gone)
}

// reserve sees to it that n more fit without long searches, as far as the limit, and says
// whether slots have moved.
func (t *table) reserve(n int) (moved bool) {
	switch {
	case t.used+n > len(t.slots)/4*3 && t.growing():
		t.grow()
	case t.used+n > len(t.slots)/8*7 && t.gone > 0:
		t.sweep()
	default:
		return false
	}
	return true
}

// grow doubles the table where it lies. Homes are in the order of hashes, and so twice as
// far away then: whoever goes from the last slot to the first finds them cleared. Those
// at the beginning, of which that is not so, and those who would have to go round from
// the end to it, are put when all are out.
func (t *table) grow() {
	n := len(t.slots)
	t.memory.Grow(2 * n)
	t.usersMemory.Grow(2 * n)
	t.take()
	t.far = 0
	type reader struct {
		slot
		user uint64
	}
	var later []reader
	for i := n - 1; i >= 0; i-- {
		s, user := t.slots[i], t.users[i]
		if s.print == 0 {
			continue
		}
		t.slots[i], t.users[i] = slot{}, 0
		home := int(s.print >> t.shift)
		at, _ := t.place(s.print)
		if home < i || at < home {
			later = append(later, reader{s, user})
			continue
		}
		t.fill(at, s, user)
	}
	for _, r := range later {
		at, _ := t.place(r.print)
		t.fill(at, r.slot, r.user)
	}
}

// shrink moves all readers to fewer slots, and gives memory back.
func (t *table) shrink(slots int) {
	old := *t
	t.allocate(slots)
	for i := range old.slots {
		if s := &old.slots[i]; s.print != 0 && !s.is(gone) {
			at, _ := t.place(s.print)
			t.put(at, *s, old.users[i])
		}
	}
	old.memory.Free()
	old.usersMemory.Free()
}

// put fills the empty slot that place has returned.
func (t *table) put(at int, s slot, user uint64) {
	t.fill(at, s, user)
	t.used++
}

// fill fills an empty slot.
func (t *table) fill(at int, s slot, user uint64) {
	t.slots[at], t.users[at] = s, user
	t.far = max(t.far, t.fromHome(at, s.print))
}

// sweep empties the slots of readers who are gone.
func (t *table) sweep() {
	for at := 0; t.gone > 0 && at < len(t.slots); at++ {
		for t.slots[at].is(gone) {
			t.remove(at)
			t.gone--
		}
	}
}

// remove empties a slot, and moves those behind it that would not be found then.
func (t *table) remove(at int) {
	mask := len(t.slots) - 1
	for next := at; ; {
		next = (next + 1) & mask
		s := &t.slots[next]
		if s.print == 0 || (next-at)&mask > t.far { // nobody behind it belongs here
			break
		}
		if home := int(s.print >> t.shift); (next-home)&mask >= (next-at)&mask {
			t.slots[at], t.users[at] = *s, t.users[next]
			at = next
		}
	}
	t.slots[at], t.users[at] = slot{}, 0
	t.used--
}
