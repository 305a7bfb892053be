package storage

import "slices"

// AddBooks adds books to those of the same account in sums, which stays in order.
func AddBooks(sums, books []Book) []Book {
	for i := range books {
		at, found := slices.BinarySearchFunc(sums, &books[i], func(b Book, o *Book) int { return b.Compare(o) })
		if found {
			sums[at].Add(&books[i])
			continue
		}
		sums = slices.Insert(sums, at, books[i].Clone())
	}
	return sums
}

// With is w widened to hold o.
func (w Window) With(o Window) Window {
	if w == (Window{}) {
		return o
	}
	config := w.Config
	if o.End >= w.End && o.Config != 0 || config == 0 {
		config = o.Config
	}
	return Window{Start: min(w.Start, o.Start), End: max(w.End, o.End), Config: config}
}

// Clone returns a copy that shares nothing with b.
func (b *Book) Clone() Book {
	c := *b
	c.Spans, c.Names = slices.Clone(b.Spans), slices.Clone(b.Names)
	return c
}

// Divide divides events among the books of a stream: each leaves out at most as many as it
// has as sent, and as accepted, which f is told. The result is how many none can leave out.
func Divide(books []*Book, events uint64, f func(b *Book, events uint64)) uint64 {
	for _, b := range books {
		n := min(events, b.Counts[Sent], b.Counts[Accepted])
		if events -= n; f != nil {
			f(b, n)
		}
	}
	return events
}
