package live

import (
	"cmp"
	"math/bits"
	"unsafe"

	"github.com/lectern/lectern/storage/pages"
)

// content is what is read: its readers, and in the same place of contents.series its
// opens.
type content struct {
	id          uint64
	minute, all uint32 // readers of the last minute, and of five
	stream      uint16 // its place in streams
	used        bool
}

// contents are found by stream and id.
type contents struct {
	most   int
	seed   [2]uint64
	list   []content
	series []series
	free   []uint32 // places of the list that are empty
	index  []uint32 // 0, or a place of the list plus 1
	swept  uint32   // the second in which it was looked for idle ones for want of room

	memory       *pages.Memory[content]
	seriesMemory *pages.Memory[series]
}

const contentsFirst = 1 << 10

// contentBytes is what a content takes, with its places in the index and in free, which are
// copied when they grow.
const contentBytes = int(unsafe.Sizeof(content{})+unsafe.Sizeof(series{})) + 2*(4*4+4)

func newContents(most int, seed [3]uint64) *contents {
	c := &contents{most: most, seed: [2]uint64{seed[0], seed[2]}, memory: pages.Make[content](0), seriesMemory: pages.Make[series](0)}
	c.grow(min(most, contentsFirst))
	return c
}

// grow makes room for n contents in all.
func (c *contents) grow(n int) {
	for i := n - 1; i >= len(c.list); i-- {
		c.free = append(c.free, uint32(i))
	}
	c.memory.Grow(n)
	c.seriesMemory.Grow(n)
	c.list, c.series = c.memory.Slice, c.seriesMemory.Slice
	c.reindex()
}

// reindex makes the index anew, with twice as many places as contents at least.
func (c *contents) reindex() {
	if n := 1 << bits.Len(uint(2*len(c.list)-1)); n != len(c.index) {
		c.index = make([]uint32, n)
	} else {
		clear(c.index)
	}
	for i := range c.list {
		if x := &c.list[i]; x.used {
			*c.place(x.stream, x.id) = uint32(i) + 1
		}
	}
}

// home is where a content is looked for first in the index.
func (c *contents) home(stream uint16, id uint64) int {
	return int(mix(id^c.seed[0], uint64(stream)^c.seed[1])>>32) & (len(c.index) - 1)
}

// place is where the index has a content, or would have it.
func (c *contents) place(stream uint16, id uint64) *uint32 {
	mask := len(c.index) - 1
	for at := c.home(stream, id); ; at = (at + 1) & mask {
		i := c.index[at]
		if i == 0 || c.list[i-1].id == id && c.list[i-1].stream == stream {
			return &c.index[at]
		}
	}
}

// find returns a content's place in the list.
func (c *contents) find(stream uint16, id uint64) (at uint32, ok bool) {
	i := *c.place(stream, id)
	return i - 1, i != 0
}

// homeLine is the memory of the index in which a content is looked for first, and lines
// are that of the content that very likely is there, and of its opens of a second.
func (c *contents) homeLine(stream uint16, id uint64) uintptr {
	return uintptr(unsafe.Pointer(&c.index[c.home(stream, id)]))
}

func (c *contents) lines(stream uint16, id uint64, second uint32) (content uintptr, opens [2]uintptr) {
	at := max(1, c.index[c.home(stream, id)]) - 1
	s := &c.series[at]
	opens = [2]uintptr{uintptr(unsafe.Pointer(&s.spans)), uintptr(unsafe.Pointer(&s.minutes[second/60%MinutesKept]))}
	return uintptr(unsafe.Pointer(&c.list[at])), opens
}

// used is how many contents there are.
func (c *contents) used() int { return len(c.list) - len(c.free) }

// add adds a new content and returns its place. The caller has made sure of room.
func (c *contents) add(stream uint16, id uint64) uint32 {
	if len(c.free) == 0 {
		c.grow(min(c.most, 2*len(c.list)))
	}
	at := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.list[at], c.series[at] = content{id: id, stream: stream, used: true}, series{}
	*c.place(stream, id) = at + 1
	return at
}

// makeRoom removes contents that nobody reads, at most once a second: it looks at all.
func (c *contents) makeRoom(now uint32, leaves func(stream uint16)) {
	if c.swept != now {
		c.swept = now
		c.sweep(func(*series) bool { return true }, leaves)
	}
}

// sweep removes those that nobody reads, and whose opens are idle.
func (c *contents) sweep(idle func(*series) bool, leaves func(stream uint16)) {
	removed := false
	for i := range c.list {
		if x := &c.list[i]; x.used && x.all == 0 && idle(&c.series[i]) {
			leaves(x.stream)
			*x = content{}
			c.free = append(c.free, uint32(i))
			removed = true
		}
	}
	if removed {
		c.reindex()
	}
}

// compare is below zero where a stands before b: most readers first.
func (c *contents) compare(a, b uint32, now uint32) int {
	x, y := &c.list[a], &c.list[b]
	if n := cmp.Or(cmp.Compare(y.minute, x.minute), cmp.Compare(y.all, x.all)); n != 0 {
		return n
	}
	return cmp.Or(cmp.Compare(c.series[b].recentOpens(now), c.series[a].recentOpens(now)), cmp.Compare(x.id, y.id))
}
