package parquet

import (
	"cmp"
	"context"
	"io"
	"slices"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/merge"
)

// seenRow is a row of the spans table: what a collector saw of a source.
type seenRow struct {
	Stream       uint16 `parquet:"stream,uint(16),delta"`
	Class        string `parquet:"class,delta"`
	Source       uint64 `parquet:"source,delta"`
	Collector    uint64 `parquet:"collector,delta"`
	Met          int64  `parquet:"met,timestamp(millisecond:utc),delta"`
	Seal         uint64 `parquet:"seal,delta"`
	Block        uint64 `parquet:"block,delta"`
	PositionFrom uint64 `parquet:"position_from,delta"`
	PositionTo   uint64 `parquet:"position_to,delta"`
	Sent         uint64 `parquet:"sent,delta"`
	Lost         uint64 `parquet:"lost,delta"`
	At           int64  `parquet:"at,timestamp(millisecond:utc),delta"`
	Ended        uint8  `parquet:"ended,uint(8),delta"`
}

// account is whose books the span is settled in. A class of no name is what no
// version of the format has, and so not of anybody's key.
func (r *seenRow) account() storage.Account {
	class, _ := storage.ClassNamed(r.Class)
	return storage.Account{Stream: r.Stream, Class: class}
}

func (r *seenRow) span() storage.Span {
	return storage.Span{
		Source: r.Source, Met: r.Met, Base: r.PositionFrom, End: r.PositionTo,
		Sent: r.Sent, Lost: r.Lost, At: r.At, Seal: r.Seal, Ended: storage.SpanEnd(r.Ended),
	}
}

// seenRowsOf returns the spans of a block's books, in order.
func seenRowsOf(b *storage.Block) (rows []seenRow) {
	for i := range b.Books {
		for _, s := range b.Books[i].Spans {
			rows = append(rows, seenRow{
				Stream: b.Books[i].Stream, Class: b.Books[i].Class.String(), Source: s.Source, Collector: b.Collector, Met: s.Met, Seal: s.Seal, Block: b.Number,
				PositionFrom: s.Base, PositionTo: s.End, Sent: s.Sent, Lost: s.Lost, At: s.At, Ended: uint8(s.Ended),
			})
		}
	}
	slices.SortFunc(rows, func(a, b seenRow) int { return compareSeen(&a, &b) })
	return rows
}

// sameSpan says whether one of two rows replaces the other: that of the later seal
// does.
func (r *seenRow) sameSpan(o *seenRow) bool {
	return r.Stream == o.Stream && r.Class == o.Class && r.Source == o.Source && r.Collector == o.Collector && r.Met == o.Met
}

func compareSeen(a, b *seenRow) int {
	return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Collector, b.Collector),
		cmp.Compare(a.Met, b.Met), cmp.Compare(a.Seal, b.Seal), cmp.Compare(a.Block, b.Block))
}

// encodeSeen writes the spans of one block.
func encodeSeen(w io.Writer, b *storage.Block, rows []seenRow) error {
	return encode(w, b.Collector, one(b.Number), func(put func([]seenRow) error) error { return put(rows) })
}

// mergeSeen copies spans in their order, of each the last.
func mergeSeen(ctx context.Context, files []*opened, put func([]seenRow) error) error {
	return mergeLast(ctx, files, compareSeen, (*seenRow).sameSpan, put)
}

// mergeLast copies rows in their order, of those that are the same thing's the last.
func mergeLast[T any](ctx context.Context, files []*opened, compare func(a, b *T) int, same func(a, b *T) bool, put func([]T) error) error {
	var sources []merge.Source[T]
	for _, o := range files {
		l := newRowsSource[T](o)
		defer l.close()
		sources = append(sources, l)
	}
	out := buffer[T]{put: put}
	var before T
	started := false
	err := merge.Sorted(ctx, sources, compare, func(r *T) error {
		last := before
		before = *r
		if !started || same(&last, r) {
			started = true
			return nil
		}
		return out.add(last)
	})
	if err == nil && started {
		err = out.add(before)
	}
	if err != nil {
		return err
	}
	return out.flush()
}

// seenAtOnce is how many rows of spans are settled at a time: more are gone
// through several times, some of the sources each.
const seenAtOnce = 1 << 20

// settle settles the spans of each source, of all collectors, and calls f with
// what comes of it. Sources met before begins, in Unix milliseconds, are left out:
// the books of that time are gone.
func (r *Reader) settle(ctx context.Context, files []entry, begins int64, f func(a storage.Account, s storage.Settlement)) error {
	var rows int64
	for i := range files {
		rows += files[i].rows
	}
	now := time.Now()
	if r.now != nil {
		now = r.now()
	}
	passes := uint64(rows/cmp.Or(r.most, seenAtOnce)) + 1
	for pass := range passes {
		var all []seenRow
		for i := range files {
			err := visit(ctx, r, seen, &files[i], newRowsSource, func(row *seenRow) {
				if row.Source%passes == pass {
					all = append(all, *row)
				}
			})
			if err != nil {
				return err
			}
		}
		settleRows(all, begins, now.UnixMilli(), f)
	}
	return nil
}

// settleRows settles all rows of some sources. It sorts them.
func settleRows(rows []seenRow, begins, now int64, f func(a storage.Account, s storage.Settlement)) {
	slices.SortFunc(rows, func(a, b seenRow) int { return compareSeen(&a, &b) })
	var spans []storage.Span
	for i := range rows {
		row := &rows[i]
		if i+1 < len(rows) && row.sameSpan(&rows[i+1]) {
			continue
		}
		spans = append(spans, row.span())
		if i+1 < len(rows) && row.Stream == rows[i+1].Stream && row.Class == rows[i+1].Class && row.Source == rows[i+1].Source {
			continue
		}
		met := spans[0].Met
		for _, s := range spans {
			met = min(met, s.Met)
		}
		if met+1000 > begins { // times of meeting are whole seconds
			f(row.account(), storage.Settle(spans, now))
		}
		spans = spans[:0]
	}
}
