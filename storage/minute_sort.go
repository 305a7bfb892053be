package storage

import "math/bits"

// insertionMax is how many slots are sorted by insertion: a pass over fewer costs
// more in its counters than it saves.
const insertionMax = 32

// sortSlots orders slots by content and user, in place: a radix sort from the
// highest bits that differ, since the slots of a minute are many, and moving each
// two or three times is cheaper than comparing each with twenty others.
func sortSlots(s []minuteSlot) { radixSort(s, contentOf) }

// idOf is one of a slot's ids.
type idOf int

const (
	contentOf idOf = iota
	userOf
)

func (id idOf) of(s *minuteSlot) uint64 {
	if id == contentOf {
		return s.content
	}
	return s.user
}

// radixSort orders slots by an id, and by the user where the content is one.
func radixSort(s []minuteSlot, id idOf) {
	if len(s) <= insertionMax {
		insertionSort(s)
		return
	}
	first, differ := id.of(&s[0]), uint64(0)
	for i := range s {
		differ |= id.of(&s[i]) ^ first
	}
	switch {
	case differ == 0 && id == contentOf:
		radixSort(s, userOf)
		return
	case differ == 0:
		return
	}
	shift := max(0, bits.Len64(differ)-8)
	ends := partition(s, id, shift)
	start := 0
	for _, end := range ends {
		if end-start > 1 {
			radixSort(s[start:end], id)
		}
		start = end
	}
}

// partition moves slots to one of 256 parts each, by eight bits of an id, and
// returns where each part ends.
func partition(s []minuteSlot, id idOf, shift int) (ends [256]int) {
	var next [256]int // where a part's next slot goes
	for i := range s {
		ends[uint8(id.of(&s[i])>>shift)]++
	}
	sum := 0
	for i, n := range ends {
		next[i] = sum
		sum += n
		ends[i] = sum
	}
	for part := range ends {
		for next[part] < ends[part] {
			slot := s[next[part]]
			for {
				to := uint8(id.of(&slot) >> shift)
				at := next[to]
				next[to]++
				if int(to) == part {
					s[at] = slot
					break
				}
				slot, s[at] = s[at], slot
			}
		}
	}
	return ends
}

// insertionSort orders few slots.
func insertionSort(s []minuteSlot) {
	for i := 1; i < len(s); i++ {
		slot, at := s[i], i
		for ; at > 0 && slot.before(&s[at-1]); at-- {
			s[at] = s[at-1]
		}
		s[at] = slot
	}
}

// before orders as CompareKeys does within a minute of a stream.
func (s *minuteSlot) before(o *minuteSlot) bool {
	return s.content < o.content || s.content == o.content && s.user < o.user
}
