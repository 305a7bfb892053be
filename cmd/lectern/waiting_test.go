package main

import (
	"testing"

	"github.com/lectern/lectern/storage/spool"
)

// A seal waits while it has rows or books that no run has. One that only says where
// sources are, or that they were forgotten, brings nothing to a block.
func TestWaitingSeals(t *testing.T) {
	seal := func(n uint64, rows, books int) spool.RecordContents {
		return spool.RecordContents{Kind: "seal", Number: n, Time: int64(1000 * n), Rows: rows, Books: books, Sources: 1}
	}
	for _, c := range []struct {
		about   string
		runs    []spool.SegmentContents
		records []spool.RecordContents
		seals   int
		rows    int
		since   int64
	}{
		{"nothing", nil, nil, 0, 0, 0},
		{"rows and books", nil, []spool.RecordContents{seal(1, 10, 1), seal(2, 5, 1)}, 2, 15, 1000},
		{"books alone", nil, []spool.RecordContents{seal(3, 0, 2)}, 1, 0, 3000},
		{"sources alone", nil, []spool.RecordContents{seal(4, 0, 0), {Kind: "seal", Number: 5, Time: 5000, Forgotten: 1}}, 0, 0, 0},
		{"sources alone, before rows", nil, []spool.RecordContents{seal(6, 0, 0), seal(7, 1, 1)}, 1, 1, 7000},
		{"in a run", []spool.SegmentContents{{Through: 2}}, []spool.RecordContents{seal(1, 10, 1), seal(2, 5, 1), seal(3, 2, 1)}, 1, 2, 3000},
		{"stored, by a mark", nil, []spool.RecordContents{seal(1, 10, 1), {Kind: "mark", Number: 2, Through: 1}}, 0, 0, 0},
		{"written twice", nil, []spool.RecordContents{seal(1, 10, 1), seal(1, 10, 1)}, 1, 10, 1000},
	} {
		seals, rows, since := waitingSeals(&spool.Contents{Segments: c.runs, Logs: []spool.LogContents{{Records: c.records}}})
		if seals != c.seals || rows != c.rows || since != c.since {
			t.Errorf("%s: %d seals, %d rows, since %d; want %d, %d, %d", c.about, seals, rows, since, c.seals, c.rows, c.since)
		}
	}
}
