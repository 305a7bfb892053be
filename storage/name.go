package storage

import (
	"cmp"
	"slices"

	"github.com/lectern/lectern/wire"
)

// Name is one text of one content: what it is called, or another of wire's
// attributes. Names travel in the book of their account, beside the sum, as spans
// do: with the cut into the seal, with the seals into the block, and from there to
// the store before the block's rows. Writing one twice is harmless.
type Name struct {
	Content   uint64
	Attribute wire.Attribute
	Text      string
	At        int64 // Unix milliseconds: when it came
}

// NameCost is what a name counts for where names are bounded, in bytes: its text, and
// what is beside it, in memory or in a file.
func NameCost(text int) int { return text + 64 }

// CompareNames orders names by content and attribute.
func CompareNames(a, b *Name) int {
	return cmp.Or(cmp.Compare(a.Content, b.Content), cmp.Compare(a.Attribute, b.Attribute))
}

// CompactNames sorts names by content and attribute, and keeps the last of each. It
// works in place.
func CompactNames(names []Name) []Name {
	slices.SortStableFunc(names, func(a, b Name) int { return CompareNames(&a, &b) })
	kept := names[:0]
	for i := range names {
		n := len(kept) - 1
		switch {
		case n < 0 || CompareNames(&kept[n], &names[i]) != 0:
			kept = append(kept, names[i])
		case names[i].At >= kept[n].At:
			kept[n] = names[i]
		}
	}
	clear(names[len(kept):])
	return kept
}

// addNames adds names to those of the book. It takes no more memory than twice what
// the distinct ones need.
func (b *Book) addNames(names []Name) {
	if len(b.Names)+len(names) > cap(b.Names) {
		b.Names = CompactNames(b.Names)
		b.Names = slices.Grow(b.Names, len(b.Names)+len(names))
	}
	b.Names = append(b.Names, names...)
}

// NamesCost is what the names of books count for, in bytes.
func NamesCost(books []Book) (bytes int) {
	for i := range books {
		for _, n := range books[i].Names {
			bytes += NameCost(len(n.Text))
		}
	}
	return bytes
}
