package clickhouse

import (
	"context"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
)

// spanColumns are the columns of spans, with their types.
var spanColumns = []tableColumn{
	{"stream", "UInt16"},
	{"class", "LowCardinality(String)"},
	{"source", "UInt64"},
	{"collector", "UInt64"},
	{"met", "DateTime64(3, 'UTC')"},
	{"seal", "UInt64"},
	{"block", "UInt64"},
	{"position_from", "UInt64"},
	{"position_to", "UInt64"},
	{"sent", "UInt64"},
	{"lost", "UInt64"},
	{"at", "DateTime64(3, 'UTC')"},
	{"ended", "UInt8"},
}

// spanInput is the spans of a block's books as ch-go takes them; nil where there
// are none.
func spanInput(b *storage.Block) proto.Input {
	var (
		source, collector, seal, block, from, to, sent, lost proto.ColUInt64
		stream                                               proto.ColUInt16
		ended                                                proto.ColUInt8
		met, at                                              = datetimes(), datetimes()
		class                                                = new(proto.ColStr).LowCardinality()
	)
	for i := range b.Books {
		k := &b.Books[i]
		for _, s := range k.Spans {
			stream.Append(k.Stream)
			class.Append(k.Class.String())
			source.Append(s.Source)
			collector.Append(b.Collector)
			met.AppendRaw(proto.DateTime64(s.Met))
			seal.Append(s.Seal)
			block.Append(b.Number)
			from.Append(s.Base)
			to.Append(s.End)
			sent.Append(s.Sent)
			lost.Append(s.Lost)
			at.AppendRaw(proto.DateTime64(s.At))
			ended.Append(uint8(s.Ended))
		}
	}
	if len(stream) == 0 {
		return nil
	}
	data := []proto.ColInput{&stream, class, &source, &collector, met, &seal, &block, &from, &to, &sent, &lost, at, &ended}
	in := make(proto.Input, len(data))
	for i, d := range data {
		in[i] = proto.InputColumn{Name: spanColumns[i].name, Data: d}
	}
	return in
}

// bookSpans writes the spans of a block. Those that are there of the same block
// are replaced, with the same.
func (n *native) bookSpans(ctx context.Context, b *storage.Block) error {
	in := spanInput(b)
	if in == nil {
		return nil
	}
	return n.c.do(ctx, n.o.AnswerMax, ch.Query{Body: insertInto(n.o.name("spans"), in), Input: in, Settings: insertSettings})
}

// settle settles the spans in the books of their accounts. Their sums are of 128
// bits: what forged numbers say may be more than 64 hold. What is beyond gapMax goes,
// since storage.LostMax is all that a total takes of it.
func (c *connection) settle(ctx context.Context, o *Options, totals storage.BookTotals) error {
	const gapMax = "toInt128(4611686018427387904)" // 2^62: with a total's own it is within 64 bits
	var stream proto.ColUInt16
	var class proto.ColStr
	var open proto.ColUInt8
	var gap, missing proto.ColInt64
	var sources proto.ColUInt64
	query := "SELECT stream, CAST(class, 'String') AS word, open, toInt64(least(sum(toInt128(gap)) AS all, " + gapMax + ") AS some), " +
		"toInt64(sum(toInt128(missing)) - all + some), count() FROM " + o.name("settlements") + " GROUP BY stream, word, open"
	return c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&stream, &class, &open, &gap, &missing, &sources), OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			total, err := totalOf(totals, stream[i], class.Row(i))
			if err != nil {
				return err
			}
			total.Settle(storage.Settlement{Gap: gap[i], Missing: missing[i], Open: open[i] != 0})
			if open[i] != 0 {
				total.OpenSources += sources[i] - 1
			}
		}
		return nil
	}})
}
