// Package parquet keeps blocks in Parquet files in one directory: the store that
// needs no server.
//
//	<dir>/collector                                    the id that numbers the blocks, hex
//	<dir>/lock                                         held by the process that writes
//	<dir>/reads/day=YYYY-MM-DD/<hour>-<number>.parquet         the rows of one block
//	<dir>/reads/day=YYYY-MM-DD/<hour>-<first>-<last>.parquet   those of several, merged
//	<dir>/ledger/day=YYYY-MM-DD/…                              the books, named the same way
//	<dir>/spans/day=YYYY-MM-DD/…                               what the books' collectors saw of sources
//	<dir>/contents/day=YYYY-MM-DD/…                            what contents are called, and more of them
//
// Where the process has a collector id of its own, it stands behind the hour, as
// -c and 16 hex digits, so that several processes may write to one directory.
//
// The hour, YYYYMMDDTHH in UTC, is the hour in which the block's window ended. Rows
// are under the day of their minutes; books, spans and names are under the day of their
// window's end. Emitters say each name once a day, so each day has the names of the
// contents that were read in it.
//
// Checksums cover every byte of a file: metaSum covers the pages, and a footnote before
// the footer covers the indexes and the footer. The footer is checked before the
// library for Parquet sees anything of a file.
//
// A file's metadata alone says which blocks the file holds. A file whose blocks are all
// in other files too, as after a crash in the middle of a merge, is not read. Files with
// other names, and those of other collectors, are read but never merged nor removed.
//
// No byte of a Parquet file is trusted unchecked. A footer says where everything is, how
// long it is, and how it is compressed, and Parquet libraries believe it. When one codec's
// number was changed to another's, ours allocated memory until the process was killed,
// which no recover can catch. So a file has a footnote of 32 bytes before its footer, with
// checksums of the footer and of the indexes before it; the pages have theirs in the
// metadata. DuckDB, ClickHouse and others find the footer from the file's end and never
// look at the footnote. The footer is compared with its checksum and handed to the library
// from memory; then the codec and the place of each column are checked. If the library
// panics all the same, that becomes an error. A file without a footnote is not one of ours
// and is not read.
package parquet

import (
	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage"
)

// table is one of the trees of files.
type table string

const (
	reads    table = "reads"
	ledger   table = "ledger"
	seen     table = "spans"
	contents table = "contents"
)

// tables are all, in the order in which a block goes to them.
var tables = []table{contents, seen, ledger, reads}

// streamReserved marks receipts in other stores; no reader has it.
const streamReserved = 65535

// readRow is a row of the reads table. Where few values repeat, a dictionary pays;
// where they lie close to each other, deltas do. What is the same in nearly all rows
// has neither: compression leaves as little of it, and a dictionary takes more time.
type readRow struct {
	Stream   uint16 `parquet:"stream,uint(16)"`
	Minute   int64  `parquet:"minute,timestamp(millisecond:utc),dict,zstd"`
	Content  uint64 `parquet:"content,dict,zstd"`
	User     uint64 `parquet:"user,zstd"`
	Opens    uint32 `parquet:"opens,dict,zstd"`
	Reads    uint32 `parquet:"reads,dict,zstd"`
	Finishes uint32 `parquet:"finishes,dict"`
	Saves    uint32 `parquet:"saves"`
	Shares   uint32 `parquet:"shares"`
	Dwell    uint64 `parquet:"dwell_ms,delta,zstd"`
	Progress uint8  `parquet:"progress,uint(8),dict,zstd"`
	First    int64  `parquet:"first,timestamp(millisecond:utc),delta"`
	Last     int64  `parquet:"last,timestamp(millisecond:utc),delta"`
	Coarse   uint8  `parquet:"coarse,uint(8)"`
	Skipped  uint32 `parquet:"skipped,dict,zstd"`

	Impressions uint32 `parquet:"impressions"`
	Clicks      uint32 `parquet:"clicks"`
	Variant     uint8  `parquet:"variant,uint(8)"`
	Resume      uint8  `parquet:"resume,uint(8),dict,zstd"` // percent; 255: none
	ResumeLag   uint16 `parquet:"resume_lag,uint(16)"`
}

var (
	readsSchema = parquet.SchemaOf(readRow{})
	seenSchema  = parquet.SchemaOf(seenRow{})

	contentsSchema = parquet.SchemaOf(contentRow{})
)

func (t table) schema() *parquet.Schema {
	switch t {
	case ledger:
		return ledgerSchema
	case seen:
		return seenSchema
	case contents:
		return contentsSchema
	}
	return readsSchema
}

func readRowOf(r *storage.Row) readRow {
	return readRow{
		Stream: r.Stream, Minute: int64(r.Minute) * 1000, Content: r.Content, User: r.User,
		Opens: r.Opens, Reads: r.Reads, Finishes: r.Finishes, Saves: r.Saves, Shares: r.Shares,
		Dwell: r.Dwell, Progress: r.Progress, First: r.First, Last: r.Last,
		Coarse: uint8(r.Coarse), Skipped: r.Skipped,
		Impressions: r.Impressions, Clicks: r.Clicks, Variant: r.Variant, Resume: r.Resume - 1, ResumeLag: r.ResumeLag,
	}
}

// readRowsOf fills rows with those of columns from one on.
func readRowsOf(rows []readRow, c *storage.Columns, from int) {
	for i := range rows {
		r, n := &rows[i], from+i
		r.Stream, r.Minute, r.Content, r.User = c.Stream[n], int64(c.Minute[n])*1000, c.Content[n], c.User[n]
		r.Opens, r.Reads, r.Finishes, r.Saves, r.Shares = c.Opens[n], c.Reads[n], c.Finishes[n], c.Saves[n], c.Shares[n]
		r.Dwell, r.Progress, r.First, r.Last = c.Dwell[n], c.Progress[n], c.First[n], c.Last[n]
		r.Coarse, r.Skipped = c.Coarse[n], c.Skipped[n]
		r.Impressions, r.Clicks, r.Variant = c.Impressions[n], c.Clicks[n], c.Variant[n]
		r.Resume, r.ResumeLag = c.Resume[n], c.ResumeLag[n]
	}
}
