package live

// wheel has the beginnings of the prints of slots that are due, by second. One stays in
// the list that it was put into, also when its slot is due at another moment meanwhile, or
// is gone: who looks for it sees that.
type wheel struct {
	lists [wheelSeconds][]uint32
	spare [][]uint32 // to be filled again
}

// wheelSeconds is more than what a slot may be put off.
const wheelSeconds = 1 << 10

// spareMax is how many lists are kept to be filled again.
const spareMax = 64

func (w *wheel) put(second uint32, print uint64) {
	l := &w.lists[second%wheelSeconds]
	if *l == nil && len(w.spare) > 0 {
		*l = w.spare[len(w.spare)-1]
		w.spare = w.spare[:len(w.spare)-1]
	}
	*l = append(*l, uint32(print>>32))
}

// take takes the list of a second out; give brings it back.
func (w *wheel) take(second uint32) []uint32 {
	l := w.lists[second%wheelSeconds]
	w.lists[second%wheelSeconds] = nil
	return l
}

func (w *wheel) give(l []uint32) {
	if cap(l) > 0 && len(w.spare) < spareMax {
		w.spare = append(w.spare, l[:0])
	}
}
