package clickhouse

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lectern/lectern/storage"
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
				b.Books = append(b.Books, storage.Book{Stream: stream, Sent: uint64(stream) + 1})
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
			if !streams[e.book.Stream] || e.stored != want[e.book.Stream] || e.book.Sent != 0 && e.book.Sent != uint64(e.book.Stream)+1 {
				t.Fatalf("%+v, want %d events", e, want[e.book.Stream])
			}
			delete(streams, e.book.Stream)
		}
		if len(streams) > 0 {
			t.Fatalf("no entries for %v in %s", streams, fmt.Sprint(entries))
		}
	}
}
