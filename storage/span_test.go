package storage

import (
	"math/big"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// Which spans of a source are settled, and what they come to, case by case.
func TestSettle(t *testing.T) {
	now := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC).UnixMilli()
	ago := func(d time.Duration) int64 { return now - d.Milliseconds() }
	long := ago(time.Hour)
	span := func(base, end, lost uint64, met, at int64, ended SpanEnd) Span {
		return Span{Source: 1, Met: met, Base: base, End: end, Sent: end - base, Lost: lost, At: at, Ended: ended}
	}
	for _, test := range []struct {
		name  string
		spans []Span
		want  Settlement
	}{
		{"one collector has all of it", []Span{span(0, 100, 7, long, now, SpanLive)}, Settlement{0, 7, false}},
		{"handed over, with a gap", []Span{span(0, 100, 7, long, now, SpanLeft), span(130, 200, 1, now, now, SpanLive)}, Settlement{30, 38, false}},
		{"handed over, and both had it for a while", []Span{span(0, 100, 20, long, now, SpanLeft), span(60, 200, 20, now, now, SpanLive)}, Settlement{-40, 0, false}},
		{"the elder has not told", []Span{span(100, 200, 0, now, now, SpanLive)}, Settlement{100, 100, true}},
		{"nobody had the beginning", []Span{span(100, 200, 0, ago(SpanOpenFor), now, SpanLive)}, Settlement{100, 100, false}},
		{"two have it", []Span{span(0, 90, 40, long, now, SpanLive), span(10, 100, 50, long, now, SpanLive)}, Settlement{-80, 10, true}},
		{"one of two has told nothing for long", []Span{span(0, 90, 40, long, ago(SpanOpenFor), SpanLive), span(10, 100, 50, long, now, SpanLive)}, Settlement{-80, 10, false}},
		{"a clock is ahead", []Span{span(0, 90, 40, long, now+time.Hour.Milliseconds(), SpanLive), span(10, 100, 50, long, now, SpanLive)}, Settlement{-80, 10, false}},
		{"it has left, to where nobody knows", []Span{span(0, 100, 3, long, now, SpanLeft)}, Settlement{0, 3, true}},
		{"it has left long ago", []Span{span(0, 100, 3, long, ago(SpanOpenFor), SpanLeft)}, Settlement{0, 3, false}},
		{"it has ended", []Span{span(0, 100, 50, long, now, SpanLeft), span(10, 120, 60, long, now, SpanEnded)}, Settlement{-90, 20, false}},
		{"it was met twice by one", []Span{span(0, 100, 0, long, long, SpanLeft), span(100, 150, 0, ago(time.Minute), now, SpanEnded)}, Settlement{0, 0, false}},
		{"a part is in another's books", []Span{{Source: 1, Met: long, End: 100, Sent: 100, At: long, Ended: SpanLeft}, {Source: 1, Met: long, End: 160, Sent: 55, At: now, Ended: SpanEnded}}, Settlement{5, 5, false}},
	} {
		if got := Settle(test.spans, now); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		total := BookTotal{Book: Book{Counts: Counts{Sent: 1000, Accepted: 900, Lost: 100}}}
		if total.Settle(test.want); !total.Balanced() || total.OpenSources > 0 != test.want.Open {
			t.Errorf("%s: it brings the books to %+v", test.name, total)
		}
	}
}

// One frame of each of many sources says that 2^48 events came before it. The sums
// end, what is beyond stands beside them, and the books go on to balance.
func TestSettleEndsItsSums(t *testing.T) {
	const sources, before = 80_000, 1 << 48
	for _, open := range []bool{false, true} {
		total := BookTotal{Book: Book{Counts: Counts{Sent: sources + 10, Accepted: sources + 3, Lost: 7}}}
		for range sources {
			total.Settle(Settlement{Gap: before, Missing: before, Open: open})
		}
		missing := total.Net(Lost) + total.Open
		if !total.Balanced() || total.Gap != LostMax || missing != LostMax+7 || open != (total.Open == LostMax) {
			t.Errorf("open %v: sent %d, lost %d, open %d, gap %d", open, total.Net(Sent), total.Net(Lost), total.Open, total.Gap)
		}
		wide := new(big.Int).Mul(big.NewInt(sources), big.NewInt(before))
		wide.Sub(wide, big.NewInt(LostMax))
		if !wide.IsUint64() {
			wide.SetUint64(sumMax)
		}
		if want := min(wide.Uint64(), sumMax); total.Counts[Saturated] != want {
			t.Errorf("open %v: saturated %d, want %d", open, total.Counts[Saturated], want)
		}
	}
}

// Of spans by one name the last seal's counts, in whatever order books are added,
// and memory does not grow with what is replaced.
func TestSpansOfAddedBooks(t *testing.T) {
	type name struct {
		source uint64
		met    int64
	}
	r := rand.New(rand.NewPCG(1, 9))
	want := map[name]Span{}
	var all Book
	for _, seal := range r.Perm(5000) {
		s := Span{Source: r.Uint64N(10), Met: r.Int64N(3), End: r.Uint64(), Seal: uint64(seal + 1)}
		all.Add(&Book{Spans: []Span{s}})
		if n := (name{s.Source, s.Met}); s.Seal > want[n].Seal {
			want[n] = s
		}
	}
	if n := cap(all.Spans); n > 4*len(want) {
		t.Errorf("room for %d spans is taken, of which %d count", n, len(want))
	}
	got := map[name]Span{}
	for _, s := range CompactSpans(all.Spans) {
		got[name{s.Source, s.Met}] = s
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
