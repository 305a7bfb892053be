package storage

import (
	"cmp"
	"slices"
	"time"
)

// Span is what one collector saw of one source, up to a moment: the events from
// position Base up to End. Source and Met name it, within the collector; one of a
// later seal by the same name replaces it. The package comment says when
// a source leaves one and how those of several collectors are settled.
type Span struct {
	Source uint64
	Met    int64   // Unix milliseconds: when the collector met the source
	Base   uint64  // smallest position seen
	End    uint64  // largest position + count seen
	Sent   uint64  // of the events between, those that the books of this collector have as sent
	Lost   uint64  // of Sent, those that did not come
	At     int64   // Unix milliseconds: the moment
	Seal   uint64  // number of the seal that brought it; 0 until there is one
	Ended  SpanEnd // how it stands with the source then
}

// SpanEnd says how it stands with a source at the end of a span.
type SpanEnd uint8

// How it stands with a source.
const (
	SpanLive  SpanEnd = iota // it goes on here
	SpanLeft                 // it goes on here no more: it fell silent, or the collector ended
	SpanEnded                // it said that it was at its end
)

// SpanOpenFor is how long after the last word of a collector about a source it is
// waited for another's: longer than a silence that counts as an end takes to be
// told of.
const SpanOpenFor = 3 * time.Minute

// CompactSpans sorts spans by source and keeps the last of each name: that of the
// last seal, and of several of one seal the last in the list. Blocks do not come in
// the order of seals, since older ones that wait are merged. It works in place.
func CompactSpans(spans []Span) []Span {
	slices.SortStableFunc(spans, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Met, b.Met), cmp.Compare(a.Seal, b.Seal))
	})
	kept := spans[:0]
	for _, s := range spans {
		if n := len(kept); n > 0 && kept[n-1].Source == s.Source && kept[n-1].Met == s.Met {
			kept[n-1] = s
			continue
		}
		kept = append(kept, s)
	}
	return kept
}

// addSpans adds spans to those of the book. It takes no more memory than twice
// what the distinct ones need.
func (b *Book) addSpans(spans []Span) {
	if len(b.Spans)+len(spans) > cap(b.Spans) {
		b.Spans = CompactSpans(b.Spans)
		b.Spans = slices.Grow(b.Spans, len(b.Spans)+len(spans))
	}
	b.Spans = append(b.Spans, spans...)
}

// Settlement is what the spans of one source, from all collectors, say together
// that no collector's books can say alone.
type Settlement struct {
	// Gap is by how many events the source numbered more than all books
	// together have as sent: events that no collector saw any other of around, so
	// they are in nobody's books. Below zero, the books have events twice: what
	// one collector missed and another got.
	Gap int64
	// Missing is how many events did not come to any of the collectors.
	Missing int64
	// Open says that a collector may still tell of more: what is missing is open,
	// and not lost.
	Open bool
}

// Settle settles the spans of one source, of all collectors, as at a time in Unix
// milliseconds. There is at least one.
func Settle(spans []Span, now int64) Settlement {
	var end, sent, lost uint64
	base, met, at, live, ended := spans[0].Base, spans[0].Met, spans[0].At, 0, SpanLive
	recent := func(t int64) bool { // a clock that is far ahead must not keep it open for as long
		return t > now-SpanOpenFor.Milliseconds() && t < now+SpanOpenFor.Milliseconds()
	}
	for i := range spans {
		s := &spans[i]
		base, end = min(base, s.Base), max(end, s.End)
		met, at = min(met, s.Met), max(at, s.At)
		sent, lost = sent+s.Sent, lost+s.Lost
		ended = max(ended, s.Ended)
		if s.Ended == SpanLive && recent(s.At) {
			live++
		}
	}
	gap := int64(end) - int64(sent)
	return Settlement{
		Gap:     gap,
		Missing: int64(lost) + gap,
		// Several have it, and the word of each is of another moment; or who had
		// its beginning has not told yet; or who goes on with it has not.
		Open: live > 1 ||
			base > 0 && recent(met) ||
			live == 0 && ended != SpanEnded && recent(at),
	}
}

// Settle brings a settlement into the books of the source's account. Gaps end at
// LostMax together, and what is beyond is Saturated: one frame can say that 2^48
// events came before it.
func (t *BookTotal) Settle(s Settlement) {
	if over := t.Gap + s.Gap - LostMax; over > 0 {
		t.Counts.Add(Saturated, uint64(over))
		s.Gap, s.Missing = s.Gap-over, s.Missing-over
	}
	t.Gap += s.Gap
	t.AddNet(Lost, s.Gap)
	if s.Open {
		t.AddNet(Lost, -s.Missing)
		t.Open += s.Missing
		t.OpenSources++
	}
}
