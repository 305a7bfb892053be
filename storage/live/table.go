package live

import (
	"math/bits"
	"math/rand/v2"
	"unsafe"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/pages"
)

// slot is a reader of a content, or, with ofStream set, a reader of a stream. It is what
// is looked at of somebody who is there and stays.
type slot struct {
	print uint64 // the hash of what it is; 0 is an empty slot's
	node  uint32 // and the flags below
	last  uint16 // the lower bits of the second of the last event
	due   uint16 // and of the one in which it is looked at
}

// The flags of slot.node.
const (
	ofStream  = 1 << 31 // a reader of a stream; he has no time
	recent    = 1 << 30 // he had an event in the last minute
	nodeIndex = recent - 1
)

// slotsFirst is how many slots a table begins with.
const slotsFirst = 1 << 12

// ahead is how many slots are looked for at a time: the memory of all is asked for
// before the first is looked at.
const ahead = 64

// table is open addressing without pointers, in the order of hashes, so that a table
// which is gone through in that order goes through this one as it lies. It grows, up to a
// limit.
type table struct {
	order storage.KeySeed // of hashes
	seed  [3]uint64
	slots []slot
	shift int // of a print, which leaves its home
	used  int
	most  int // slots that may be used

	memory *pages.Memory[slot]
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
	}
	t.allocate(slotsFirst)
}

func (t *table) allocate(slots int) {
	t.memory = pages.Make[slot](slots)
	t.slots, t.used = t.memory.Slice, 0
	t.shift = 64 - bits.Len(uint(slots-1))
}

// print is the hash of a reader of a content, wholePrint that of a reader of a stream, and
// namelessPrint that of one who is with contents for which there was no room. Those of a
// stream's contents are in the order of storage.KeySeed, from a place on that is the
// stream's. Nobody can choose ids that collide.
func (t *table) print(stream uint16, content, user uint64) uint64 {
	return max(1, t.order.Hash(content, user)+uint64(stream)*t.seed[2])
}

func (t *table) wholePrint(stream uint16, user uint64) uint64 {
	return max(1, mix(uint64(stream)^t.seed[2], user^t.seed[0]))
}

func (t *table) namelessPrint(stream uint16, user uint64) uint64 {
	return max(1, mix(uint64(stream)^t.seed[1], user^t.seed[0]))
}

// mix multiplies and keeps both halves (the way of wyhash).
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return (hi ^ lo) * 0xD6E8FEB86659FD93
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

// findDue returns the slot of a print with this beginning that is due now.
func (t *table) findDue(begin uint32, now uint16) (at int, found bool) {
	mask := len(t.slots) - 1
	for at = int(uint64(begin) << 32 >> t.shift); t.slots[at].print != 0; at = (at + 1) & mask {
		if s := &t.slots[at]; s.due == now && uint32(s.print>>32) == begin && s.node&ofStream == 0 {
			return at, true
		}
	}
	return 0, false
}

// reserve sees to it that n more fit without long searches, as far as the limit.
func (t *table) reserve(n int) {
	if all := slotsFor(t.most); t.used+n > len(t.slots)/4*3 && len(t.slots) < all {
		t.resize(min(4*len(t.slots), all))
	}
}

// resize moves everything to another number of slots.
func (t *table) resize(slots int) {
	old := *t
	t.allocate(slots)
	t.used = old.used
	for i := range old.slots {
		if s := &old.slots[i]; s.print != 0 {
			at, _ := t.find(s.print)
			t.slots[at] = *s
		}
	}
	old.memory.Free()
}

// put fills the empty slot that find has returned.
func (t *table) put(at int, s slot) {
	t.slots[at] = s
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
			t.slots[at] = *s
			at = next
		}
	}
	t.slots[at] = slot{}
	t.used--
}
