package clickhouse

import (
	"context"
	"fmt"
	"sort"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
)

// tableColumn is a column of a table, with its type.
type tableColumn struct{ name, kind string }

// ledgerColumns are the columns of ledger: one for each of storage.LedgerCounters,
// and a map for each storage.Family.
var ledgerColumns = func() []tableColumn {
	all := []tableColumn{
		{"collector", "UInt64"},
		{"block", "UInt64"},
		{"stream", "UInt16"},
		{"class", "LowCardinality(String)"},
		{"window_start", "DateTime64(3, 'UTC')"},
		{"window_end", "DateTime64(3, 'UTC')"},
		{"config", "LowCardinality(String)"},
	}
	for _, c := range storage.LedgerCounters {
		kind := "UInt64"
		if c == storage.Lost {
			kind = "Int64"
		}
		all = append(all, tableColumn{c.String(), kind})
	}
	all = append(all, tableColumn{"refused", "UInt64"}, tableColumn{"stored", "UInt64"}, tableColumn{"attempt", "UInt64"})
	for f := range storage.Families {
		all = append(all, tableColumn{f.String(), "Map(LowCardinality(String), UInt64)"})
	}
	return all
}()

// entry is one row of the ledger: an account's book of a window, and how many of
// its stream's events the block brings to reads. Where a stream has two accounts in
// the block, it is with the first: rows have no class.
type entry struct {
	book   storage.Book
	stored uint64
}

// entriesOf are the ledger's rows of a block: one for each account that has a book in
// it, and for each stream of which it has rows alone, in order.
func entriesOf(b *storage.Block) []entry {
	var all []entry
	books, r := b.Books, &b.Rows
	for i := 0; i < r.Len() || len(books) > 0; {
		var e entry
		switch {
		case i == r.Len() || len(books) > 0 && books[0].Stream <= r.Stream[i]:
			e.book, books = books[0], books[1:]
		default:
			e.book.Stream = r.Stream[i]
		}
		// Rows are ordered by stream, so those of one are a range.
		end := i + sort.Search(r.Len()-i, func(n int) bool { return r.Stream[i+n] > e.book.Stream })
		for _, column := range [][]uint32{r.Opens, r.Reads, r.Finishes, r.Saves, r.Shares, r.Impressions, r.Clicks} {
			e.stored += sum(column[i:end])
		}
		i = end
		all = append(all, e)
	}
	return all
}

// sum adds up a column, eight at a time: no addition waits for another, and bounds
// are looked at once.
func sum(v []uint32) uint64 {
	var a, b, c, d uint64
	i := 0
	for ; i+8 <= len(v); i += 8 {
		p := v[i : i+8 : i+8]
		a, b, c, d = a+uint64(p[0]), b+uint64(p[1]), c+uint64(p[2]), d+uint64(p[3])
		a, b, c, d = a+uint64(p[4]), b+uint64(p[5]), c+uint64(p[6]), d+uint64(p[7])
	}
	for _, n := range v[i:] {
		a += uint64(n)
	}
	return a + b + c + d
}

// ledgerInput is these rows as ch-go takes them.
func ledgerInput(b *storage.Block, entries []entry, generation uint64) proto.Input {
	var (
		collector, block, refused, stored, attempt proto.ColUInt64
		stream                                     proto.ColUInt16
		class, config                              = new(proto.ColStr).LowCardinality(), new(proto.ColStr).LowCardinality()
		start, end                                 = datetimes(), datetimes()
		counters                                   = make([]proto.ColUInt64, len(storage.LedgerCounters))
		lost                                       proto.ColInt64
	)
	for i := range entries {
		e := &entries[i]
		k := &e.book
		collector.Append(b.Collector)
		block.Append(b.Number)
		stream.Append(k.Stream)
		class.Append(k.Class.String())
		start.AppendRaw(proto.DateTime64(b.Window.Start))
		end.AppendRaw(proto.DateTime64(b.Window.End))
		config.Append(b.Window.ConfigWord())
		for n, c := range storage.LedgerCounters {
			counters[n].Append(k.Counts[c])
		}
		lost.Append(k.Net(storage.Lost))
		refused.Append(k.RefusedEvents())
		stored.Append(e.stored)
		attempt.Append(generation)
	}
	data := []proto.ColInput{&collector, &block, &stream, class, start, end, config}
	for n, c := range storage.LedgerCounters {
		if c == storage.Lost {
			data = append(data, &lost)
		} else {
			data = append(data, &counters[n])
		}
	}
	data = append(data, &refused, &stored, &attempt)
	for f := range storage.Families {
		words := proto.NewMap(new(proto.ColStr).LowCardinality(), new(proto.ColUInt64))
		for i := range entries {
			words.Append(entries[i].book.ByReason(f))
		}
		data = append(data, words)
	}
	in := make(proto.Input, len(data))
	for i, d := range data {
		in[i] = proto.InputColumn{Name: ledgerColumns[i].name, Data: d}
	}
	return in
}

func datetimes() *proto.ColDateTime64 {
	return new(proto.ColDateTime64).WithPrecision(proto.PrecisionMilli)
}

// book writes the ledger's rows of a block. The ones that are there by the same
// key are replaced, with the same.
func (n *native) book(ctx context.Context, b *storage.Block, generation uint64) error {
	entries := entriesOf(b)
	if len(entries) == 0 {
		return nil
	}
	if err := n.bookNames(ctx, b); err != nil {
		return err
	}
	if err := n.bookSpans(ctx, b); err != nil {
		return err
	}
	in := ledgerInput(b, entries, generation)
	return n.c.do(ctx, n.o.AnswerMax, ch.Query{Body: insertInto(n.o.name("ledger"), in), Input: in, Settings: insertSettings})
}

func (n *native) generation(ctx context.Context, b *storage.Block) (generation uint64, err error) {
	query := fmt.Sprintf("SELECT max(attempt) FROM %s WHERE collector = %d AND block = %d", n.o.name("ledger"), b.Collector, b.Number)
	err = n.c.row(ctx, n.o.AnswerMax, query, &generation)
	return generation, err
}
