package clickhouse

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// contentColumns are the columns of contents, with their types.
var contentColumns = []tableColumn{
	{"stream", "UInt16"},
	{"content", "UInt64"},
	{"class", "LowCardinality(String)"},
	{"attribute", "LowCardinality(String)"},
	{"text", "String"},
	{"at", "DateTime64(3, 'UTC')"},
}

// contentInput is the names of a block's books as ch-go takes them; nil where there
// are none.
func contentInput(b *storage.Block) proto.Input {
	var (
		stream    proto.ColUInt16
		content   proto.ColUInt64
		class     = new(proto.ColStr).LowCardinality()
		attribute = new(proto.ColStr).LowCardinality()
		text      proto.ColStr
		at        = datetimes()
	)
	for i := range b.Books {
		k := &b.Books[i]
		for _, n := range k.Names {
			stream.Append(k.Stream)
			content.Append(n.Content)
			class.Append(k.Class.String())
			attribute.Append(n.Attribute.String())
			text.Append(n.Text)
			at.AppendRaw(proto.DateTime64(n.At))
		}
	}
	if len(stream) == 0 {
		return nil
	}
	data := []proto.ColInput{&stream, &content, class, attribute, &text, at}
	in := make(proto.Input, len(data))
	for i, d := range data {
		in[i] = proto.InputColumn{Name: contentColumns[i].name, Data: d}
	}
	return in
}

// bookNames writes the names of a block. Those that are there already are replaced,
// with the same.
func (n *native) bookNames(ctx context.Context, b *storage.Block) error {
	in := contentInput(b)
	if in == nil {
		return nil
	}
	return n.c.do(ctx, n.o.AnswerMax, ch.Query{Body: insertInto(n.o.name("contents"), in), Input: in, Settings: insertSettings})
}

// Names implements storage.Reader.
func (r *Reader) Names(ctx context.Context, most int) (books []storage.Book, err error) {
	err = r.ask(ctx, func(c *connection) error {
		contents, err := r.over(ctx, c, "contents")
		if err != nil {
			return err
		}
		of := make(map[storage.Account]*storage.Book)
		var stream proto.ColUInt16
		var content proto.ColUInt64
		var class, attribute, text proto.ColStr
		at := datetimes()
		query := fmt.Sprintf("SELECT stream, content, CAST(class, 'String'), CAST(attribute, 'String'), text, at FROM %s WHERE attribute IN ('name', 'title', 'section', 'author') AND at > now() - toIntervalSecond(%d) ORDER BY at DESC LIMIT %d",
			contents, int(storage.NamesSince.Seconds()), most)
		err = c.do(ctx, r.o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&stream, &content, &class, &attribute, &text, at), OnResult: func(context.Context, proto.Block) error {
			for i := range stream {
				which, _ := wire.AttributeNamed(attribute.Row(i))
				one, known := storage.ClassNamed(class.Row(i))
				if !known {
					continue
				}
				a := storage.Account{Stream: stream[i], Class: one}
				if of[a] == nil {
					of[a] = &storage.Book{Stream: a.Stream, Class: a.Class}
				}
				of[a].Names = append(of[a].Names, storage.Name{Content: content[i], Attribute: which, Text: strings.Clone(text.Row(i)), At: int64(at.Data[i])})
			}
			return nil
		}})
		for _, b := range of {
			books = append(books, *b)
		}
		return err
	})
	return books, err
}

// calledAtOnce is how many contents a query asks for.
const calledAtOnce = 5000

// Called implements storage.Reader.
func (r *Reader) Called(ctx context.Context, wanted []storage.ContentKey) (map[storage.ContentKey]string, error) {
	called := make(map[storage.ContentKey]string)
	if len(wanted) == 0 {
		return called, nil
	}
	err := r.ask(ctx, func(c *connection) error {
		for len(wanted) > 0 {
			n := min(len(wanted), calledAtOnce)
			if err := c.called(ctx, &r.o, wanted[:n], called); err != nil {
				return err
			}
			wanted = wanted[n:]
		}
		return nil
	})
	return called, err
}

func (c *connection) called(ctx context.Context, o *Options, wanted []storage.ContentKey, called map[storage.ContentKey]string) error {
	keys := make([]string, len(wanted))
	for i, key := range wanted {
		keys[i] = fmt.Sprintf("(%d,%d)", key.Stream, key.Content)
	}
	var stream proto.ColUInt16
	var content proto.ColUInt64
	var text proto.ColStr
	query := "SELECT stream, content, called FROM " + o.name("names") + " WHERE (stream, content) IN (" + strings.Join(keys, ",") + ") AND called != ''"
	return c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&stream, &content, &text), OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			called[storage.ContentKey{Stream: stream[i], Content: content[i]}] = strings.Clone(text.Row(i))
		}
		return nil
	}})
}
