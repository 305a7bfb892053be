package live

// wheel has the places of slots that are due in the minute that is running, by second. It
// is filled when that begins, and when slots have moved. A slot may stand there though it
// is due later, or twice: whoever looks at it sees that.
type wheel [minuteSeconds][]uint32

// put notes a slot for a second of the minute that is running.
func (w *wheel) put(second uint32, at int) {
	l := &w[second%minuteSeconds]
	*l = append(*l, uint32(at))
}

// clear empties all lists, where used slots are in use. A list that was long keeps memory
// for twice its share of them at most: a crowd may come in another second each minute.
func (w *wheel) clear(used int) {
	for i := range w {
		if cap(w[i]) > 2*used/minuteSeconds+wheelSpare {
			w[i] = nil
		}
		w[i] = w[i][:0]
	}
}

// wheelSpare is for how many slots each list may keep memory, however few are in use.
const wheelSpare = 1 << 10
