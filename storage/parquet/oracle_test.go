package parquet

import (
	"cmp"
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
)

// key is what rows add up by.
type key struct {
	stream        uint16
	minute        uint32
	content, user uint64
	coarse        storage.Coarse
	skipped       uint32
	variant       uint8
}

// oracle says with plain maps what must be stored.
type oracle struct {
	rows  map[key]storage.Row
	books map[uint16]storage.BookTotal

	spans  map[spanKey]storage.Span // the last of each
	begins int64                    // of the first window with books
}

// spanKey names a span.
type spanKey struct {
	stream            uint16
	collector, source uint64
	met               int64
}

func newOracle() *oracle {
	return &oracle{rows: map[key]storage.Row{}, books: map[uint16]storage.BookTotal{}, spans: map[spanKey]storage.Span{}, begins: math.MaxInt64}
}

func (o *oracle) take(b *storage.Block) {
	for i := range b.Rows.Len() {
		r := b.Rows.Row(i)
		k := key{r.Stream, r.Minute, r.Content, r.User, r.Coarse, r.Skipped, r.Variant}
		sum, ok := o.rows[k]
		if ok {
			r.Opens += sum.Opens
			r.Reads += sum.Reads
			r.Finishes += sum.Finishes
			r.Saves += sum.Saves
			r.Shares += sum.Shares
			r.Impressions += sum.Impressions
			r.Clicks += sum.Clicks
			// The later of two, and the further one of the same millisecond.
			at, before := r.Last-int64(r.ResumeLag), sum.Last-int64(sum.ResumeLag)
			if r.Resume == 0 || sum.Resume > 0 && (before > at || before == at && sum.Resume > r.Resume) {
				r.Resume, at = sum.Resume, before
			}
			if r.ResumeLag = 0; r.Resume > 0 {
				r.ResumeLag = uint16(max(r.Last, sum.Last) - at)
			}
			r.Dwell += sum.Dwell
			r.Progress = max(r.Progress, sum.Progress)
			r.First = min(r.First, sum.First)
			r.Last = max(r.Last, sum.Last)
		}
		o.rows[k] = r
		one := b.Rows.Row(i)
		t := o.books[r.Stream]
		t.Stream = r.Stream
		t.Stored += uint64(one.Opens) + uint64(one.Reads) + uint64(one.Finishes) + uint64(one.Saves) + uint64(one.Shares) + uint64(one.Impressions) + uint64(one.Clicks)
		o.books[r.Stream] = t
	}
	for _, book := range b.Books {
		o.begins = min(o.begins, b.Window.Start)
		for _, s := range book.Spans {
			if k := (spanKey{book.Stream, b.Collector, s.Source, s.Met}); s.Seal >= o.spans[k].Seal {
				o.spans[k] = s
			}
		}
		t := o.books[book.Stream]
		t.Stream = book.Stream
		for c, n := range book.Counts {
			t.Counts[c] += n
		}
		o.books[book.Stream] = t
	}
}

// settled are the books of a stream with its spans settled, one source after the
// other.
func (o *oracle) settled(t storage.BookTotal, now int64) storage.BookTotal {
	of := map[uint64][]storage.Span{}
	for k, s := range o.spans {
		if k.stream == t.Stream {
			of[k.source] = append(of[k.source], s)
		}
	}
	for _, all := range of {
		if slices.ContainsFunc(all, func(s storage.Span) bool { return s.Met+1000 <= o.begins }) {
			continue
		}
		t.Settle(storage.Settle(all, now))
	}
	return t
}

func (o *oracle) top(q storage.TopQuery) []storage.TopRow {
	type id struct {
		stream uint16
		id     uint64
	}
	sums, others := map[id]storage.TopRow{}, map[id]map[uint64]bool{}
	for k, r := range o.rows {
		if k.minute < q.Since || len(q.Streams) > 0 && !slices.Contains(q.Streams, k.stream) {
			continue
		}
		g, other, coarsest := id{k.stream, k.content}, k.user, storage.CoarseUsers
		if q.By == storage.ByUser {
			g, other, coarsest = id{k.stream, k.user}, k.content, storage.CoarseNot
		}
		if k.coarse > coarsest || k.variant > 0 {
			continue
		}
		s := sums[g]
		s.Stream, s.ID = g.stream, g.id
		weight := 1 + uint64(k.skipped)
		s.Opens += uint64(r.Opens) * weight
		s.Reads += uint64(r.Reads) * weight
		s.Finishes += uint64(r.Finishes) * weight
		s.Saves += uint64(r.Saves) * weight
		s.Shares += uint64(r.Shares) * weight
		s.Dwell += r.Dwell * weight
		sums[g] = s
		if others[g] == nil {
			others[g] = map[uint64]bool{}
		}
		if k.coarse == storage.CoarseNot {
			others[g][other] = true
		}
	}
	var top []storage.TopRow
	for g, s := range sums {
		s.Others = uint64(len(others[g]))
		top = append(top, s)
	}
	sorted := func(r storage.TopRow) uint64 {
		return []uint64{r.Opens, r.Reads, r.Finishes, r.Saves, r.Shares, r.Dwell}[q.Sort]
	}
	slices.SortFunc(top, func(a, b storage.TopRow) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), -cmp.Compare(sorted(a), sorted(b)),
			-cmp.Compare(a.Opens, b.Opens), -cmp.Compare(a.Reads, b.Reads), -cmp.Compare(a.Dwell, b.Dwell), cmp.Compare(a.ID, b.ID))
	})
	of := map[uint16]int{}
	return slices.DeleteFunc(top, func(r storage.TopRow) bool {
		of[r.Stream]++
		return of[r.Stream] > q.Limit
	})
}

// stored reads all rows back, and adds up those of the same key.
func stored(ctx context.Context, r *Reader) (map[key]storage.Row, error) {
	rows := map[key]storage.Row{}
	err := r.again(ctx, func() error {
		clear(rows)
		files, err := r.snapshot(ctx, reads, 0)
		if err != nil {
			return err
		}
		all := seeker{reader: r, files: files, wanted: wantedRows(&storage.TopQuery{}), passes: 1}
		return all.scan(ctx, allColumns, func(s *scan) {
			for i := range s.rows {
				row := s.row(i)
				k := key{row.Stream, row.Minute, row.Content, row.User, row.Coarse, row.Skipped, row.Variant}
				if sum, ok := rows[k]; ok {
					row.Add(&sum)
				}
				rows[k] = row
			}
		})
	})
	return rows, err
}

// verifyContents compares the rows and the books with the oracle.
func (o *oracle) verifyContents(t *testing.T, dir string) {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := stored(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(rows, o.rows) {
		t.Fatalf("%d rows are not those expected (%d)", len(rows), len(o.rows))
	}
	o.verifyBooks(t, r)
}

// verify compares all that a reader tells with the oracle.
func (o *oracle) verify(t *testing.T, dir string) {
	t.Helper()
	o.verifyContents(t, dir)
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []storage.TopQuery{
		{Limit: 5}, {By: storage.ByUser, Limit: 1000}, {Limit: 3, Streams: []uint16{1, 9}},
		{By: storage.ByUser, Limit: 4, Since: testDay*secondsPerDay + 600}, {Limit: 7, Since: (testDay + 1) * secondsPerDay, Streams: []uint16{0}},
		{Limit: 1}, {Limit: 2, Sort: storage.SortReads}, {Limit: 2, Sort: storage.SortFinishes, By: storage.ByUser}, {Limit: 3, Sort: storage.SortSaves},
		{Limit: 2, Sort: storage.SortShares}, {Limit: 2, Sort: storage.SortDwell},
	} {
		top, err := r.Top(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if want := o.top(q); len(top) != len(want) || len(want) > 0 && !reflect.DeepEqual(top, want) {
			t.Fatalf("Top(%+v)\n got %v\nwant %v", q, top, want)
		}
	}
}

func (o *oracle) verifyBooks(t *testing.T, r *Reader) {
	t.Helper()
	r.most = 5 // so that sources are settled in several passes
	now := int64(testDay*secondsPerDay+3600) * 1000
	r.now = func() time.Time { return time.UnixMilli(now) }
	books, err := r.Books(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want []storage.BookTotal
	for _, b := range o.books {
		want = append(want, o.settled(b, now))
	}
	slices.SortFunc(want, func(a, b storage.BookTotal) int { return cmp.Compare(a.Stream, b.Stream) })
	for _, all := range [][]storage.BookTotal{books, want} { // a ledger has what is lost, and what of it was found, as one number
		for i := range all {
			k := &all[i].Counts
			found := min(k[storage.Lost], k[storage.Found])
			k[storage.Lost], k[storage.Found] = k[storage.Lost]-found, k[storage.Found]-found
		}
	}
	if len(books) != len(want) || len(want) > 0 && !reflect.DeepEqual(books, want) {
		t.Fatalf("books\n got %+v\nwant %+v", books, want)
	}
}

// randomBlock makes a block of up to 40 rows of few keys; one in six has no rows,
// and one in three no books.
func randomBlock(r *rand.Rand, collector, number uint64) *storage.Block {
	end := int64(testDay*secondsPerDay+r.IntN(2*3600))*1000 + int64(r.IntN(1000))
	b := &storage.Block{Collector: collector, Number: number, Window: storage.Window{Start: end - 10_000, End: end}}
	rows := map[key]storage.Row{}
	if r.IntN(6) > 0 {
		b.Day = testDay + uint32(r.IntN(3)) - 1
		for range 1 + r.IntN(40) {
			k := key{stream: uint16(r.IntN(3)), minute: b.Day*secondsPerDay + uint32(r.IntN(20))*60, content: r.Uint64N(4) << 62, user: r.Uint64N(5) | 1<<63}
			if r.IntN(4) == 0 {
				k.coarse, k.skipped = storage.Coarse(r.IntN(storage.Coarses)), uint32(r.IntN(2))*9
			}
			at := int64(k.minute)*1000 + r.Int64N(60_000)
			if r.IntN(5) == 0 {
				k.variant = uint8(1 + r.IntN(2))
				rows[k] = storage.Row{
					Stream: k.stream, Minute: k.minute, Content: k.content, User: k.user, Variant: k.variant, Coarse: k.coarse, Skipped: k.skipped,
					Impressions: uint32(r.IntN(9)), Clicks: uint32(r.IntN(2)), First: at, Last: at + r.Int64N(1000),
				}
				continue
			}
			rows[k] = storage.Row{
				Stream: k.stream, Minute: k.minute, Content: k.content, User: k.user,
				Opens: uint32(r.IntN(3)), Reads: uint32(r.IntN(9)), Finishes: uint32(r.IntN(2)), Saves: uint32(r.IntN(2)), Shares: uint32(r.IntN(2)),
				Dwell: r.Uint64N(50_000), Progress: uint8(r.IntN(101)), First: at, Last: at + r.Int64N(1000),
				Coarse: k.coarse, Skipped: k.skipped,
			}
			if row := rows[k]; r.IntN(2) == 0 {
				row.Resume, row.ResumeLag = uint8(1+r.IntN(101)), uint16(r.Int64N(1+row.Last-at))
				rows[k] = row
			}
		}
	}
	sorted := slices.Collect(maps.Values(rows))
	slices.SortFunc(sorted, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	for i := range sorted {
		b.Rows.Append(&sorted[i])
	}
	if len(rows) == 0 || r.IntN(3) > 0 {
		for stream := range uint16(1 + r.IntN(3)) {
			book := storage.Book{
				Stream: stream, Counts: storage.Counts{storage.Sent: 100 + r.Uint64N(1000), storage.Lost: r.Uint64N(100), storage.Found: r.Uint64N(50)},
			}
			for c := range book.Counts {
				if r.IntN(2) == 0 && book.Counts[c] == 0 && storage.Counter(c) != storage.Found {
					book.Counts[c] = r.Uint64N(1000)
				}
			}
			for source := range r.Uint64N(4) {
				book.Spans = append(book.Spans, storage.Span{
					Source: source, Met: int64(testDay*secondsPerDay+r.IntN(3)*1800) * 1000, Base: r.Uint64N(2) * 100, End: 100 + r.Uint64N(100), Sent: r.Uint64N(100), Lost: r.Uint64N(100),
					At: end, Seal: number ^ 3, Ended: storage.SpanEnd(r.IntN(3)), // not in the order of blocks
				})
			}
			b.Books = append(b.Books, book)
		}
	}
	return b
}

func mustStore(t testing.TB, s *Store, b *storage.Block) {
	t.Helper()
	if answer, err := s.Store(t.Context(), b); answer != storage.Stored || err != nil {
		t.Fatalf("block %d: %v, %v", b.Number, answer, err)
	}
}

// Whatever is stored, stored again, merged and opened again in whatever order,
// the sums are those of plain maps.
func TestAgainstMaps(t *testing.T) {
	for range 4 {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		s := mustOpen(t, dir)
		id := s.Collector()
		want := newOracle()
		var blocks []*storage.Block
		for range 120 {
			switch action := r.IntN(20); {
			case action < 14:
				b := randomBlock(r, id, uint64(len(blocks)+1))
				mustStore(t, s, b)
				want.take(b)
				blocks = append(blocks, b)
			case action < 17 && len(blocks) > 0:
				mustStore(t, s, blocks[r.IntN(len(blocks))])
			case action < 18:
				if err := s.Merge(t.Context()); err != nil {
					t.Fatal(err)
				}
			case action < 19:
				s.Close()
				s = mustOpen(t, dir)
			default:
				want.verify(t, dir)
			}
			if last(t, s) != uint64(len(blocks)) || s.Collector() != id {
				t.Fatalf("last number %d of %x, want %d of %x", last(t, s), s.Collector(), len(blocks), id)
			}
		}
		if err := s.Merge(t.Context()); err != nil {
			t.Fatal(err)
		}
		want.verify(t, dir)
		for _, file := range parquetFiles(t, dir) {
			if n, ok := parseName(file); !ok {
				t.Errorf("file %s", file)
			} else if n.merged {
				return
			}
		}
		t.Error("nothing was merged")
	}
}
