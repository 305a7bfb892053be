package spool

import (
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
)

// totals are the events that were sent since the spool was new, by the books of all
// its seals. Each seal says what they are with it: so those of a seal that is
// damaged are known from the next one, and a spool can say what was taken from it.
type totals struct {
	of  map[uint16]uint64 // by stream
	all uint64            // their sum
}

func newTotals() totals { return totals{of: map[uint16]uint64{}} }

// set sets that of a stream.
func (t *totals) set(stream uint16, sent uint64) {
	t.all += sent - t.of[stream]
	t.of[stream] = sent
}

// read sets those that are encoded in b.
func (t *totals) read(b []byte) {
	for ; len(b) > 0; b = b[totalSize:] {
		t.set(le.Uint16(b), le.Uint64(b[2:]))
	}
}

func appendTotal(b []byte, stream uint16, sent uint64) []byte {
	return le.AppendUint64(le.AppendUint16(b, stream), sent)
}

// streamUnknown is that of the books for what no stream is known of.
const streamUnknown = 65535

// missing keeps account of what damaged seals had brought.
type missing struct {
	seal    uint64 // the last one that is missing
	unknown uint64 // events that were sent in them, to streams that are not known yet
	window  storage.Window
}

// excess books what a stream was sent in seals that are missing: what it was sent
// in all is more than the seals that are there say.
func (r *recovery) excess(stream uint16, sent uint64) {
	if known := r.s.sent.of[stream]; sent > known {
		r.damaged(stream, sent-known)
	}
}

// damaged books events of seals that are missing. What is flushed is not missing.
// Where of several seals in a row some are flushed, what these brought is counted
// again: nobody knows how much that was, and none of it is to go unsaid.
func (r *recovery) damaged(stream uint16, events uint64) {
	if events == 0 || r.missing.seal <= r.s.applied.Through {
		return
	}
	out := r.out
	out.Books = storage.AddBooks(out.Books, []storage.Book{{Stream: stream, Sent: events, Damaged: events}})
	out.Window = out.Window.With(r.missing.window)
	out.Damaged += events
}

// known takes the totals of a seal. Those of its own books are in it.
func (r *recovery) known(body *sealBody) {
	s := r.s
	r.missing.window = body.window
	if books, ok := codec.GetBooks(body.rest, body.books); ok {
		for i, b := body.sent, 0; len(i) > 0; i, b = i[totalSize:], b+1 {
			r.excess(le.Uint16(i), le.Uint64(i[2:])-min(books[b].Sent, le.Uint64(i[2:])))
		}
	}
	s.sent.read(body.sent)
	r.missing.unknown = body.all - min(body.all, s.sent.all)
}

// knownAll takes the totals of a snapshot.
func (r *recovery) knownAll(sent totals, at int64) {
	r.missing.window = storage.Window{Start: at, End: at}
	if r.begun {
		for stream, n := range sent.of {
			r.excess(stream, n)
		}
	}
	r.s.sent, r.missing.unknown = sent, 0
}

// bookUnknown books at the end what no stream is known of.
func (r *recovery) bookUnknown() {
	if n := r.missing.unknown; n > 0 && r.missing.seal > r.s.applied.Through {
		r.damaged(streamUnknown, n)
		r.s.sent.set(streamUnknown, r.s.sent.of[streamUnknown]+n)
		r.missing.unknown = 0
	}
}
