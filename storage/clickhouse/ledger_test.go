package clickhouse

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// The ledger has an entry for each stream that has a book or rows, with as many
// events as a plain map counts.
func TestEntriesAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 7))
	for range 200 {
		b := randomBlock(r, 1, r.IntN(40))
		b.Books = nil
		streams := map[uint16]bool{}
		for stream := range uint16(6) {
			if r.IntN(2) == 0 {
				b.Books = append(b.Books, storage.Book{Stream: stream, Counts: storage.Counts{storage.Sent: uint64(stream) + 1}})
				streams[stream] = true
			}
		}
		want := map[uint16]uint64{}
		for i := range b.Rows.Len() {
			row := b.Rows.Row(i)
			want[row.Stream] += row.Events()
			streams[row.Stream] = true
		}
		entries := entriesOf(b)
		for i, e := range entries {
			if i > 0 && entries[i-1].book.Stream >= e.book.Stream {
				t.Fatalf("streams %d and %d in this order", entries[i-1].book.Stream, e.book.Stream)
			}
			if !streams[e.book.Stream] || e.stored != want[e.book.Stream] || e.book.Counts[storage.Sent] != 0 && e.book.Counts[storage.Sent] != uint64(e.book.Stream)+1 {
				t.Fatalf("%+v, want %d events", e, want[e.book.Stream])
			}
			delete(streams, e.book.Stream)
		}
		if len(streams) > 0 {
			t.Fatalf("no entries for %v in %s", streams, fmt.Sprint(entries))
		}
	}
}

// Every counter of the closed list has its column in what is inserted, in the schema
// and in the view of the books.
func TestLedgerHasEveryCounter(t *testing.T) {
	var k storage.Book
	for c := range k.Counts {
		k.Counts[c] = uint64(c) + 100
	}
	script := Schema{}.String()
	columns := map[string]proto.ColInput{}
	for i, in := range ledgerInput(&storage.Block{Window: storage.Window{Config: 0xC0FFEE}}, []entry{{book: k}}, 0) {
		columns[in.Name] = in.Data
		if want := ledgerColumns[i]; in.Name != want.name || (string(in.Data.Type()) != want.kind && !strings.HasPrefix(want.kind, "DateTime64")) {
			t.Errorf("column %d is %s %s, want %+v", i, in.Name, in.Data.Type(), want)
		}
	}
	if got := columns["config"].(*proto.ColLowCardinality[string]).Row(0); got != "0000000000c0ffee" {
		t.Errorf("the configuration is %q", got)
	}
	for _, c := range storage.LedgerCounters {
		var got int64
		switch of := columns[c.String()].(type) {
		case *proto.ColUInt64:
			got = int64((*of)[0])
		case *proto.ColInt64:
			got = (*of)[0]
		}
		if got != k.Net(c) {
			t.Errorf("%s is %d, want %d", c, got, k.Net(c))
		}
		if !strings.Contains(script, "\n    "+c.String()+" ") || !strings.Contains(script, "toInt128(k."+c.String()+") AS "+c.String()) {
			t.Errorf("the schema has no column %s in the ledger or the books", c)
		}
	}
	for f := range storage.Families {
		words := columns[f.String()].(*proto.ColMap[string, uint64]).Row(0)
		for why := range wire.Refusal(wire.Refusals) {
			if words[storage.Reason(why)] != k.Counts[f.Of(why)] {
				t.Errorf("%s of %s is %d, want %d", f, storage.Reason(why), words[storage.Reason(why)], k.Counts[f.Of(why)])
			}
		}
		if strings.Count(script, f.String()) < 2 {
			t.Errorf("the schema has no column %s in the ledger or the books", f)
		}
	}
}
