package spool

import (
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/place"
)

const (
	tempSuffix = place.TempSuffix
	badSuffix  = place.BadSuffix
)

type (
	Source = storage.Source
	Seal   = storage.Seal
)

// sealOne makes a seal durable and returns its number, 0 with an error.
func sealOne(s *Spool, what *Seal) (number uint64, err error) {
	err = s.Seal(what, func(n uint64) { number = n })
	return number, err
}

// minutesOf adds up rows.
func minutesOf(rows []storage.Row) *storage.Minutes {
	m := storage.NewMinutes()
	m.Add(rows)
	return m
}

// rowsOf lists what was recovered, in order.
func rowsOf(r *Recovered) (rows []storage.Row) {
	_ = r.Rows.Each(func(row *storage.Row) error {
		rows = append(rows, *row)
		return nil
	})
	return rows
}

// flushRows flushes all rows of the seals up to through.
func flushRows(s *Spool, rows []storage.Row, books []storage.Book, w storage.Window, through uint64) error {
	return s.Flush(minutesOf(rows), books, w, storage.Mark{Through: through, Before: storage.All})
}
