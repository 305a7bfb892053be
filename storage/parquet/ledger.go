package parquet

import (
	"cmp"
	"fmt"
	"reflect"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
)

// ledgerRow is a row of the ledger table: the book of one account, and the block
// and window that it is of.
type ledgerRow struct {
	collector, block       uint64
	windowStart, windowEnd int64
	config                 string
	storage.Book
}

// ledgerHead are the columns in front of those of the counters.
type ledgerHead struct {
	Collector   uint64 `parquet:"collector,delta"`
	Block       uint64 `parquet:"block,delta"`
	WindowStart int64  `parquet:"window_start,timestamp(millisecond:utc),delta"`
	WindowEnd   int64  `parquet:"window_end,timestamp(millisecond:utc),delta"`
	Config      string `parquet:"config,delta"`
	Stream      uint16 `parquet:"stream,uint(16),delta"`
	Class       string `parquet:"class,delta"`
}

// ledgerType is the struct that a row is to the library: what ledgerHead has, a
// number for each of storage.LedgerCounters, what was refused in all, and a map for
// each storage.Family. It has no dictionaries: they would save little, and the
// library checks the checksums of dictionaries only where columns are read page by
// page.
var ledgerType = func() reflect.Type {
	fields := reflect.VisibleFields(reflect.TypeFor[ledgerHead]())
	column := func(t reflect.Type, name, how string) {
		fields = append(fields, reflect.StructField{
			Name: fmt.Sprintf("C%d", len(fields)), Type: t, Tag: reflect.StructTag(fmt.Sprintf("parquet:%q", name+how)),
		})
	}
	for _, c := range storage.LedgerCounters {
		of := reflect.TypeFor[uint64]()
		if c == storage.Lost {
			of = reflect.TypeFor[int64]()
		}
		column(of, c.String(), ",delta")
	}
	column(reflect.TypeFor[uint64](), "refused", ",delta")
	for f := range storage.Families {
		column(reflect.TypeFor[map[string]uint64](), f.String(), "")
	}
	return reflect.StructOf(fields)
}()

var ledgerSchema = parquet.NewSchema("ledgerRow", parquet.SchemaOf(reflect.New(ledgerType).Interface()))

// headFields is how many fields of ledgerType are those of ledgerHead.
var headFields = reflect.TypeFor[ledgerHead]().NumField()

// columns is the row as the library takes it.
func (r *ledgerRow) columns() parquet.Row {
	v := reflect.New(ledgerType).Elem()
	head := reflect.ValueOf(ledgerHead{r.collector, r.block, r.windowStart, r.windowEnd, r.config, r.Stream, r.Class.String()})
	for i := range headFields {
		v.Field(i).Set(head.Field(i))
	}
	at := headFields
	for _, c := range storage.LedgerCounters {
		v.Field(at).Set(reflect.ValueOf(r.Net(c)).Convert(v.Field(at).Type()))
		at++
	}
	v.Field(at).SetUint(r.RefusedEvents())
	for f := range storage.Families {
		v.Field(at + 1 + int(f)).Set(reflect.ValueOf(r.ByReason(f)))
	}
	return ledgerSchema.Deconstruct(nil, v.Addr().Interface())
}

// read is the way back.
func (r *ledgerRow) read(row parquet.Row) error {
	v := reflect.New(ledgerType)
	if err := ledgerSchema.Reconstruct(v.Interface(), row); err != nil {
		return err
	}
	v = v.Elem()
	var head ledgerHead
	for i := range headFields {
		reflect.ValueOf(&head).Elem().Field(i).Set(v.Field(i))
	}
	class, ok := storage.ClassNamed(head.Class)
	if !ok {
		return fmt.Errorf("a book is of the class %.40q", head.Class)
	}
	*r = ledgerRow{head.Collector, head.Block, head.WindowStart, head.WindowEnd, head.Config, storage.Book{Stream: head.Stream, Class: class}}
	at := headFields
	for _, c := range storage.LedgerCounters {
		r.AddNet(c, v.Field(at).Convert(reflect.TypeFor[int64]()).Int())
		at++
	}
	for f := range storage.Families {
		for reason, n := range v.Field(at + 1 + int(f)).Interface().(map[string]uint64) {
			r.Counts[f.Of(storage.ReasonNamed(reason))] += n
		}
	}
	return nil
}

// ledgerRowsOf returns the rows of a block's books, in order of account.
func ledgerRowsOf(b *storage.Block) []ledgerRow {
	rows := make([]ledgerRow, len(b.Books))
	for i := range b.Books {
		rows[i] = ledgerRow{b.Collector, b.Number, b.Window.Start, b.Window.End, b.Window.ConfigWord(), b.Books[i]}
	}
	return rows
}

// compareBooks orders rows by block, then by account.
func compareBooks(a, b *ledgerRow) int {
	return cmp.Or(cmp.Compare(a.block, b.block), a.Book.Compare(&b.Book))
}

// ledgerReader reads rows of the ledger.
type ledgerReader struct {
	*parquet.GenericReader[any]
	rows []parquet.Row
}

// newLedgerSource gives the rows of a file of the ledger.
func newLedgerSource(o *opened) *rowsSource[ledgerRow] {
	return newRowsSourceOf(o, func(f *parquet.File) rowsReader[ledgerRow] {
		return &ledgerReader{GenericReader: parquet.NewGenericReader[any](f)}
	})
}

// Read is part of rowsReader.
func (r *ledgerReader) Read(rows []ledgerRow) (int, error) {
	if len(r.rows) < len(rows) {
		r.rows = make([]parquet.Row, len(rows))
	}
	n, err := r.ReadRows(r.rows[:len(rows)])
	for i := range n {
		if err := rows[i].read(r.rows[i]); err != nil {
			return i, err
		}
	}
	return n, err
}
