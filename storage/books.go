package storage

import "slices"

// AddBooks adds books to those of the same stream in sums, which stays ordered by
// stream.
func AddBooks(sums, books []Book) []Book {
	for i := range books {
		at, found := slices.BinarySearchFunc(sums, books[i].Stream, func(b Book, stream uint16) int {
			return int(b.Stream) - int(stream)
		})
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
