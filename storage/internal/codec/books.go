package codec

import (
	"encoding/binary"

	"github.com/lectern/lectern/storage"
)

var le = binary.LittleEndian

// BookSize is the bytes of a book without its refusals and spans.
const BookSize = 80

const (
	spanSize    = 65
	refusalSize = 17 // without its reason
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

// AppendBook appends a book that CheckBook has nothing against.
func AppendBook(b []byte, k *storage.Book) []byte {
	b = le.AppendUint16(b, k.Stream)
	for _, n := range [...]uint64{k.Sent, k.Accepted, uint64(k.Lost), k.Damaged, k.Shed, k.Clamped, k.Duplicate, k.Stale, k.Reordered} {
		b = le.AppendUint64(b, n)
	}
	b = le.AppendUint16(b, uint16(len(k.Refused)))
	b = le.AppendUint32(b, uint32(len(k.Spans)))
	for _, r := range k.Refused {
		b = append(b, byte(len(r.Reason)))
		b = append(b, r.Reason...)
		b = le.AppendUint64(b, r.Events)
		b = le.AppendUint64(b, r.Frames)
	}
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
	k.Stream = le.Uint16(b)
	k.Sent, k.Accepted, k.Lost = le.Uint64(b[2:]), le.Uint64(b[10:]), int64(le.Uint64(b[18:]))
	k.Damaged, k.Shed, k.Clamped = le.Uint64(b[26:]), le.Uint64(b[34:]), le.Uint64(b[42:])
	k.Duplicate, k.Stale, k.Reordered = le.Uint64(b[50:]), le.Uint64(b[58:]), le.Uint64(b[66:])
	refusals, spans := int(le.Uint16(b[74:])), int(le.Uint32(b[76:]))
	b = b[BookSize:]
	if uint64(len(b)) < uint64(refusals)*refusalSize+uint64(spans)*spanSize {
		return nil, false
	}
	if refusals > 0 {
		k.Refused = make([]storage.Refused, refusals)
	}
	for i := range k.Refused {
		n := 0
		if len(b) > 0 {
			n = int(b[0])
		}
		if len(b) < n+refusalSize {
			return nil, false
		}
		k.Refused[i] = storage.Refused{Reason: string(b[1 : 1+n]), Events: le.Uint64(b[1+n:]), Frames: le.Uint64(b[9+n:])}
		b = b[n+refusalSize:]
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
		for _, r := range books[i].Refused {
			n += refusalSize + int64(len(r.Reason))
		}
		n += spanSize * int64(len(books[i].Spans))
	}
	return n
}
