package clickhouse

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// The spans of several collectors are settled as a plain map settles them, in what
// a Reader says and in the view books, with blocks that are stored twice, and
// after merges. The last span of each meeting counts, whatever the order in which
// blocks come.
func TestSpansAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 21))
	server, o := started(t, clickhousetest.Options{})
	now := time.Now().UnixMilli()
	begins := now - 2*time.Hour.Milliseconds()
	type name struct {
		stream    uint16
		source    uint64
		collector uint64
		met       int64
	}
	latest := map[name]storage.Span{}
	want := map[uint16]*storage.BookTotal{}
	var blocks []*storage.Block
	for collector := uint64(1); collector <= 3; collector++ {
		order := r.Perm(5) // of the seals that blocks bring: some that waited were merged
		for number := uint64(1); number <= 4; number++ {
			b := &storage.Block{Collector: collector, Number: number, Checksum: r.Uint32(), Window: storage.Window{Start: begins + int64(number)*1000, End: begins + int64(number+1)*1000}}
			for stream := uint16(1); stream <= 2; stream++ {
				k := storage.Book{Stream: stream, Counts: storage.Counts{storage.Sent: 100, storage.Lost: 100}}
				for source := uint64(1); source <= 60; source++ {
					if r.IntN(3) > 0 {
						continue
					}
					s := randomSpan(r, source, begins, now)
					s.Seal = uint64(1 + order[number])
					k.Spans = append(k.Spans, s)
					if n := (name{stream, source, collector, s.Met}); s.Seal >= latest[n].Seal {
						latest[n] = s
					}
				}
				if want[stream] == nil {
					want[stream] = &storage.BookTotal{Book: storage.Book{Stream: stream}}
				}
				c := k
				c.Spans = nil
				want[stream].Add(&c)
				b.Books = append(b.Books, k)
			}
			blocks = append(blocks, b)
		}
	}
	spans := map[[2]uint64][]storage.Span{}
	for n, s := range latest {
		of := [2]uint64{uint64(n.stream), n.source}
		spans[of] = append(spans[of], s)
	}
	for of, all := range spans {
		met := slices.MinFunc(all, func(a, b storage.Span) int { return int(a.Met - b.Met) }).Met
		if met+1000 > begins+1000 {
			want[uint16(of[0])].Settle(storage.Settle(all, now))
		}
	}

	r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	for _, b := range blocks {
		o.Collector = b.Collector
		s := opened(t, o)
		stored(t, s, b)
		stored(t, s, b)
	}
	check := func() {
		t.Helper()
		reader, err := OpenReader(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := reader.Books(t.Context())
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d books, %v", len(got), err)
		}
		for i := range got {
			if w := want[got[i].Stream]; settled(&got[i]) != settled(w) {
				t.Errorf("stream %d:\n%+v, want\n%+v", got[i].Stream, got[i], *w)
			}
			if w := want[got[i].Stream]; w.Open == 0 || w.OpenSources == 0 {
				t.Errorf("stream %d: nothing is open: %+v", got[i].Stream, *w)
			}
		}
		for _, row := range server.Query("SELECT stream, sum(sent), sum(accepted), sum(lost), sum(open), sum(refused) FROM lectern.books GROUP BY stream ORDER BY stream") {
			var stream uint16
			_, _ = fmt.Sscan(row[0], &stream)
			w := want[stream]
			if got, want := fmt.Sprint(row), fmt.Sprint([]string{row[0], fmt.Sprint(w.Net(storage.Sent)), "0", fmt.Sprint(w.Net(storage.Lost)), fmt.Sprint(w.Open), "0"}); got != want {
				t.Errorf("the view books says %s, want %s", got, want)
			}
		}
	}
	check()
	for _, table := range []string{"spans", "ledger"} {
		if err := server.Exec("OPTIMIZE TABLE lectern." + table + " FINAL"); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if n := server.Query("SELECT count() FROM lectern.spans")[0][0]; n != fmt.Sprint(len(latest)) {
		t.Errorf("%s spans are kept after a merge, want %d", n, len(latest))
	}
}

// Spans of forged sources, each of which says that some 2^48 events came before its
// only one, come to more than 64 bits hold. The books balance all the same, and end
// where those of the other store end.
func TestForgedSpans(t *testing.T) {
	_, o := started(t, clickhousetest.Options{})
	now := time.Now().UnixMilli()
	begins := now - 2*time.Hour.Milliseconds()
	const forged, before = 70_000, 1<<48 - 10
	k := storage.Book{Stream: 1, Counts: storage.Counts{storage.Sent: forged, storage.Accepted: forged}}
	want := storage.BookTotal{Book: k}
	for source := range uint64(forged) {
		s := storage.Span{Source: source, Met: begins + 5_000, Base: before, End: before + 1, Sent: 1, At: now, Seal: 1, Ended: storage.SpanEnded}
		if source%2 == 0 {
			s.Met, s.Ended = now, storage.SpanLive
		}
		k.Spans = append(k.Spans, s)
	}
	o.Collector = 1
	stored(t, opened(t, o), &storage.Block{Collector: 1, Number: 1, Window: storage.Window{Start: begins, End: begins + 1000}, Books: []storage.Book{k}})
	reader, err := OpenReader(o)
	if err != nil {
		t.Fatal(err)
	}
	books, err := reader.Books(t.Context())
	if err != nil || len(books) != 1 {
		t.Fatalf("%d books, %v", len(books), err)
	}
	got := books[0]
	if missing := got.Net(storage.Lost) + got.Open; !got.Balanced() || got.Gap != storage.LostMax || missing != storage.LostMax ||
		got.OpenSources != forged/2 || got.Counts[storage.Saturated] == 0 || got.Net(storage.Sent) != want.Net(storage.Sent)+storage.LostMax {
		t.Errorf("%+v", got)
	}
}

// randomSpan is a span of a meeting of which there are few, so that it replaces
// others. Its times are far from where the settlement would turn while a test runs.
func randomSpan(r *rand.Rand, source uint64, begins, now int64) storage.Span {
	base, length := uint64(r.IntN(2)*r.IntN(1000)), uint64(r.IntN(1000))
	s := storage.Span{Source: source, Base: base, End: base + length, Sent: length, Ended: storage.SpanEnd(r.IntN(3))}
	if r.IntN(4) == 0 {
		s.Sent -= length / 4 // the rest is another's
	}
	s.Lost = s.Sent / uint64(1+r.IntN(8))
	switch r.IntN(20) {
	case 0:
		s.Met = begins - 60_000 // before there are books
	case 1:
		s.Met = now + 600_000 // a clock that is ahead
	default:
		s.Met = []int64{begins + 5_000, now - time.Hour.Milliseconds(), now + 60_000}[r.IntN(3)]
	}
	if s.At = now + 600_000; r.IntN(20) > 0 {
		s.At = []int64{begins + 100_000, now + 60_000}[r.IntN(2)]
	}
	return s
}
