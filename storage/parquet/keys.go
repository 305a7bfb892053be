package parquet

import (
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"

	"github.com/lectern/lectern/storage"
)

// keyPair is what a keyTable numbers.
type keyPair struct{ a, b uint64 }

// keyTable numbers pairs from 0 on, in the order in which they come: a set without
// pointers. Whoever chooses the ids does not know the seed of its hash.
type keyTable struct {
	seed  [2]uint64
	max   int
	keys  []keyPair
	slots []uint32 // 1 + an index into keys; 0 for none
}

func newKeyTable(max int) *keyTable {
	return &keyTable{seed: [2]uint64{rand.Uint64(), rand.Uint64() | 1}, max: max, slots: make([]uint32, 1024)}
}

// hash mixes a pair.
func (t *keyTable) hash(a, b uint64) uint64 {
	high, low := bits.Mul64(a^t.seed[0], b^t.seed[1]^0x9e3779b97f4a7c15)
	high, low = bits.Mul64(high^low^t.seed[1], a^bits.RotateLeft64(t.seed[0], 32)|1)
	return high ^ low
}

// find returns the number of a pair, and whether it is a new one.
func (t *keyTable) find(hash, a, b uint64) (n int, fresh bool) {
	mask := len(t.slots) - 1
	for i := int(hash>>32) & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			t.keys = append(t.keys, keyPair{a, b})
			t.slots[i] = uint32(len(t.keys))
			if 2*len(t.keys) > len(t.slots) {
				t.grow()
			}
			return len(t.keys) - 1, true
		}
		if k := &t.keys[slot-1]; k.a == a && k.b == b {
			return int(slot - 1), false
		}
	}
}

// lookup returns the number of a pair that is there.
func (t *keyTable) lookup(hash, a, b uint64) (n int, ok bool) {
	mask := len(t.slots) - 1
	for i := int(hash>>32) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if k := &t.keys[t.slots[i]-1]; k.a == a && k.b == b {
			return int(t.slots[i] - 1), true
		}
	}
	return 0, false
}

func (t *keyTable) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	t.fill()
}

// fill puts all keys into empty slots.
func (t *keyTable) fill() {
	mask := len(t.slots) - 1
	for n, k := range t.keys {
		i := int(t.hash(k.a, k.b)>>32) & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(n + 1)
	}
}

// full reports whether there are more than there may be.
func (t *keyTable) full() bool { return len(t.keys) > t.max }

func (t *keyTable) clear() {
	t.keys = t.keys[:0]
	clear(t.slots)
}

// keep forgets all pairs but those of a part.
func (t *keyTable) keep(p part) {
	t.keys = slices.DeleteFunc(t.keys, func(k keyPair) bool { return !p.has(t.hash(k.a, k.b)) })
	clear(t.slots)
	t.fill()
}

// part is the share of all keys that one pass is about: those whose hash ends with
// these bits.
type part struct {
	bits  int
	value uint64
}

func (p part) has(hash uint64) bool { return hash&(1<<p.bits-1) == p.value }

// split halves the part. The other half is left for a pass behind this one.
func (p *part) split() { p.bits++ }

// next goes on to the part that comes next, false where all were there.
func (p *part) next() bool {
	for p.bits > 0 {
		bit := uint64(1) << (p.bits - 1)
		if p.value&bit == 0 {
			p.value |= bit
			return true
		}
		p.value &^= bit
		p.bits--
	}
	return false
}

// passes is how many passes it comes to if the other parts are as large.
func (p part) passes() int { return 1 << p.bits }

// best keeps the first rows of each stream.
type best struct {
	query   *storage.TopQuery
	streams map[uint16]*bestOf
}

// bestOf is that of one stream.
type bestOf struct {
	rows  []storage.TopRow
	worst *storage.TopRow // of as many as are asked for; nil while there were fewer
}

func newBest(q *storage.TopQuery) *best {
	return &best{q, make(map[uint16]*bestOf)}
}

// offer takes a row if it may be among the first.
func (b *best) offer(r *storage.TopRow) {
	of, ok := b.streams[r.Stream]
	if !ok {
		of = new(bestOf)
		b.streams[r.Stream] = of
	}
	if of.worst != nil && b.query.Sort.Compare(of.worst, r) < 0 {
		return
	}
	of.rows = append(of.rows, *r)
	if len(of.rows) >= 2*b.query.Limit+64 {
		b.cut(of)
	}
}

// cut sorts the rows and drops those behind the limit.
func (b *best) cut(of *bestOf) {
	slices.SortFunc(of.rows, func(r, o storage.TopRow) int { return b.query.Sort.Compare(&r, &o) })
	if limit := b.query.Limit; len(of.rows) >= limit {
		of.rows = of.rows[:limit]
		worst := of.rows[limit-1]
		of.worst = &worst
	}
}

// rows is the answer, sorted.
func (b *best) rows() (all []storage.TopRow) {
	for _, stream := range slices.Sorted(maps.Keys(b.streams)) {
		b.cut(b.streams[stream])
		all = append(all, b.streams[stream].rows...)
	}
	return all
}
