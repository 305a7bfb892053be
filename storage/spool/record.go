package spool

import (
	"maps"
	"slices"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
)

const (
	sourceSize   = 75
	totalSize    = 11
	sealHeadSize = 56
	markSize     = 8 + totalSize // less than any seal: the next one covers it
)

func putSource(b []byte, s *storage.Source) {
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
	b[74] = byte(s.Standing) << 1
	if s.Session {
		b[74] |= 1
	}
}

func getSource(b []byte) storage.Source {
	_ = b[sourceSize-1]
	return storage.Source{
		ID: le.Uint64(b), Base: le.Uint64(b[8:]), End: le.Uint64(b[16:]), Newest: le.Uint64(b[24:]),
		Lost: le.Uint64(b[32:]), Next: le.Uint64(b[40:]), Apart: le.Uint64(b[48:]), Met: int64(le.Uint64(b[56:])),
		LastSeen: int64(le.Uint64(b[64:])), Stream: le.Uint16(b[72:]), Session: b[74]&1 != 0, Standing: storage.Standing(b[74] >> 1 & 3),
	}
}

// appendSeal appends the body of a seal's record. rows holds its rows, before what
// was sent before it.
func appendSeal(b []byte, s *storage.Seal, rows *codec.RowGroups, before *totals) []byte {
	b = le.AppendUint64(b, uint64(s.Window.Start))
	b = le.AppendUint64(b, uint64(s.Window.End))
	b = le.AppendUint32(b, uint32(len(s.Rows)))
	b = le.AppendUint32(b, uint32(len(s.Books)))
	b = le.AppendUint32(b, uint32(len(s.Sources)))
	b = le.AppendUint32(b, uint32(len(s.Forgotten)))
	sent := before.all
	for i := range s.Books {
		sent += s.Books[i].Counts[storage.Sent]
	}
	b = le.AppendUint64(b, sent)
	b = le.AppendUint64(b, uint64(rows.Size()))
	b = le.AppendUint64(b, s.Window.Config)
	b = rows.AppendTo(slices.Grow(b, sealSize(s, rows)))
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
		account := s.Books[i].Account()
		b = appendTotal(b, account, before.of[account]+s.Books[i].Counts[storage.Sent])
	}
	for i := range s.Books {
		b = codec.AppendBook(b, &s.Books[i])
	}
	return b
}

// sealSize is the length of a seal's body, at least.
func sealSize(s *storage.Seal, rows *codec.RowGroups) int {
	return sealHeadSize + rows.Size() + len(s.Sources)*sourceSize + len(s.Forgotten)*8 + len(s.Books)*totalSize + int(codec.BooksSize(s.Books))
}

// sealBody gives access to the parts of a seal's body without copying it.
type sealBody struct {
	window                         storage.Window
	count                          int    // of rows
	newest                         uint32 // of their minutes, by eachRow
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
	s.window = storage.Window{Start: int64(le.Uint64(b)), End: int64(le.Uint64(b[8:])), Config: le.Uint64(b[48:])}
	sources, forgotten, rows := uint64(le.Uint32(b[24:])), uint64(le.Uint32(b[28:])), le.Uint64(b[40:])
	s.count, s.books, s.all = int(le.Uint32(b[16:])), le.Uint32(b[20:]), le.Uint64(b[32:])
	b = b[sealHeadSize:]
	left := uint64(len(b))
	if rows > left || uint64(s.count)*codec.RowSizeMin > rows || sources*sourceSize+forgotten*8+uint64(s.books)*(totalSize+codec.BookSize) > left-rows {
		return s, false
	}
	s.rows, b = b[:rows], b[rows:]
	s.sources, b = b[:sources*sourceSize], b[sources*sourceSize:]
	s.forgotten, b = b[:forgotten*8], b[forgotten*8:]
	s.sent, s.rest = b[:s.books*totalSize], b[s.books*totalSize:]
	return s, true
}

// eachRow calls f with all rows, notes the newest of their minutes, and says whether they
// are what the counts say. f must not keep the row.
func (s *sealBody) eachRow(f func(*storage.Row)) bool {
	d := codec.RowDecoder{Rest: s.rows}
	var row storage.Row
	for range s.count {
		if !d.Next(&row) {
			return false
		}
		s.newest = max(s.newest, row.Minute)
		f(&row)
	}
	return len(d.Rest) == 0
}

// good says that the rows and books are what the counts say.
func (s *sealBody) good() bool {
	_, books := codec.GetBooks(s.rest, s.books)
	return books && s.eachRow(func(*storage.Row) {})
}

// apply brings sources to the state after the seal. One that is forgotten and
// has a state came back after it was forgotten.
func (s *sealBody) apply(sources map[uint64]storage.Source) {
	for b := s.forgotten; len(b) > 0; b = b[8:] {
		delete(sources, le.Uint64(b))
	}
	for b := s.sources; len(b) > 0; b = b[sourceSize:] {
		source := getSource(b)
		sources[source.ID] = source
	}
}

// appendSnapshot appends the body of a snapshot's record.
func appendSnapshot(b []byte, sources map[uint64]storage.Source, sent *totals) []byte {
	b = le.AppendUint32(b, uint32(len(sources)))
	b = le.AppendUint32(b, uint32(len(sent.of)))
	at := len(b)
	b = slices.Grow(b, len(sources)*sourceSize+len(sent.of)*totalSize+8)[:at+len(sources)*sourceSize]
	for _, s := range sources {
		putSource(b[at:], &s)
		at += sourceSize
	}
	for _, account := range slices.SortedFunc(maps.Keys(sent.of), storage.Account.Compare) {
		b = appendTotal(b, account, sent.of[account])
	}
	return b
}

// parseSnapshot returns the sources of a snapshot, and what was sent before it.
func parseSnapshot(b []byte) (map[uint64]storage.Source, totals, bool) {
	if len(b) < 8 || uint64(len(b)-8) != uint64(le.Uint32(b))*sourceSize+uint64(le.Uint32(b[4:]))*totalSize {
		return nil, totals{}, false
	}
	n := le.Uint32(b)
	sources := make(map[uint64]storage.Source, n)
	for b = b[8:]; n > 0; n-- {
		source := getSource(b)
		sources[source.ID] = source
		b = b[sourceSize:]
	}
	sent := newTotals()
	sent.read(b)
	return sources, sent, true
}
