package codec

import (
	"encoding/binary"

	"github.com/lectern/lectern/storage"
)

var le = binary.LittleEndian

// BookSize is the bytes of a book without its numbers and spans.
const BookSize = 12

const (
	spanSize   = 65
	numberSize = 9 // without its word
)

func appendSpan(b []byte, s *storage.Span) []byte {
	for _, n := range [...]uint64{s.Source, uint64(s.Met), s.Base, s.End, s.Sent, s.Lost, uint64(s.At), s.Seal} {
		b = le.AppendUint64(b, n)
	}
	return append(b, byte(s.Ended))
}

func getSpan(b []byte) storage.Span {
	_ = b[spanSize-1]
	return storage.Span{
		Source: le.Uint64(b), Met: int64(le.Uint64(b[8:])), Base: le.Uint64(b[16:]), End: le.Uint64(b[24:]),
		Sent: le.Uint64(b[32:]), Lost: le.Uint64(b[40:]), At: int64(le.Uint64(b[48:])), Seal: le.Uint64(b[56:]), Ended: storage.SpanEnd(b[64]),
	}
}

// AppendBook appends a book.
func AppendBook(b []byte, k *storage.Book) []byte {
	b = append(le.AppendUint16(b, k.Stream), byte(k.Class), 0)
	at := len(b)
	b = le.AppendUint32(le.AppendUint32(b, 0), uint32(len(k.Spans)))
	numbers := uint32(0)
	for c, n := range k.Counts {
		if n == 0 {
			continue
		}
		word := storage.Counter(c).String()
		b = append(append(b, byte(len(word))), word...)
		b = le.AppendUint64(b, n)
		numbers++
	}
	le.PutUint32(b[at:], numbers)
	for i := range k.Spans {
		b = appendSpan(b, &k.Spans[i])
	}
	return b
}

// GetBooks reads n books that fill b exactly.
func GetBooks(b []byte, n uint32) ([]storage.Book, bool) {
	if uint64(len(b)) < uint64(n)*BookSize {
		return nil, false
	}
	books := make([]storage.Book, n)
	for i := range books {
		var ok bool
		if b, ok = getBook(b, &books[i]); !ok {
			return nil, false
		}
	}
	return books, len(b) == 0
}

func getBook(b []byte, k *storage.Book) (rest []byte, ok bool) {
	if len(b) < BookSize {
		return nil, false
	}
	k.Stream, k.Class = le.Uint16(b), storage.Class(b[2])
	numbers, spans := le.Uint32(b[4:]), int(le.Uint32(b[8:]))
	b = b[BookSize:]
	if k.Class >= storage.Classes || uint64(len(b)) < uint64(numbers)*numberSize+uint64(spans)*spanSize {
		return nil, false
	}
	for range numbers {
		if len(b) < numberSize || len(b) < numberSize+int(b[0]) {
			return nil, false
		}
		word, value := b[1:1+b[0]], b[1+b[0]:]
		c, ok := storage.CounterNamed(string(word))
		if !ok {
			return nil, false
		}
		k.Counts[c] = le.Uint64(value)
		b = value[8:]
	}
	if len(b) < spans*spanSize {
		return nil, false
	}
	if spans > 0 {
		k.Spans = make([]storage.Span, spans)
	}
	for i := range k.Spans {
		k.Spans[i] = getSpan(b)
		b = b[spanSize:]
	}
	return b, true
}

// BooksSize is what books take in a file.
func BooksSize(books []storage.Book) (n int64) {
	for i := range books {
		n += BookSize
		for c, number := range books[i].Counts {
			if number != 0 {
				n += numberSize + int64(len(storage.Counter(c).String()))
			}
		}
		n += spanSize * int64(len(books[i].Spans))
	}
	return n
}
