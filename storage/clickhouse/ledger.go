package clickhouse

import (
	"context"
	"fmt"
	"sort"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
)

// ledgerColumns are the columns of ledger, with their types.
var ledgerColumns = []struct{ name, kind string }{
	{"collector", "UInt64"},
	{"block", "UInt64"},
	{"stream", "UInt16"},
	{"window_start", "DateTime64(3, 'UTC')"},
	{"window_end", "DateTime64(3, 'UTC')"},
	{"sent", "UInt64"},
	{"accepted", "UInt64"},
	{"lost", "Int64"},
	{"damaged", "UInt64"},
	{"refused", "UInt64"},
	{"shed", "UInt64"},
	{"clamped", "UInt64"},
	{"duplicate", "UInt64"},
	{"stale", "UInt64"},
	{"reordered", "UInt64"},
	{"stored", "UInt64"},
	{"attempt", "UInt64"},
	{"refused_events", "Map(LowCardinality(String), UInt64)"},
	{"refused_frames", "Map(LowCardinality(String), UInt64)"},
}

// entry is one row of the ledger: a stream's book of a window, and how many of
// its events the block brings to reads.
type entry struct {
	book   storage.Book
	stored uint64
}

// entriesOf are the ledger's rows of a block: one for each stream that has a
// book or rows in it, in the order of streams.
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
		for _, column := range [][]uint32{r.Opens, r.Reads, r.Finishes, r.Saves, r.Shares} {
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
		collector, block, sent, accepted, damaged, refused, shed, clamped, duplicate, stale, reordered, stored, attempt proto.ColUInt64
		stream                                                                                                          proto.ColUInt16
		lost                                                                                                            proto.ColInt64
		start, end                                                                                                      = datetimes(), datetimes()
		events, frames                                                                                                  = counts(), counts()
	)
	for i := range entries {
		e := &entries[i]
		k := &e.book
		collector.Append(b.Collector)
		block.Append(b.Number)
		stream.Append(k.Stream)
		start.AppendRaw(proto.DateTime64(b.Window.Start))
		end.AppendRaw(proto.DateTime64(b.Window.End))
		sent.Append(k.Sent)
		accepted.Append(k.Accepted)
		lost.Append(k.Lost)
		damaged.Append(k.Damaged)
		refused.Append(k.RefusedEvents())
		shed.Append(k.Shed)
		clamped.Append(k.Clamped)
		duplicate.Append(k.Duplicate)
		stale.Append(k.Stale)
		reordered.Append(k.Reordered)
		stored.Append(e.stored)
		attempt.Append(generation)
		ofEvents, ofFrames := make(map[string]uint64), make(map[string]uint64)
		for _, r := range k.Refused {
			ofEvents[r.Reason] += r.Events
			ofFrames[r.Reason] += r.Frames
		}
		events.Append(ofEvents)
		frames.Append(ofFrames)
	}
	data := []proto.ColInput{&collector, &block, &stream, start, end, &sent, &accepted, &lost, &damaged, &refused, &shed,
		&clamped, &duplicate, &stale, &reordered, &stored, &attempt, events, frames}
	in := make(proto.Input, len(data))
	for i, d := range data {
		in[i] = proto.InputColumn{Name: ledgerColumns[i].name, Data: d}
	}
	return in
}

func datetimes() *proto.ColDateTime64 {
	return new(proto.ColDateTime64).WithPrecision(proto.PrecisionMilli)
}

// counts is a column of numbers by reason.
func counts() *proto.ColMap[string, uint64] {
	return proto.NewMap(new(proto.ColStr).LowCardinality(), new(proto.ColUInt64))
}

// book writes the ledger's rows of a block. The ones that are there by the same
// key are replaced, with the same.
func (n *native) book(ctx context.Context, b *storage.Block, generation uint64) error {
	entries := entriesOf(b)
	if len(entries) == 0 {
		return nil
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
