package collector

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"unsafe"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/pages"
	"github.com/lectern/lectern/wire"
)

// slot is one key and its counters: a cache line.
type slot struct {
	content  uint64
	user     uint64
	period   period
	dwell    uint64
	kinds    [readings]uint32 // of a headline, impressions and clicks
	reached  reached
	first    uint16 // milliseconds into the minute
	last     uint16
	progress uint8 // the furthest
	variant  uint8 // of a headline; part of the key
	_        [2]byte
}

// readings is how many kinds of reading there are: a slot is of reading, or of a
// variant of a headline, whose two kinds have the first two of the counters.
const readings = int(wire.KindImpression)

// reached is a progress and when it was reached, in an order in which the latest is
// the largest: milliseconds into the minute above eight bits of percent plus 1. It is
// 0 without a progress.
type reached uint32

// reachedBy is what an event has reached.
func reachedBy(e *wire.Event, offset uint16) reached {
	var known reached
	if e.HasProgress {
		known = 1
	}
	return -known & (reached(offset)<<8 + reached(e.Progress) + 1)
}

func (r reached) offset() uint16 { return uint16(r >> 8) }
func (r reached) resume() uint8  { return uint8(r) } // as storage.Row has it

const millisPerMinute = 60_000

// table counts events by (stream, minute, content, user), by how many others each
// stands for, and by the variant of a headline: open addressing, no
// pointers. It is as large as the keys of one window need, up to a fixed number of
// slots: the smaller it is, the more of it stands in the processor's cache. It
// belongs to one goroutine at a time.
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
	limit int // keys at the most, so that probes stay short, in a table of all slots
	most  int // slots at the most
	small int // windows in a row that used few of the slots
	seed  [3]uint64

	ahead  ahead
	nobody slot // of no event's key
	shares shares
	memory memory
}

// memory keeps what a table's slices point to.
type memory struct {
	tags  *pages.Memory[uint64]
	slots *pages.Memory[slot]
}

// ahead is what is known of the events that are being counted.
type ahead struct {
	hashes [lookahead]uint64
	lines  [lookahead]uintptr // of memory that they need
	slots  [lookahead]*slot   // where they very likely belong
}

const (
	groupSlots = 8
	tagUsed    = 0x80
	everyByte  = 0x0101010101010101
)

// slotsFirst is how many slots a table begins with.
const slotsFirst = 1 << 14

// newTable returns a table that grows to this many slots, rounded up to a power of
// two.
func newTable(most int) *table {
	n := 1 << bits.Len(uint(max(most, groupSlots)-1))
	t := &table{
		limit: n / 8 * 7, most: n,
		seed: [3]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64() | 1},
		// A stream that no event has.
		nobody: slot{period: periodOf(0, wire.StreamReserved)},
	}
	t.allocate(min(n, slotsFirst))
	t.shares.begin(t.limit, anyStream, 1, &t.shares)
	return t
}

// allocate gives the table empty slots.
func (t *table) allocate(slots int) {
	t.memory = memory{pages.Make[uint64](slots / groupSlots), pages.Make[slot](slots)}
	t.tags, t.slots = t.memory.tags.Slice, t.memory.slots.Slice
	t.mask = uint64(slots/groupSlots - 1)
}

func (m *memory) free() {
	m.tags.Free()
	m.slots.Free()
}

// free is how many new keys still fit.
func (t *table) free() int { return t.limit - t.used }

// crowded says that a cut is due: three quarters of all slots are used.
func (t *table) crowded() bool { return t.used >= t.most/4*3 }

// reserve sees to it that n new keys fit into the slots that there are; the caller
// has seen to it that they are free.
func (t *table) reserve(n int) {
	for t.used+n > len(t.slots)/8*7 && len(t.slots) < t.most {
		t.grow()
	}
}

// grow doubles the slots.
func (t *table) grow() {
	old, tags, slots := t.memory, t.tags, t.slots
	t.allocate(2 * len(slots))
	for g, word := range tags {
		for used := word & (everyByte * 0x80); used != 0; used &= used - 1 {
			s := &slots[g*groupSlots+bits.TrailingZeros64(used)/8]
			t.place(mix(s.content^t.seed[0], s.user^t.salt(s.period, s.variant)), s)
		}
	}
	old.free()
}

// place copies a slot to where its hash belongs; its key is not there.
func (t *table) place(hash uint64, s *slot) {
	for g := group(hash) & t.mask; ; g = (g + 1) & t.mask {
		if empty := empties(t.tags[g]); empty != 0 {
			at := uint64(bits.TrailingZeros64(empty) / 8)
			t.tags[g] |= tag(hash) << (8 * at)
			t.slots[g*groupSlots+at] = *s
			return
		}
	}
}

// shrinkAfter is how many windows in a row use few of the slots before they are
// halved.
const shrinkAfter = 60

// shrink halves an empty table of which few slots were used for some time.
func (t *table) shrink(used int) {
	if used >= len(t.slots)/8 || len(t.slots) <= slotsFirst {
		t.small = 0
		return
	}
	if t.small++; t.small == shrinkAfter {
		t.small = 0
		t.memory.free()
		t.allocate(len(t.slots) / 2)
	}
}

// period is a minute of a stream: a bit that says that it is of headlines, 16 that say how many events the sender left out
// for each, two how coarse the key is, 27 of minutes since 1970, until 2106, then 16
// bits of the stream. It is what a key has beside the two ids.
type period uint64

const (
	minuteBits = 27
	coarseAt   = 16 + minuteBits
	skippedAt  = coarseAt + 2
	headlines  = period(1) << (skippedAt + 16)
)

func periodOf(minute uint32, stream uint16) period { return period(minute)<<16 | period(stream) }

func (p period) minute() uint32         { return uint32(p>>16) & (1<<minuteBits - 1) }
func (p period) stream() uint16         { return uint16(p) }
func (p period) coarse() storage.Coarse { return storage.Coarse(p >> coarseAt & 3) }
func (p period) skipped() uint16        { return uint16(p >> skippedAt) }

func (p period) coarsened(c storage.Coarse) period { return p | period(c)<<coarseAt }
func (p period) sampled(skipped uint16) period     { return p | period(skipped)<<skippedAt }

// of is the period of an event in it: that of headlines where it is of one.
func (p period) of(e *wire.Event) period {
	if e.Kind.OfHeadline() {
		p |= headlines
	}
	return p
}

// moment is when an event happened: a period of reading of which none was left out, then
// 16 bits of milliseconds into its minute.
type moment uint64

func (p period) at(offset uint16) moment { return moment(p)<<16 | moment(offset) }

func (m moment) period() period { return period(m >> 16) }
func (m moment) offset() uint16 { return uint16(m) }

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
		t.reserve(n)
		t.countSome(events[:n], moments[:n])
		events, moments = events[n:], moments[n:]
	}
}

// countSome adds 1 to lookahead events.
func (t *table) countSome(events []wire.Event, moments []moment) {
	a, tags, slots, mask, far := &t.ahead, t.tags, t.slots, t.mask, !t.near()
	moments = moments[:len(events)]
	for i := range events {
		h := t.hash(&events[i], moments[i].period().of(&events[i]))
		a.hashes[i%lookahead] = h
		a.lines[i%lookahead] = uintptr(unsafe.Pointer(&tags[group(h)&mask]))
	}
	if far {
		pages.Prefetch(&a.lines[0], len(events))
	}
	for i := range events {
		// The slot that the key has, or will get, in nearly every case. Written
		// out: the compiler makes a call of it otherwise.
		h := a.hashes[i%lookahead]
		g := group(h) & mask
		word := tags[g]
		found := matches(word, tag(h))
		likely := found
		if found == 0 {
			likely = empties(word)
		}
		s := &slots[g*groupSlots+uint64(bits.TrailingZeros64(likely)/8)%groupSlots]
		a.lines[i%lookahead] = uintptr(unsafe.Pointer(s))
		if found == 0 {
			s = &t.nobody
		}
		a.slots[i%lookahead] = s
	}
	if far {
		pages.Prefetch(&a.lines[0], len(events))
	}
	for i := range events {
		e, m, s := &events[i], moments[i], a.slots[i%lookahead]
		if p := m.period().of(e); !s.has(e, p) {
			s = t.slot(a.hashes[i%lookahead], e, p, m.offset())
		}
		s.add(e, m.offset())
	}
}

// nearMax is how many keys stand in the processor's own cache with their tags:
// half a MiB.
const nearMax = 4096

// near says that the table is small enough for countNear.
func (t *table) near() bool { return t.used < nearMax }

// countNear is count for a table that is near, and events of one frame: p is
// the minute in which the frame's time is, and offset the milliseconds into it.
// It stops in front of an event that it cannot count, since its at is above most,
// it is of a headline, or its key is not where it is looked for first, and returns how many it has
// counted. There is no call in the loop: that keeps it in registers.
func (t *table) countNear(events []wire.Event, p period, offset, most uint32) int {
	tags, slots, mask := t.tags, t.slots, t.mask
	content, user := t.seed[0], t.salt(p, 0)
	for i := range events {
		e := &events[i]
		if e.At > most || e.Kind.OfHeadline() {
			return i
		}
		h := mix(e.Content^content, e.User^user)
		g := group(h) & mask
		found := matches(tags[g], tag(h))
		if found == 0 {
			return i
		}
		s := &slots[g*groupSlots+uint64(bits.TrailingZeros64(found)/8)]
		if s.content != e.Content || s.user != e.User || s.period != p {
			return i
		}
		s.add(e, uint16(offset+e.At))
	}
	return len(events)
}

// hash is that of an event's key.
func (t *table) hash(e *wire.Event, p period) uint64 {
	return mix(e.Content^t.seed[0], e.User^t.salt(p, e.Variant()))
}

// salt is what the user of this period is hashed with. Its factor is of the seed,
// too: with one that everybody knows, users could be chosen that take back what
// sets minutes and streams apart, and all of them would collide.
func (t *table) salt(p period, variant uint8) uint64 {
	return t.seed[1] ^ uint64(p)*t.seed[2] ^ bits.RotateLeft64(uint64(variant)*t.seed[2], 32)
}

// mix mixes two numbers with a multiplication that keeps both halves (the way of
// wyhash), and spreads what comes of it to the upper bits with another.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return (hi ^ lo) * 0xD6E8FEB86659FD93
}

// group and tag are the two parts of a hash, of which the upper bits are the
// best: a tag, and a group that still has to be cut to the table.
func group(hash uint64) uint64 { return hash << 7 >> 32 }

func tag(hash uint64) uint64 { return hash>>57 | tagUsed }

// matches has a bit set in each byte of a group's tags that may be this tag.
// Sometimes one more is set, of another used slot.
func matches(tags, tag uint64) uint64 {
	x := tags ^ tag*everyByte
	return (x - everyByte) &^ x & (everyByte * 0x80)
}

// empties has a bit set in each byte of a group's tags whose slot is empty.
func empties(tags uint64) uint64 { return ^tags & (everyByte * 0x80) }

// slot is the slot of an event's key, an empty one taken for it if it had none.
func (t *table) slot(hash uint64, e *wire.Event, p period, offset uint16) *slot {
	for g := group(hash) & t.mask; ; g = (g + 1) & t.mask {
		tags := t.tags[g]
		for found := matches(tags, tag(hash)); found != 0; found &= found - 1 {
			s := &t.slots[g*groupSlots+uint64(bits.TrailingZeros64(found)/8)]
			if s.has(e, p) {
				return s
			}
		}
		if empty := empties(tags); empty != 0 {
			at := uint64(bits.TrailingZeros64(empty) / 8)
			t.tags[g] |= tag(hash) << (8 * at)
			t.used++
			t.shares.count(p)
			s := &t.slots[g*groupSlots+at]
			*s = slot{content: e.Content, user: e.User, period: p, variant: e.Variant(), first: offset, last: offset}
			return s
		}
	}
}

// has says whether the table has an event's key.
func (t *table) has(e *wire.Event, p period) bool {
	hash := t.hash(e, p)
	for g := group(hash) & t.mask; ; g = (g + 1) & t.mask {
		tags := t.tags[g]
		for found := matches(tags, tag(hash)); found != 0; found &= found - 1 {
			s := &t.slots[g*groupSlots+uint64(bits.TrailingZeros64(found)/8)]
			if s.has(e, p) {
				return true
			}
		}
		if empties(tags) != 0 {
			return false
		}
	}
}

// has says that the slot is that of an event's key.
func (s *slot) has(e *wire.Event, p period) bool {
	return s.content == e.Content && s.user == e.User && s.period == p && (p&headlines == 0 || s.variant == e.Variant())
}

// add counts an event of the slot's key.
func (s *slot) add(e *wire.Event, offset uint16) {
	s.first = min(s.first, offset)
	s.last = max(s.last, offset)
	k := e.Kind
	if k.OfHeadline() {
		s.kinds[k-wire.KindImpression]++
		return
	}
	s.kinds[k]++
	s.dwell += uint64(e.Dwell)
	s.progress = max(s.progress, e.Progress) // 0 where the event has none
	s.reached = max(s.reached, reachedBy(e, offset))
}

// appendRows appends the table's rows to dst and empties the table.
func (t *table) appendRows(dst []storage.Row) []storage.Row {
	dst = slices.Grow(dst, t.used)
	for g, tags := range t.tags {
		for used := tags & (everyByte * 0x80); used != 0; used &= used - 1 {
			dst = dst[:len(dst)+1]
			t.slots[g*groupSlots+bits.TrailingZeros64(used)/8].row(&dst[len(dst)-1])
		}
	}
	clear(t.tags)
	t.shrink(t.used)
	t.used = 0
	return dst
}

func (s *slot) row(r *storage.Row) {
	start := int64(s.period.minute()) * millisPerMinute
	*r = storage.Row{
		Stream: s.period.stream(), Minute: s.period.minute() * 60, Content: s.content, User: s.user,
		Coarse: s.period.coarse(), Skipped: uint32(s.period.skipped()), Variant: s.variant,
		First: start + int64(s.first), Last: start + int64(s.last),
	}
	if r.Variant > 0 {
		r.Impressions, r.Clicks = s.kinds[0], s.kinds[1]
		return
	}
	r.Opens, r.Reads, r.Finishes = s.kinds[wire.KindOpen], s.kinds[wire.KindRead], s.kinds[wire.KindFinish]
	r.Saves, r.Shares = s.kinds[wire.KindSave], s.kinds[wire.KindShare]
	r.Dwell, r.Progress = s.dwell, s.progress
	if s.reached > 0 {
		r.Resume, r.ResumeLag = s.reached.resume(), s.last-s.reached.offset()
	}
}
