package collector

import (
	"math/bits"
	"math/rand/v2"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// slot is one key and its counters: a cache line. A slot with no events is
// empty, since every event raises one counter.
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
	used     bool
	_        [8]byte
}

const millisPerMinute = 60_000

// table counts events by (stream, minute, content, user): open addressing with
// linear probing, no pointers, a fixed number of slots. It belongs to one
// goroutine at a time.
//
// The hash is seeded per process, so that nobody can choose keys that collide.
type table struct {
	slots []slot
	order []uint32 // the used slots in the order of their first event: what is walked and emptied
	mask  uint64
	limit int // keys at the most, so that probes stay short
	seed  [2]uint64
}

// newTable returns a table of at least this many slots, rounded up to a power
// of two.
func newTable(slots int) *table {
	n := 1 << bits.Len(uint(slots-1))
	limit := n / 8 * 7
	return &table{
		slots: make([]slot, n),
		order: make([]uint32, 0, limit),
		mask:  uint64(n - 1),
		limit: limit,
		seed:  [2]uint64{rand.Uint64(), rand.Uint64()},
	}
}

// free is how many new keys still fit.
func (t *table) free() int { return t.limit - len(t.order) }

// crowded says that a cut is due: three quarters of the slots are used.
func (t *table) crowded() bool { return len(t.order) >= len(t.slots)/4*3 }

// count adds one event. minute and offset are its time: minutes since 1970, and
// milliseconds into that minute. The caller has made sure that free() > 0.
func (t *table) count(e *wire.Event, stream uint16, minute uint32, offset uint16) {
	// Two multiplications that keep both halves mix 128 bits of ids and the
	// rest of the key (the way of wyhash).
	hi, lo := bits.Mul64(e.Content^t.seed[0], e.User^t.seed[1]^(uint64(minute)<<16|uint64(stream))*0x9E3779B97F4A7C15)
	hi, lo = bits.Mul64(hi^lo^t.seed[1], 0xD6E8FEB86659FD93)
	at := (hi ^ lo) & t.mask
	for {
		s := &t.slots[at]
		if !s.used {
			t.order = append(t.order, uint32(at))
			s.content, s.user, s.minute, s.stream, s.used = e.Content, e.User, minute, stream, true
			s.first, s.last = offset, offset
			s.add(e, offset)
			return
		}
		if s.content == e.Content && s.user == e.User && s.minute == minute && s.stream == stream {
			s.add(e, offset)
			return
		}
		at = (at + 1) & t.mask
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
	for _, at := range t.order {
		s := &t.slots[at]
		start := int64(s.minute) * millisPerMinute
		dst = append(dst, storage.Row{
			Stream: s.stream, Minute: s.minute * 60, Content: s.content, User: s.user,
			Opens: s.kinds[wire.KindOpen], Reads: s.kinds[wire.KindRead], Finishes: s.kinds[wire.KindFinish],
			Saves: s.kinds[wire.KindSave], Shares: s.kinds[wire.KindShare],
			Dwell: s.dwell, Progress: s.progress,
			First: start + int64(s.first), Last: start + int64(s.last),
		})
		*s = slot{}
	}
	t.order = t.order[:0]
	return dst
}
