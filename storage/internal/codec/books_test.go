package codec

import (
	"reflect"
	"testing"

	"github.com/lectern/lectern/storage"
)

// A book keeps every counter of the closed list, whatever else is 0.
func TestBookKeepsEveryCounter(t *testing.T) {
	all := storage.Book{Stream: 3, Class: storage.Sealed}
	books := []storage.Book{{Stream: 1}}
	for c := range all.Counts {
		all.Counts[c] = uint64(c) + 1<<40
		one := storage.Book{Stream: uint16(c), Spans: []storage.Span{{Source: uint64(c)}}, Names: []storage.Name{{Content: 0xd24ec4f1a98c6e5b, Text: "a", At: -1}, {Content: uint64(c), Attribute: 1, At: 1}}}
		one.Counts[c] = 1
		books = append(books, one)
	}
	books = append(books, all)
	var b []byte
	for i := range books {
		b = AppendBook(b, &books[i])
	}
	if size := BooksSize(books); size != int64(len(b)) {
		t.Errorf("the books take %d bytes, and %d are said", len(b), size)
	}
	got, ok := GetBooks(b, uint32(len(books)))
	if !ok || !reflect.DeepEqual(got, books) {
		t.Errorf("%v, %+v, want %+v", ok, got, books)
	}
	for n := range b { // cut off anywhere, it is no list of books
		if _, ok := GetBooks(b[:n], uint32(len(books))); ok {
			t.Errorf("the first %d of %d bytes are taken for all", n, len(b))
		}
	}
}
