package storage

import (
	"cmp"
	"context"
	"slices"
)

// Selection says which rows are meant: those that have all that is set. Where a user is
// set, rows of several readers are none of them.
type Selection struct {
	User   *uint64
	Stream *uint16
	Before uint32 // only minutes before this one, Unix seconds; 0: all
}

// Has says whether a row is meant.
func (s *Selection) Has(stream uint16, minute uint32, user uint64, coarse Coarse) bool {
	return (s.User == nil || user == *s.User && coarse == CoarseNot) && (s.Stream == nil || stream == *s.Stream) &&
		(s.Before == 0 || minute < s.Before)
}

// Forgetting says what was forgotten of one stream, and not of whom.
type Forgetting struct {
	At     int64 // when it was asked for, Unix milliseconds
	Stream uint16
	Rows   uint64
	Events uint64
}

// Forgetter takes rows out of a store for good. What it takes out is counted in the
// same step, so that accepted = stored + forgotten at any time, also where it is killed.
type Forgetter interface {
	// Rows returns the rows that are meant, ordered by CompareKeys. A key may come
	// several times.
	Rows(ctx context.Context, s Selection) ([]Row, error)
	// Forget takes out the rows that are meant, as far as they are stored when it is
	// called, and returns what it has counted of them. What is stored meanwhile may
	// be among them. After an error, or where the process ends, the next call goes on.
	Forget(ctx context.Context, s Selection, at int64) ([]Forgetting, error)
	// Log returns all that was ever forgotten, oldest first.
	Log(ctx context.Context) ([]Forgetting, error)
}

// AddForgetting adds n to that of the same moment and stream in sums, which stays in
// order.
func AddForgetting(sums []Forgetting, n Forgetting) []Forgetting {
	at, found := slices.BinarySearchFunc(sums, n, func(a, b Forgetting) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Stream, b.Stream))
	})
	if !found {
		return slices.Insert(sums, at, n)
	}
	sums[at].Rows += n.Rows
	sums[at].Events += n.Events
	return sums
}
