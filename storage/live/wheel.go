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

// clear empties all lists.
func (w *wheel) clear() {
	for i := range w {
		w[i] = w[i][:0]
	}
}
