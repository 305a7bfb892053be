package live

import (
	"math/bits"
	"math/rand/v2"
	"unsafe"

	"github.com/lectern/lectern/storage/pages"
)

// slot is a reader of a content, or, with ofStream set, a reader of a stream.
type slot struct {
	print uint64 // the hash of what it is; 0 is an empty slot's
	what  uint32 // a content or a stream, and the flags below
	last  uint16 // the lower bits of the second of the last event
	due   uint16 // and of the one in which it is looked at
}

// The flags of slot.what.
const (
	ofStream  = 1 << 31 // a reader of a stream, whose number of contents is beside it; it has no time
	recent    = 1 << 30 // he had an event in the last minute
	nameless  = 1 << 29 // for his content there was no room: the rest is the stream
	whatIndex = nameless - 1
)

// beside is what is wanted when somebody comes or goes.
type beside struct {
	user        uint64
	minute, all uint32 // contents that the reader of a stream was with in the last minute, and in five
}

// slotBytes is what a slot takes.
const slotBytes = int(unsafe.Sizeof(slot{}) + unsafe.Sizeof(beside{}))

// slotsFirst is how many slots a table begins with.
const slotsFirst = 1 << 12

// ahead is how many slots are looked for at a time: the memory of all is asked for
// before the first is looked at.
const ahead = 64

// table is open addressing without pointers. It grows, up to a limit.
type table struct {
	seed  [3]uint64
	slots []slot
	side  []beside
	shift int // of a print, which leaves its home
	used  int
	most  int // slots that may be used

	memory     *pages.Memory[slot]
	sideMemory *pages.Memory[beside]
}

// slotsFor is how many slots n used ones want: at the most three of four are used.
func slotsFor(n int) int { return max(slotsFirst, 1<<bits.Len(uint(n+n/3))) }

func newTable(most int) *table {
	t := &table{most: most, seed: [3]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64() | 1}}
	t.allocate(slotsFirst)
	return t
}

func (t *table) allocate(slots int) {
	t.memory, t.sideMemory = pages.Make[slot](slots), pages.Make[beside](slots)
	t.slots, t.side = t.memory.Slice, t.sideMemory.Slice
	t.shift = 64 - bits.Len(uint(slots-1))
	t.used = 0
}

func (t *table) free() {
	t.memory.Free()
	t.sideMemory.Free()
}

// printOf is the hash of a reader of a content, and streamPrint that of a reader of a
// stream. Nobody can choose ids that collide.
func (t *table) printOf(stream uint16, content, user uint64) uint64 {
	return mix(content^t.seed[0], user^t.seed[1]^uint64(stream)*t.seed[2])
}

func (t *table) streamPrint(stream uint16, user uint64) uint64 {
	return mix(uint64(stream)^t.seed[2], user^t.seed[0])
}

// mix multiplies and keeps both halves (the way of wyhash). It is never 0.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	h := (hi ^ lo) * 0xD6E8FEB86659FD93
	return (h ^ h>>32) | 1
}

// line is the memory in which a print is looked for first.
func (t *table) line(print uint64) uintptr {
	return uintptr(unsafe.Pointer(&t.slots[print>>t.shift]))
}

// find returns where a print is, or the empty slot where it would be.
func (t *table) find(print uint64) (at int, found bool) {
	mask := len(t.slots) - 1
	for at = int(print >> t.shift); ; at = (at + 1) & mask {
		switch t.slots[at].print {
		case print:
			return at, true
		case 0:
			return at, false
		}
	}
}

// reserve sees to it that n more fit without long searches, as far as the limit.
func (t *table) reserve(n int) {
	if t.used+n > len(t.slots)/4*3 && len(t.slots) < slotsFor(t.most) {
		t.resize(2 * len(t.slots))
	}
}

// resize moves everything to another number of slots.
func (t *table) resize(slots int) {
	old := *t
	t.allocate(slots)
	for i := range old.slots {
		if s := &old.slots[i]; s.print != 0 {
			at, _ := t.find(s.print)
			t.slots[at], t.side[at] = *s, old.side[i]
			t.used++
		}
	}
	old.free()
}

// put fills the empty slot that find has returned.
func (t *table) put(at int, s slot, user uint64) {
	t.slots[at], t.side[at] = s, beside{user: user}
	t.used++
}

// remove empties a slot, and moves those behind it that would not be found then.
func (t *table) remove(at int) {
	mask := len(t.slots) - 1
	for next := at; ; {
		next = (next + 1) & mask
		s := &t.slots[next]
		if s.print == 0 {
			break
		}
		if home := int(s.print >> t.shift); (next-home)&mask >= (next-at)&mask {
			t.slots[at], t.side[at] = *s, t.side[next]
			at = next
		}
	}
	t.slots[at], t.side[at] = slot{}, beside{}
	t.used--
}
