package codec

import (
	"encoding/binary"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

var le = binary.LittleEndian

// BookSize is the bytes of a book without its numbers, spans and names.
const BookSize = 16

const (
	spanSize   = 65
	numberSize = 9  // without its word
	nameSize   = 19 // without its text
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

func appendName(b []byte, n *storage.Name) []byte {
	b = le.AppendUint64(le.AppendUint64(b, n.Content), uint64(n.At))
	b = le.AppendUint16(append(b, byte(n.Attribute)), uint16(len(n.Text)))
	return append(b, n.Text...)
}

// getName reads a name, which must be one that a collector takes.
func getName(b []byte, n *storage.Name) (rest []byte, ok bool) {
	if len(b) < nameSize || len(b) < nameSize+int(le.Uint16(b[17:])) {
		return nil, false
	}
	end := nameSize + int(le.Uint16(b[17:]))
	w := wire.Name{Content: le.Uint64(b), Attribute: wire.Attribute(b[16]), Text: b[nameSize:end]}
	*n = storage.Name{Content: w.Content, Attribute: w.Attribute, Text: string(w.Text), At: int64(le.Uint64(b[8:]))}
	return b[end:], w.Good()
}

// AppendBook appends a book.
func AppendBook(b []byte, k *storage.Book) []byte {
	b = append(le.AppendUint16(b, k.Stream), byte(k.Class), 0)
	at := len(b)
	b = le.AppendUint32(le.AppendUint32(b, 0), uint32(len(k.Spans)))
	b = le.AppendUint32(b, uint32(len(k.Names)))
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
	for i := range k.Names {
		b = appendName(b, &k.Names[i])
	}
	return b
}

// GetBooks reads n books that fill b exactly. A counter that is not known here makes them
// unreadable, so another counter is another version of the format.
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
	numbers, spans, names := le.Uint32(b[4:]), int(le.Uint32(b[8:])), int(le.Uint32(b[12:]))
	b = b[BookSize:]
	if k.Class >= storage.Classes || uint64(len(b)) < uint64(numbers)*numberSize+uint64(spans)*spanSize+uint64(names)*nameSize {
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
	if names > 0 {
		k.Names = make([]storage.Name, names)
	}
	for i := range k.Names {
		if b, ok = getName(b, &k.Names[i]); !ok {
			return nil, false
		}
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
		for k := range books[i].Names {
			n += nameSize + int64(len(books[i].Names[k].Text))
		}
	}
	return n
}
