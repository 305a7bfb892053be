package parquet

import (
	"cmp"
	"context"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// contentRow is a row of the contents table: what a content is called, or another
// attribute of it.
type contentRow struct {
	Stream    uint16 `parquet:"stream,uint(16),delta"`
	Content   uint64 `parquet:"content,delta"`
	Class     string `parquet:"class,delta"`
	Attribute string `parquet:"attribute,delta"`
	Text      string `parquet:"text,delta,zstd"`
	At        int64  `parquet:"at,timestamp(millisecond:utc),delta"`
}

// contentRowsOf returns the names of a block's books, in order.
func contentRowsOf(b *storage.Block) (rows []contentRow) {
	for i := range b.Books {
		for _, n := range b.Books[i].Names {
			rows = append(rows, contentRow{
				Stream: b.Books[i].Stream, Content: n.Content, Class: b.Books[i].Class.String(), Attribute: n.Attribute.String(), Text: n.Text, At: n.At,
			})
		}
	}
	slices.SortFunc(rows, func(a, b contentRow) int { return compareContents(&a, &b) })
	return rows
}

// compareKeys orders rows by what names them; of several by one name one stays.
func (r *contentRow) compareKeys(o *contentRow) int {
	return cmp.Or(cmp.Compare(r.Stream, o.Stream), cmp.Compare(r.Content, o.Content), cmp.Compare(r.Class, o.Class), cmp.Compare(r.Attribute, o.Attribute))
}

func compareContents(a, b *contentRow) int {
	return cmp.Or(a.compareKeys(b), cmp.Compare(a.At, b.At), cmp.Compare(a.Text, b.Text))
}

// encodeContents writes the names of one block.
func encodeContents(w io.Writer, b *storage.Block, rows []contentRow) error {
	return encode(w, b.Collector, one(b.Number), func(put func([]contentRow) error) error { return put(rows) })
}

// mergeContents copies names in their order, of each the last.
func mergeContents(ctx context.Context, files []*opened, put func([]contentRow) error) error {
	return mergeLast(ctx, files, compareContents, func(a, b *contentRow) bool { return a.compareKeys(b) == 0 }, put)
}

// stays says that a row stays and not another of the same content and attribute: the
// sealed one, and of two of a class the last.
func (r *contentRow) stays(o *contentRow) bool {
	if r.Class != o.Class {
		return r.Class == storage.Sealed.String()
	}
	return r.At >= o.At
}

// Names implements storage.Reader.
func (r *Reader) Names(ctx context.Context, most int) (books []storage.Book, err error) {
	err = r.again(ctx, func() (err error) {
		books, err = r.names(ctx, most)
		return err
	})
	return books, err
}

func (r *Reader) names(ctx context.Context, most int) ([]storage.Book, error) {
	now := time.Now()
	if r.now != nil {
		now = r.now()
	}
	since := now.Add(-storage.NamesSince)
	files, err := r.snapshot(ctx, contents, uint32(max(0, since.Unix())/secondsPerDay))
	if err != nil {
		return nil, err
	}
	books := make(map[storage.Account]*storage.Book)
	for n := len(files) - 1; n >= 0 && most > 0; n-- {
		err := visit(ctx, r, contents, &files[n], newRowsSource, func(row *contentRow) {
			attribute, known := wire.AttributeNamed(row.Attribute)
			class, classed := storage.ClassNamed(row.Class)
			if !known || !classed || attribute >= wire.AttributePublished || row.At < since.UnixMilli() || most <= 0 {
				return
			}
			most--
			a := storage.Account{Stream: row.Stream, Class: class}
			if books[a] == nil {
				books[a] = &storage.Book{Stream: a.Stream, Class: a.Class}
			}
			books[a].Names = append(books[a].Names, storage.Name{Content: row.Content, Attribute: attribute, Text: row.Text, At: row.At})
		})
		if err != nil {
			return nil, err
		}
	}
	list := make([]storage.Book, 0, len(books))
	for _, b := range books {
		list = append(list, *b)
	}
	return list, nil
}

// Called implements storage.Reader. It begins with the latest day, and goes no
// further back than it needs.
func (r *Reader) Called(ctx context.Context, wanted []storage.ContentKey) (called map[storage.ContentKey]string, err error) {
	err = r.again(ctx, func() (err error) {
		called, err = r.called(ctx, wanted)
		return err
	})
	return called, err
}

func (r *Reader) called(ctx context.Context, wanted []storage.ContentKey) (map[storage.ContentKey]string, error) {
	files, err := r.snapshot(ctx, contents, 0) // by day
	if err != nil {
		return nil, err
	}
	left := make(map[storage.ContentKey]bool, len(wanted))
	for _, key := range wanted {
		left[key] = true
	}
	var best [2]map[storage.ContentKey]contentRow // names and titles
	for i := range best {
		best[i] = make(map[storage.ContentKey]contentRow)
	}
	for n := len(files); n > 0 && len(left) > 0; {
		for folder := filepath.Dir(files[n-1].path); n > 0 && filepath.Dir(files[n-1].path) == folder; n-- {
			err := visit(ctx, r, contents, &files[n-1], newRowsSource, func(row *contentRow) {
				key := storage.ContentKey{Stream: row.Stream, Content: row.Content}
				attribute, known := wire.AttributeNamed(row.Attribute)
				if !known || !left[key] || int(attribute) >= len(best) {
					return
				}
				if before, ok := best[attribute][key]; !ok || row.stays(&before) {
					best[attribute][key] = *row
				}
			})
			if err != nil {
				return nil, err
			}
		}
		for key := range best[wire.AttributeName] {
			delete(left, key)
		}
	}
	called := make(map[storage.ContentKey]string)
	for _, of := range [...]wire.Attribute{wire.AttributeTitle, wire.AttributeName} {
		for key, row := range best[of] {
			if row.Text != "" {
				called[key] = row.Text
			}
		}
	}
	return called, nil
}
