package collector

import (
	"math/bits"
	"math/rand/v2"
	"unsafe"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// slot is one key and its counters: a cache line.
type slot struct {
	content  uint64
	user     uint64
	dwell    uint64
	minute   uint32 // minutes since 1970
	kinds    [wire.Kinds]uint32
	first    uint16 // milliseconds into the minute
	last     uint16
	stream   uint16
	progress uint8
	_        [9]byte
}

const millisPerMinute = 60_000

// table counts events by (stream, minute, content, user): open addressing, no
// pointers, a fixed number of slots. It belongs to one goroutine at a time.
//
// Slots stand in groups of eight. A group's eight tags, seven bits of each key's
// hash, are one word apart from the slots, so that in nearly every case the
// first slot that is looked at is the right one: memory is touched once an
// event (the idea of Abseil's Swiss tables, with a word in place of SIMD).
//
// The hash is seeded per process, so that nobody can choose keys that collide.
type table struct {
	tags  []uint64 // a byte for each slot of a group: 0 for an empty one, else tagUsed and the tag
	slots []slot
	mask  uint64 // groups - 1
	used  int
	limit int // keys at the most, so that probes stay short
	seed  [2]uint64

	ahead ahead
}

// ahead is what is known of the events that are being counted.
type ahead struct {
	hashes [lookahead]uint64
	lines  [lookahead]uintptr // of memory that they need
}

const (
	groupSlots = 8
	tagUsed    = 0x80
	everyByte  = 0x0101010101010101
)

// newTable returns a table of at least this many slots, rounded up to a power
// of two.
func newTable(slots int) *table {
	n := 1 << bits.Len(uint(max(slots, groupSlots)-1))
	return &table{
		tags:  preferHuge(make([]uint64, n/groupSlots)),
		slots: preferHuge(make([]slot, n)),
		mask:  uint64(n/groupSlots - 1),
		limit: n / 8 * 7,
		seed:  [2]uint64{rand.Uint64(), rand.Uint64()},
	}
}

// free is how many new keys still fit.
func (t *table) free() int { return t.limit - t.used }

// crowded says that a cut is due: three quarters of the slots are used.
func (t *table) crowded() bool { return t.used >= len(t.slots)/4*3 }

// moment is when an event happened, and to which stream.
type moment struct {
	minute uint32 // since 1970
	offset uint16 // milliseconds into that minute
	stream uint16
}

// lookahead is how many events are counted at a time: first their tags are
// read, then their slots, one load not waiting for the other, so that several
// misses of the cache cost little more time than one.
const lookahead = 64

// count adds events, of which events[i] happened at moments[i]. The caller has
// made sure that as many keys are free.
func (t *table) count(events []wire.Event, moments []moment) {
	moments = moments[:len(events)]
	for len(events) > 0 {
		n := min(len(events), lookahead)
		t.countSome(events[:n], moments[:n])
		events, moments = events[n:], moments[n:]
	}
}

// countSome adds 1 to lookahead events.
func (t *table) countSome(events []wire.Event, moments []moment) {
	a := &t.ahead
	moments = moments[:len(events)]
	for i := range events {
		h := t.hash(&events[i], moments[i])
		a.hashes[i%lookahead] = h
		a.lines[i%lookahead] = uintptr(unsafe.Pointer(&t.tags[t.group(h)]))
	}
	prefetchEach(&a.lines[0], len(events))
	for i := range events {
		a.lines[i%lookahead] = uintptr(unsafe.Pointer(&t.slots[t.guess(a.hashes[i%lookahead])]))
	}
	prefetchEach(&a.lines[0], len(events))
	for i := range events {
		t.slot(a.hashes[i%lookahead], &events[i], moments[i]).add(&events[i], moments[i].offset)
	}
}

// hash mixes a key with two multiplications that keep both halves (the way of
// wyhash): 128 bits of ids, and the rest.
func (t *table) hash(e *wire.Event, m moment) uint64 {
	hi, lo := bits.Mul64(e.Content^t.seed[0], e.User^t.seed[1]^(uint64(m.minute)<<16|uint64(m.stream))*0x9E3779B97F4A7C15)
	hi, lo = bits.Mul64(hi^lo^t.seed[1], 0xD6E8FEB86659FD93)
	return hi ^ lo
}

// group and tag are the two parts of a hash.
func (t *table) group(hash uint64) uint64 { return hash >> 7 & t.mask }

func tag(hash uint64) uint64 { return hash&0x7F | tagUsed }

// matches has a bit set in each byte of a group's tags that may be this tag.
// Sometimes one more is set, of another used slot.
func matches(tags, tag uint64) uint64 {
	x := tags ^ tag*everyByte
	return (x - everyByte) &^ x & (everyByte * 0x80)
}

// empties has a bit set in each byte of a group's tags whose slot is empty.
func empties(tags uint64) uint64 { return ^tags & (everyByte * 0x80) }

// guess is the slot that a key has, or will get, in nearly every case.
func (t *table) guess(hash uint64) uint64 {
	g := t.group(hash)
	m := matches(t.tags[g], tag(hash))
	if m == 0 {
		m = empties(t.tags[g])
	}
	return g*groupSlots + uint64(bits.TrailingZeros64(m)/8)%groupSlots
}

// slot is the slot of an event's key, an empty one taken for it if it had none.
func (t *table) slot(hash uint64, e *wire.Event, m moment) *slot {
	for g := t.group(hash); ; g = (g + 1) & t.mask {
		tags := t.tags[g]
		for found := matches(tags, tag(hash)); found != 0; found &= found - 1 {
			s := &t.slots[g*groupSlots+uint64(bits.TrailingZeros64(found)/8)]
			if s.content == e.Content && s.user == e.User && s.minute == m.minute && s.stream == m.stream {
				return s
			}
		}
		if empty := empties(tags); empty != 0 {
			at := uint64(bits.TrailingZeros64(empty) / 8)
			t.tags[g] |= tag(hash) << (8 * at)
			t.used++
			s := &t.slots[g*groupSlots+at]
			*s = slot{content: e.Content, user: e.User, minute: m.minute, stream: m.stream, first: m.offset, last: m.offset}
			return s
		}
	}
}

func (s *slot) add(e *wire.Event, offset uint16) {
	s.kinds[e.Kind]++
	s.dwell += uint64(e.Dwell)
	s.progress = max(s.progress, e.Progress) // 0 where the event has none
	s.first = min(s.first, offset)
	s.last = max(s.last, offset)
}

// appendRows appends the table's rows to dst and empties the table.
func (t *table) appendRows(dst []storage.Row) []storage.Row {
	for g, tags := range t.tags {
		for used := tags & (everyByte * 0x80); used != 0; used &= used - 1 {
			dst = append(dst, t.slots[g*groupSlots+bits.TrailingZeros64(used)/8].row())
		}
	}
	clear(t.tags)
	t.used = 0
	return dst
}

func (s *slot) row() storage.Row {
	start := int64(s.minute) * millisPerMinute
	return storage.Row{
		Stream: s.stream, Minute: s.minute * 60, Content: s.content, User: s.user,
		Opens: s.kinds[wire.KindOpen], Reads: s.kinds[wire.KindRead], Finishes: s.kinds[wire.KindFinish],
		Saves: s.kinds[wire.KindSave], Shares: s.kinds[wire.KindShare],
		Dwell: s.dwell, Progress: s.progress,
		First: start + int64(s.first), Last: start + int64(s.last),
	}
}
