package spool

import (
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
)

// totals are the events that were sent since the spool was new, by the books of all
// its seals. Each seal says what they are with it: so those of a seal that is
// damaged are known from the next one, and a spool can say what was taken from it.
type totals struct {
	of  map[storage.Account]uint64
	all uint64 // their sum
}

func newTotals() totals { return totals{of: map[storage.Account]uint64{}} }

// set sets that of an account.
func (t *totals) set(a storage.Account, sent uint64) {
	t.all += sent - t.of[a]
	t.of[a] = sent
}

// read sets those that are encoded in b.
func (t *totals) read(b []byte) {
	for ; len(b) > 0; b = b[totalSize:] {
		t.set(getTotal(b))
	}
}

func appendTotal(b []byte, a storage.Account, sent uint64) []byte {
	return le.AppendUint64(append(le.AppendUint16(b, a.Stream), byte(a.Class)), sent)
}

func getTotal(b []byte) (a storage.Account, sent uint64) {
	return storage.Account{Stream: le.Uint16(b), Class: storage.Class(b[2])}, le.Uint64(b[3:])
}

// unknown is the account of what no stream is known of.
var unknown = storage.Account{Stream: 65535}

// missing keeps account of what damaged seals had brought.
type missing struct {
	seal    uint64 // the last one that is missing
	unknown uint64 // events that were sent in them, to accounts that are not known yet
	window  storage.Window
}

// excess books what an account was sent in seals that are missing: what it was sent
// in all is more than the seals that are there say.
func (r *recovery) excess(a storage.Account, sent uint64) {
	if known := r.s.sent.of[a]; sent > known {
		r.damaged(a, sent-known)
	}
}

// damaged books events of seals that are missing. What is flushed is not missing.
// Where of several seals in a row some are flushed, what these brought is counted
// again: nobody knows how much that was, and none of it is to go unsaid.
func (r *recovery) damaged(a storage.Account, events uint64) {
	if events == 0 || r.missing.seal <= r.s.applied.Through {
		return
	}
	out := r.out
	out.Books = storage.AddBooks(out.Books, []storage.Book{{Stream: a.Stream, Class: a.Class, Counts: storage.Counts{storage.Sent: events, storage.Damaged: events}}})
	out.Window = out.Window.With(r.missing.window)
	out.Damaged += events
}

// known takes the totals of a seal. Those of its own books are in it.
func (r *recovery) known(body *sealBody) {
	s := r.s
	r.missing.window = body.window
	if books, ok := codec.GetBooks(body.rest, body.books); ok {
		for i, b := body.sent, 0; len(i) > 0; i, b = i[totalSize:], b+1 {
			a, sent := getTotal(i)
			r.excess(a, sent-min(books[b].Counts[storage.Sent], sent))
		}
	}
	s.sent.read(body.sent)
	r.missing.unknown = body.all - min(body.all, s.sent.all)
}

// knownAll takes the totals of a snapshot.
func (r *recovery) knownAll(sent totals, at int64) {
	r.missing.window = storage.Window{Start: at, End: at}
	if r.begun {
		for a, n := range sent.of {
			r.excess(a, n)
		}
	}
	r.s.sent, r.missing.unknown = sent, 0
}

// bookUnknown books at the end what no stream is known of.
func (r *recovery) bookUnknown() {
	if n := r.missing.unknown; n > 0 && r.missing.seal > r.s.applied.Through {
		r.damaged(unknown, n)
		r.s.sent.set(unknown, r.s.sent.of[unknown]+n)
		r.missing.unknown = 0
	}
}
