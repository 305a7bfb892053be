package storage

import "reflect"

// Window is the span of time, by the collector's clock in Unix milliseconds,
// in which what a block or a book says was received: [Start, End).
type Window struct{ Start, End int64 }

// Book is the account of one stream over one window. Every event that a source
// says it sent is exactly one of accepted, refused, shed, lost or damaged, so
//
//	Sent = Accepted + sum of Refused.Events + Shed + Lost + Damaged
//
// holds for each book. Sent comes from the positions in the frames' headers,
// the others from counting.
type Book struct {
	Stream    uint16
	Sent      uint64
	Accepted  uint64
	Lost      int64  // lower than zero when frames arrived that an earlier book called lost
	Damaged   uint64 // sealed, and what became of them is not known: the log was damaged before it went to a store
	Shed      uint64
	Clamped   uint64 // accepted with the arrival's minute in place of their own
	Duplicate uint64 // events of frames that had been taken already; beside the sum
	Stale     uint64 // events of frames too old to tell from duplicates; beside the sum, they stay lost
	Reordered uint64 // events of frames that came after a later one of their source; each is in the sum, as what became of it
	Refused   []Refused
	Spans     []Span // of sources, where other collectors may have seen more of them; beside the sum
}

// Refused counts what was refused for one reason.
type Refused struct {
	Reason string // a word of wire/SPEC.md
	Events uint64 // of frames that were placed: of the others they show as lost, or come again
	Frames uint64
}

// RefusedEvents is the sum over all reasons.
func (b *Book) RefusedEvents() uint64 {
	var sum uint64
	for _, r := range b.Refused {
		sum += r.Events
	}
	return sum
}

// Balanced says whether every event sent is accounted for.
func (b *Book) Balanced() bool {
	return int64(b.Sent) == int64(b.Accepted)+int64(b.RefusedEvents())+int64(b.Shed)+b.Lost+int64(b.Damaged)
}

// zero says that nothing is in it.
func (b *Book) zero() bool {
	rest := *b
	rest.Stream, rest.Refused, rest.Spans = 0, nil, nil
	return len(b.Refused)+len(b.Spans) == 0 && reflect.ValueOf(rest).IsZero()
}

// Add adds another book of the same stream.
func (b *Book) Add(o *Book) {
	b.Sent += o.Sent
	b.Accepted += o.Accepted
	b.Lost += o.Lost
	b.Damaged += o.Damaged
	b.Shed += o.Shed
	b.Clamped += o.Clamped
	b.Duplicate += o.Duplicate
	b.Stale += o.Stale
	b.Reordered += o.Reordered
	b.addSpans(o.Spans)
next:
	for _, r := range o.Refused {
		for i := range b.Refused {
			if b.Refused[i].Reason == r.Reason {
				b.Refused[i].Events += r.Events
				b.Refused[i].Frames += r.Frames
				continue next
			}
		}
		b.Refused = append(b.Refused, r)
	}
}
