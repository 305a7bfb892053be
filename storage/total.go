package storage

import (
	"slices"

	"github.com/lectern/lectern/wire"
)

// BookTotal is the sum of an account's books, beside what its rows hold. The spans
// of its sources are settled in it: what one collector missed and another got is
// not lost, and what came to none is.
type BookTotal struct {
	Book
	Gap         int64  // events that the books of all collectors together miss, below zero those that they have twice
	Open        int64  // missing, of sources of which a collector may still tell more: either lost, or accepted elsewhere
	OpenSources uint64 // how many sources that are
	Stored      uint64 // events in the stored rows, counted from the rows themselves
	Forgotten   uint64 // events that were stored, and taken out on demand
}

// Net is a counter as ledgers have it, settled: what was sent is more by the gap.
func (t *BookTotal) Net(c Counter) int64 {
	if c == Sent {
		return t.Book.Net(Sent) + t.Gap
	}
	return t.Book.Net(c)
}

// Balanced says whether every event sent is accounted for.
func (t *BookTotal) Balanced() bool { return t.Net(Sent) == t.Accounted()+t.Open }

// AddsUp says whether the books balance, nothing is lost below zero, and every
// accepted event is stored, or was forgotten, none of them damaged before.
func (t *BookTotal) AddsUp() bool {
	return t.Balanced() && t.Net(Lost) >= 0 && t.Counts[Damaged] == 0 && t.Counts[Accepted] == t.Stored+t.Forgotten
}

// BookTotals adds books up by account.
type BookTotals map[Account]*BookTotal

// Of is the total of an account.
func (t BookTotals) Of(a Account) *BookTotal {
	total, ok := t[a]
	if !ok {
		total = &BookTotal{Book: Book{Stream: a.Stream, Class: a.Class}}
		t[a] = total
	}
	return total
}

// List returns the totals in order of account. stored is how many events the rows of
// each stream hold, forgotten how many were taken out of them. Neither has a class: each
// account of the stream has as many as it has accepted, as far as they go, and what is
// left over is the unsealed one's.
func (t BookTotals) List(stored, forgotten map[uint16]uint64) []BookTotal {
	t.share(stored, func(total *BookTotal) (*uint64, uint64) { return &total.Stored, total.Counts[Accepted] })
	t.share(forgotten, func(total *BookTotal) (*uint64, uint64) {
		return &total.Forgotten, total.Counts[Accepted] - min(total.Stored, total.Counts[Accepted])
	})
	list := make([]BookTotal, 0, len(t))
	for _, total := range t {
		list = append(list, *total)
	}
	slices.SortFunc(list, func(a, b BookTotal) int { return a.Book.Compare(&b.Book) })
	return list
}

// share gives the events of each stream to its accounts: to names the number of an
// account, and how many it may have.
func (t BookTotals) share(events map[uint16]uint64, to func(*BookTotal) (number *uint64, most uint64)) {
	for stream, left := range events {
		for class := Classes - 1; class > Unsealed; class-- {
			if total := t[Account{stream, class}]; total != nil {
				number, most := to(total)
				*number = min(left, most)
				left -= *number
			}
		}
		if unsealed := t[Account{stream, Unsealed}]; unsealed != nil || left > 0 {
			number, _ := to(t.Of(Account{stream, Unsealed}))
			*number = left
		}
	}
}

// ByReason is what a family's counters say, by the words of the reasons; those at 0
// are left out.
func (b *Book) ByReason(f Family) map[string]uint64 {
	words := make(map[string]uint64)
	for why := range wire.Refusal(wire.Refusals) {
		if n := b.Counts[f.Of(why)]; n != 0 {
			words[Reason(why)] = n
		}
	}
	return words
}
