package collector

import (
	"iter"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/lectern/lectern/storage/pages"
)

// directory finds sources by their id: an index by open addressing, and the
// sources in slabs, which never move. Changes need the stripe's lock; what
// foresees reads without it.
type directory struct {
	seed  [2]uint64
	arena *arena
	index atomic.Pointer[index]
	slots int      // taken of the slabs, free ones among them
	used  int      // entries of the index
	free  []uint32 // slots that can be taken again
	hand  int      // which slab some looks at next
}

// index is what a directory searches. Both slices are never changed, but for
// the entries themselves.
type index struct {
	entries []uint64 // the upper half of the id's hash, then 1 + the slot; 0 is empty
	slabs   []*slab
}

// slabSources is how many sources memory is taken for at a time.
const slabSources = 64

type slab [slabSources]source

// arena is where slabs come from: large blocks of memory, with large pages where
// the kernel has some.
type arena struct {
	mu   sync.Mutex
	rest []slab
}

// arenaBlock is the size of a block in bytes. What is not touched of it takes no
// memory.
const arenaBlock = 16 << 20

func (a *arena) slab() *slab {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.rest) == 0 {
		a.rest = pages.PreferHuge(make([]slab, arenaBlock/unsafe.Sizeof(slab{})))
	}
	s := &a.rest[0]
	a.rest = a.rest[1:]
	return s
}

// entriesMin is the size of the smallest index.
const entriesMin = 64

func (d *directory) init(seed [2]uint64, from *arena) {
	d.seed, d.arena = seed, from
	d.index.Store(&index{entries: make([]uint64, entriesMin)})
}

// hashSource mixes an id. Ids are drawn at random, but nobody has to obey that.
func hashSource(seed [2]uint64, id uint64) uint64 {
	hi, lo := bits.Mul64(id^seed[0], seed[1])
	hi, lo = bits.Mul64(hi^lo, 0xD6E8FEB86659FD93)
	return hi ^ lo
}

// home is the first place that a hash is looked for; an entry keeps that part.
func (x *index) home(hash uint64) uint64 { return hash >> 32 & uint64(len(x.entries)-1) }

func (x *index) slot(n uint32) *source { return &x.slabs[n/slabSources][n%slabSources] }

// known returns the source with this id, nil without one.
func (d *directory) known(id uint64) *source {
	x := d.index.Load()
	hash := hashSource(d.seed, id)
	for at := x.home(hash); ; at = (at + 1) & uint64(len(x.entries)-1) {
		e := x.entries[at]
		if e == 0 {
			return nil
		}
		if e>>32 == hash>>32 {
			if src := x.slot(uint32(e) - 1); src.id == id {
				return src
			}
		}
	}
}

// add takes a slot for a source that is not known. The caller fills it.
func (d *directory) add(id uint64) *source {
	x := d.index.Load()
	if 2*(d.used+1) > len(x.entries) {
		x = x.grown()
		d.index.Store(x)
	}
	n := uint32(d.slots)
	if last := len(d.free) - 1; last >= 0 {
		n, d.free = d.free[last], d.free[:last]
	} else {
		if d.slots%slabSources == 0 {
			x = &index{x.entries, append(x.slabs[:len(x.slabs):len(x.slabs)], d.arena.slab())}
			d.index.Store(x)
		}
		d.slots++
	}
	d.used++
	x.insert(hashSource(d.seed, id)>>32<<32 | uint64(n+1))
	return x.slot(n)
}

// grown returns an index twice as large, with the same entries.
func (x *index) grown() *index {
	large := &index{make([]uint64, 2*len(x.entries)), x.slabs}
	for _, e := range x.entries {
		if e != 0 {
			large.insert(e)
		}
	}
	return large
}

func (x *index) insert(entry uint64) {
	at := x.home(entry)
	for x.entries[at] != 0 {
		at = (at + 1) & uint64(len(x.entries)-1)
	}
	atomic.StoreUint64(&x.entries[at], entry)
}

// remove forgets a source that is known, and clears it.
func (d *directory) remove(src *source) {
	x := d.index.Load()
	mask := uint64(len(x.entries) - 1)
	at := x.home(hashSource(d.seed, src.id))
	for e := x.entries[at]; x.slot(uint32(e)-1) != src; e = x.entries[at] {
		at = (at + 1) & mask
	}
	d.free = append(d.free, uint32(x.entries[at])-1)
	d.used--
	*src = source{}
	// Close the gap: an entry behind it that would not be found any more moves
	// into it, and leaves one of its own.
	for next := (at + 1) & mask; ; next = (next + 1) & mask {
		e := x.entries[next]
		if e == 0 {
			break
		}
		if (next-x.home(e))&mask >= (next-at)&mask {
			atomic.StoreUint64(&x.entries[at], e)
			at = next
		}
	}
	atomic.StoreUint64(&x.entries[at], 0)
}

// all goes through the sources. The one that it is at may be removed.
func (d *directory) all() iter.Seq[*source] {
	return func(yield func(*source) bool) {
		for _, b := range d.index.Load().slabs {
			for i := range b {
				if b[i].standing != 0 && !yield(&b[i]) {
					return
				}
			}
		}
	}
}

// some goes through a few of the sources, and through others the next time. The one
// that it is at may be removed.
func (d *directory) some() iter.Seq[*source] {
	return func(yield func(*source) bool) {
		slabs := d.index.Load().slabs
		if len(slabs) == 0 {
			return
		}
		d.hand = (d.hand + 1) % len(slabs)
		for i := range slabs[d.hand] {
			if src := &slabs[d.hand][i]; src.standing != 0 && !yield(src) {
				return
			}
		}
	}
}

// entry is the place in the index where an id with this hash is looked for
// first, whatever is there by now.
func (d *directory) entry(hash uint64) *uint64 {
	x := d.index.Load()
	return &x.entries[x.home(hash)]
}

// guess is the source that this hash very likely belongs to, nil where there is
// none. Its id may be another, and only the holder of the lock may look.
func (d *directory) guess(hash uint64) *source {
	x := d.index.Load()
	for at := x.home(hash); ; at = (at + 1) & uint64(len(x.entries)-1) {
		e := atomic.LoadUint64(&x.entries[at])
		if e == 0 {
			return nil
		}
		if e>>32 == hash>>32 && uint32(e) != 0 {
			if n := uint32(e) - 1; int(n/slabSources) < len(x.slabs) {
				return x.slot(n)
			}
			return nil
		}
	}
}
