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
		sums = slices.Insert(sums, at, cloneBook(&books[i]))
	}
	return sums
}

// With is w widened to hold o.
func (w Window) With(o Window) Window {
	if w == (Window{}) {
		return o
	}
	return Window{Start: min(w.Start, o.Start), End: max(w.End, o.End)}
}
