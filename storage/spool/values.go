package spool

import (
	"maps"
	"slices"

	"github.com/lectern/lectern/storage"
)

const (
	sourceSize   = 75
	spanSize     = 65
	bookSize     = 80 // without its refusals and spans
	refusalSize  = 17 // without its reason
	totalSize    = 10
	sealHeadSize = 48
	markSize     = 8 + totalSize // less than any seal: the next one covers it
)

func putSource(b []byte, s *Source) {
	_ = b[sourceSize-1]
	le.PutUint64(b, s.ID)
	le.PutUint64(b[8:], s.Base)
	le.PutUint64(b[16:], s.End)
	le.PutUint64(b[24:], s.Newest)
	le.PutUint64(b[32:], s.Lost)
	le.PutUint64(b[40:], s.Next)
	le.PutUint64(b[48:], s.Apart)
	le.PutUint64(b[56:], uint64(s.Met))
	le.PutUint64(b[64:], uint64(s.LastSeen))
	le.PutUint16(b[72:], s.Stream)
	b[74] = 0
	if s.Session {
		b[74] = 1
	}
}

func getSource(b []byte) Source {
	_ = b[sourceSize-1]
	return Source{
		ID: le.Uint64(b), Base: le.Uint64(b[8:]), End: le.Uint64(b[16:]), Newest: le.Uint64(b[24:]),
		Lost: le.Uint64(b[32:]), Next: le.Uint64(b[40:]), Apart: le.Uint64(b[48:]), Met: int64(le.Uint64(b[56:])),
		LastSeen: int64(le.Uint64(b[64:])), Stream: le.Uint16(b[72:]), Session: b[74]&1 != 0,
	}
}

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

func appendBook(b []byte, k *storage.Book) []byte {
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

// getBooks reads n books that fill b exactly.
func getBooks(b []byte, n uint32) ([]storage.Book, bool) {
	if uint64(len(b)) < uint64(n)*bookSize {
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
	if len(b) < bookSize {
		return nil, false
	}
	k.Stream = le.Uint16(b)
	k.Sent, k.Accepted, k.Lost = le.Uint64(b[2:]), le.Uint64(b[10:]), int64(le.Uint64(b[18:]))
	k.Damaged, k.Shed, k.Clamped = le.Uint64(b[26:]), le.Uint64(b[34:]), le.Uint64(b[42:])
	k.Duplicate, k.Stale, k.Reordered = le.Uint64(b[50:]), le.Uint64(b[58:]), le.Uint64(b[66:])
	refusals, spans := int(le.Uint16(b[74:])), int(le.Uint32(b[76:]))
	b = b[bookSize:]
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

// addBooks adds books to those of the same stream in sums, which stays ordered
// by stream.
func addBooks(sums []storage.Book, books []storage.Book) []storage.Book {
	for i := range books {
		at, found := slices.BinarySearchFunc(sums, books[i].Stream, func(b storage.Book, stream uint16) int {
			return int(b.Stream) - int(stream)
		})
		if found {
			sums[at].Add(&books[i])
			continue
		}
		c := books[i]
		c.Refused, c.Spans = slices.Clone(c.Refused), slices.Clone(c.Spans)
		sums = slices.Insert(sums, at, c)
	}
	return sums
}

// addWindow widens w to hold o.
func addWindow(w, o storage.Window) storage.Window {
	if w == (storage.Window{}) {
		return o
	}
	return storage.Window{Start: min(w.Start, o.Start), End: max(w.End, o.End)}
}

// appendSeal appends the body of a seal's record. rows holds its rows, before what
// was sent before it.
func appendSeal(b []byte, s *Seal, rows *rowGroups, before *totals) []byte {
	b = le.AppendUint64(b, uint64(s.Window.Start))
	b = le.AppendUint64(b, uint64(s.Window.End))
	b = le.AppendUint32(b, uint32(len(s.Rows)))
	b = le.AppendUint32(b, uint32(len(s.Books)))
	b = le.AppendUint32(b, uint32(len(s.Sources)))
	b = le.AppendUint32(b, uint32(len(s.Forgotten)))
	sent := before.all
	for i := range s.Books {
		sent += s.Books[i].Sent
	}
	b = le.AppendUint64(b, sent)
	b = le.AppendUint64(b, uint64(rows.size()))
	b = rows.appendTo(slices.Grow(b, sealSize(s, rows)))
	at := len(b)
	b = b[:at+len(s.Sources)*sourceSize]
	for i := range s.Sources {
		putSource(b[at:], &s.Sources[i])
		at += sourceSize
	}
	for _, id := range s.Forgotten {
		b = le.AppendUint64(b, id)
	}
	for i := range s.Books {
		b = appendTotal(b, s.Books[i].Stream, before.of[s.Books[i].Stream]+s.Books[i].Sent)
	}
	for i := range s.Books {
		b = appendBook(b, &s.Books[i])
	}
	return b
}

// sealSize is the length of a seal's body, at least.
func sealSize(s *Seal, rows *rowGroups) int {
	return sealHeadSize + rows.size() + len(s.Sources)*sourceSize + len(s.Forgotten)*8 + len(s.Books)*totalSize + int(booksSize(s.Books))
}

// booksSize is what books take in a file.
func booksSize(books []storage.Book) (n int64) {
	for i := range books {
		n += bookSize
		for _, r := range books[i].Refused {
			n += refusalSize + int64(len(r.Reason))
		}
		n += spanSize * int64(len(books[i].Spans))
	}
	return n
}

// sealBody gives access to the parts of a seal's body without copying it.
type sealBody struct {
	window                         storage.Window
	count                          int // of rows
	rows, sources, forgotten, sent []byte
	rest                           []byte // the books
	books                          uint32
	all                            uint64 // sent of all streams, with this seal
}

// parseSeal checks that the counts fit the length, before anybody allocates by
// them.
func parseSeal(b []byte) (s sealBody, ok bool) {
	if len(b) < sealHeadSize {
		return s, false
	}
	s.window = storage.Window{Start: int64(le.Uint64(b)), End: int64(le.Uint64(b[8:]))}
	sources, forgotten, rows := uint64(le.Uint32(b[24:])), uint64(le.Uint32(b[28:])), le.Uint64(b[40:])
	s.count, s.books, s.all = int(le.Uint32(b[16:])), le.Uint32(b[20:]), le.Uint64(b[32:])
	b = b[sealHeadSize:]
	left := uint64(len(b))
	if rows > left || uint64(s.count)*rowSizeMin > rows || sources*sourceSize+forgotten*8+uint64(s.books)*(totalSize+bookSize) > left-rows {
		return s, false
	}
	s.rows, b = b[:rows], b[rows:]
	s.sources, b = b[:sources*sourceSize], b[sources*sourceSize:]
	s.forgotten, b = b[:forgotten*8], b[forgotten*8:]
	s.sent, s.rest = b[:s.books*totalSize], b[s.books*totalSize:]
	return s, true
}

// good says that the rows and books are what the counts say.
func (s *sealBody) good() bool {
	_, rows := rowsIn(s.rows, s.count)
	_, books := getBooks(s.rest, s.books)
	return rows && books
}

// apply brings sources to the state after the seal. One that is forgotten and
// has a state came back after it was forgotten.
func (s *sealBody) apply(sources map[uint64]Source) {
	for b := s.forgotten; len(b) > 0; b = b[8:] {
		delete(sources, le.Uint64(b))
	}
	for b := s.sources; len(b) > 0; b = b[sourceSize:] {
		source := getSource(b)
		sources[source.ID] = source
	}
}

// appendSnapshot appends the body of a snapshot's record.
func appendSnapshot(b []byte, sources map[uint64]Source, sent *totals) []byte {
	b = le.AppendUint32(b, uint32(len(sources)))
	b = le.AppendUint32(b, uint32(len(sent.of)))
	at := len(b)
	b = slices.Grow(b, len(sources)*sourceSize+len(sent.of)*totalSize)[:at+len(sources)*sourceSize]
	for _, s := range sources {
		putSource(b[at:], &s)
		at += sourceSize
	}
	for _, stream := range slices.Sorted(maps.Keys(sent.of)) {
		b = appendTotal(b, stream, sent.of[stream])
	}
	return b
}

// parseSnapshot returns the sources of a snapshot, and what was sent before it.
func parseSnapshot(b []byte) (map[uint64]Source, totals, bool) {
	if len(b) < 8 || uint64(len(b)-8) != uint64(le.Uint32(b))*sourceSize+uint64(le.Uint32(b[4:]))*totalSize {
		return nil, totals{}, false
	}
	n := le.Uint32(b)
	sources := make(map[uint64]Source, n)
	for b = b[8:]; n > 0; n-- {
		source := getSource(b)
		sources[source.ID] = source
		b = b[sourceSize:]
	}
	sent := newTotals()
	sent.take(b)
	return sources, sent, true
}
