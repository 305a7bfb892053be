package live

import (
	"math"
	"unsafe"

	"github.com/lectern/lectern/storage/pages"
)

// whole is a reader of a stream, however many of its contents he is with.
type whole struct {
	user        uint64
	stream      uint16 // its place plus 1; 0: nobody
	minute, all uint16 // contents that he was with in the last minute, and in five
}

// contentsOfOne is with how many contents of a stream one reader may be.
const contentsOfOne = math.MaxUint16

// wholes are found by stream and user. They grow, up to a limit.
type wholes struct {
	seed  [2]uint64
	list  []whole
	shift int // of a hash, which leaves its home
	used  int
	most  int // readers there may be

	memory *pages.Memory[whole]
}

// clear forgets all.
func (w *wholes) clear() {
	if w.memory != nil {
		w.memory.Free()
	}
	w.allocate(slotsFirst)
}

func (w *wholes) allocate(n int) {
	w.memory = pages.Make[whole](n)
	w.used = 0
	w.take()
}

// take uses all of the memory.
func (w *wholes) take() { w.list, w.shift = w.memory.Slice, shiftOf(len(w.memory.Slice)) }

// home is where a reader is looked for first.
func (w *wholes) home(stream uint16, user uint64) int {
	return int(mix(uint64(stream)^w.seed[1], user^w.seed[0]) >> w.shift)
}

func (w *wholes) line(stream uint16, user uint64) uintptr {
	return uintptr(unsafe.Pointer(&w.list[w.home(stream, user)]))
}

// find returns where a reader is, or the empty place where he would be.
func (w *wholes) find(stream uint16, user uint64) (at int, found bool) {
	mask := len(w.list) - 1
	for at = w.home(stream, user); ; at = (at + 1) & mask {
		switch x := &w.list[at]; {
		case x.stream == 0:
			return at, false
		case x.user == user && x.stream == stream+1:
			return at, true
		}
	}
}

// reserve sees to it that n more fit without long searches, as far as the limit.
func (w *wholes) reserve(n int) {
	if w.used+n > len(w.list)/4*3 && len(w.list) < slotsFor(w.most) {
		w.grow()
	}
}

// grow doubles the list where it lies, as that of table does.
func (w *wholes) grow() {
	n := len(w.list)
	w.memory.Grow(2 * n)
	w.take()
	var later []whole
	for i := n - 1; i >= 0; i-- {
		x := w.list[i]
		if x.stream == 0 {
			continue
		}
		w.list[i] = whole{}
		home := w.home(x.stream-1, x.user)
		at, _ := w.find(x.stream-1, x.user)
		if home < i || at < home {
			later = append(later, x)
			continue
		}
		w.list[at] = x
	}
	for _, x := range later {
		at, _ := w.find(x.stream-1, x.user)
		w.list[at] = x
	}
}

// shrink moves everybody to fewer places, and gives memory back.
func (w *wholes) shrink(n int) {
	old := *w
	w.allocate(n)
	for i := range old.list {
		if x := &old.list[i]; x.stream != 0 {
			at, _ := w.find(x.stream-1, x.user)
			w.put(at, *x)
		}
	}
	old.memory.Free()
}

// put fills the empty place that find has returned.
func (w *wholes) put(at int, x whole) {
	w.list[at] = x
	w.used++
}

// remove forgets a reader, and moves those behind him who would not be found then.
func (w *wholes) remove(at int) {
	mask := len(w.list) - 1
	for next := at; ; {
		next = (next + 1) & mask
		x := &w.list[next]
		if x.stream == 0 {
			break
		}
		if home := w.home(x.stream-1, x.user); (next-home)&mask >= (next-at)&mask {
			w.list[at] = *x
			at = next
		}
	}
	w.list[at] = whole{}
	w.used--
}
