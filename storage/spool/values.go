package spool

import (
	"slices"

	"github.com/lectern/lectern/storage"
)

const (
	sourceSize   = 59
	bookSize     = 68 // without its refusals
	refusalSize  = 17 // without its reason
	sealHeadSize = 40
)

func putSource(b []byte, s *Source) {
	_ = b[sourceSize-1]
	le.PutUint64(b, s.ID)
	le.PutUint64(b[8:], s.Base)
	le.PutUint64(b[16:], s.End)
	le.PutUint64(b[24:], s.Newest)
	le.PutUint64(b[32:], s.Lost)
	le.PutUint64(b[40:], s.Next)
	le.PutUint64(b[48:], uint64(s.LastSeen))
	le.PutUint16(b[56:], s.Stream)
	b[58] = 0
	if s.Session {
		b[58] = 1
	}
}

func getSource(b []byte) Source {
	_ = b[sourceSize-1]
	return Source{
		ID: le.Uint64(b), Base: le.Uint64(b[8:]), End: le.Uint64(b[16:]), Newest: le.Uint64(b[24:]),
		Lost: le.Uint64(b[32:]), Next: le.Uint64(b[40:]), LastSeen: int64(le.Uint64(b[48:])),
		Stream: le.Uint16(b[56:]), Session: b[58]&1 != 0,
	}
}

func appendBook(b []byte, k *storage.Book) []byte {
	b = le.AppendUint16(b, k.Stream)
	for _, n := range [...]uint64{k.Sent, k.Accepted, uint64(k.Lost), k.Shed, k.Clamped, k.Duplicate, k.Stale, k.Reordered} {
		b = le.AppendUint64(b, n)
	}
	b = le.AppendUint16(b, uint16(len(k.Refused)))
	for _, r := range k.Refused {
		b = append(b, byte(len(r.Reason)))
		b = append(b, r.Reason...)
		b = le.AppendUint64(b, r.Events)
		b = le.AppendUint64(b, r.Frames)
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
	k.Shed, k.Clamped = le.Uint64(b[26:]), le.Uint64(b[34:])
	k.Duplicate, k.Stale, k.Reordered = le.Uint64(b[42:]), le.Uint64(b[50:]), le.Uint64(b[58:])
	refusals := int(le.Uint16(b[66:]))
	b = b[bookSize:]
	if len(b) < refusals*refusalSize {
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
		c.Refused = slices.Clone(c.Refused)
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

// appendSeal appends the body of a seal's record. rows holds its rows.
func appendSeal(b []byte, s *Seal, rows *rowGroups) []byte {
	b = le.AppendUint64(b, uint64(s.Window.Start))
	b = le.AppendUint64(b, uint64(s.Window.End))
	b = le.AppendUint32(b, uint32(len(s.Rows)))
	b = le.AppendUint32(b, uint32(len(s.Books)))
	b = le.AppendUint32(b, uint32(len(s.Sources)))
	b = le.AppendUint32(b, uint32(len(s.Forgotten)))
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
		b = appendBook(b, &s.Books[i])
	}
	return b
}

// sealSize is the length of a seal's body, at least.
func sealSize(s *Seal, rows *rowGroups) int {
	return sealHeadSize + rows.size() + len(s.Sources)*sourceSize + len(s.Forgotten)*8 + int(booksSize(s.Books))
}

// booksSize is what books take in a file.
func booksSize(books []storage.Book) (n int64) {
	for i := range books {
		n += bookSize
		for _, r := range books[i].Refused {
			n += refusalSize + int64(len(r.Reason))
		}
	}
	return n
}

// sealBody gives access to the parts of a seal's body without copying it.
type sealBody struct {
	window                         storage.Window
	count                          int // of rows
	rows, sources, forgotten, rest []byte
	books                          uint32
}

// parseSeal checks that the counts fit the length, before anybody allocates by
// them.
func parseSeal(b []byte) (s sealBody, ok bool) {
	if len(b) < sealHeadSize {
		return s, false
	}
	s.window = storage.Window{Start: int64(le.Uint64(b)), End: int64(le.Uint64(b[8:]))}
	sources, forgotten, rows := uint64(le.Uint32(b[24:])), uint64(le.Uint32(b[28:])), le.Uint64(b[32:])
	s.count, s.books = int(le.Uint32(b[16:])), le.Uint32(b[20:])
	b = b[sealHeadSize:]
	left := uint64(len(b))
	if rows > left || uint64(s.count)*rowSizeMin > rows || sources*sourceSize+forgotten*8+uint64(s.books)*bookSize > left-rows {
		return s, false
	}
	s.rows, b = b[:rows], b[rows:]
	s.sources, b = b[:sources*sourceSize], b[sources*sourceSize:]
	s.forgotten, s.rest = b[:forgotten*8], b[forgotten*8:]
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
func appendSnapshot(b []byte, sources map[uint64]Source) []byte {
	b = le.AppendUint32(b, uint32(len(sources)))
	b = le.AppendUint32(b, 0)
	at := len(b)
	b = slices.Grow(b, len(sources)*sourceSize)[:at+len(sources)*sourceSize]
	for _, s := range sources {
		putSource(b[at:], &s)
		at += sourceSize
	}
	return b
}

// parseSnapshot returns the sources of a snapshot.
func parseSnapshot(b []byte) (map[uint64]Source, bool) {
	if len(b) < 8 || uint64(len(b)-8) != uint64(le.Uint32(b))*sourceSize {
		return nil, false
	}
	sources := make(map[uint64]Source, le.Uint32(b))
	for b = b[8:]; len(b) > 0; b = b[sourceSize:] {
		source := getSource(b)
		sources[source.ID] = source
	}
	return sources, true
}
