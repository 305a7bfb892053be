package storage

import (
	"cmp"
	"slices"
)

// BlockRowsMax bounds the rows of a block: well under ClickHouse's
// max_insert_block_size (1,048,449), so that a block is one part and one part
// is atomic.
const BlockRowsMax = 500_000

// Block is what a store takes: rows of one day, sorted by CompareKeys with no
// key twice, and the books of the window that ended with it. From the moment it
// has its number it never changes.
type Block struct {
	Collector uint64 // who numbers the blocks
	Number    uint64 // 1, 2, 3, …; (Collector, Number) names the block for ever
	Day       uint32 // days since 1970-01-01 UTC; 0 with no rows
	Rows      Columns
	Window    Window
	Books     []Book // empty in all but one of the blocks of a window
	Checksum  uint32 // of its bytes: tells it from another block by the same name
}

// Columns holds rows by column, all of the same length. Row documents the units.
type Columns struct {
	Stream   []uint16
	Minute   []uint32
	Content  []uint64
	User     []uint64
	Opens    []uint32
	Reads    []uint32
	Finishes []uint32
	Saves    []uint32
	Shares   []uint32
	Dwell    []uint64
	Progress []uint8
	First    []int64
	Last     []int64
	Coarse   []uint8
	Skipped  []uint32

	Impressions []uint32
	Clicks      []uint32
	Variant     []uint8
	Resume      []uint8 // percent, 255 for none: Row.Resume less 1, which wraps
	ResumeLag   []uint16
}

// Len is the number of rows.
func (c *Columns) Len() int { return len(c.Stream) }

// Append appends a row.
func (c *Columns) Append(r *Row) {
	c.Stream = append(c.Stream, r.Stream)
	c.Minute = append(c.Minute, r.Minute)
	c.Content = append(c.Content, r.Content)
	c.User = append(c.User, r.User)
	c.Opens = append(c.Opens, r.Opens)
	c.Reads = append(c.Reads, r.Reads)
	c.Finishes = append(c.Finishes, r.Finishes)
	c.Saves = append(c.Saves, r.Saves)
	c.Shares = append(c.Shares, r.Shares)
	c.Dwell = append(c.Dwell, r.Dwell)
	c.Progress = append(c.Progress, r.Progress)
	c.First = append(c.First, r.First)
	c.Last = append(c.Last, r.Last)
	c.Coarse = append(c.Coarse, uint8(r.Coarse))
	c.Skipped = append(c.Skipped, r.Skipped)
	c.Impressions = append(c.Impressions, r.Impressions)
	c.Clicks = append(c.Clicks, r.Clicks)
	c.Variant = append(c.Variant, r.Variant)
	c.Resume = append(c.Resume, r.Resume-1)
	c.ResumeLag = append(c.ResumeLag, r.ResumeLag)
}

// Row returns row i.
func (c *Columns) Row(i int) Row {
	return Row{
		Stream: c.Stream[i], Minute: c.Minute[i], Content: c.Content[i], User: c.User[i],
		Opens: c.Opens[i], Reads: c.Reads[i], Finishes: c.Finishes[i], Saves: c.Saves[i], Shares: c.Shares[i],
		Dwell: c.Dwell[i], Progress: c.Progress[i], First: c.First[i], Last: c.Last[i],
		Coarse: Coarse(c.Coarse[i]), Skipped: c.Skipped[i],
		Impressions: c.Impressions[i], Clicks: c.Clicks[i], Variant: c.Variant[i],
		Resume: c.Resume[i] + 1, ResumeLag: c.ResumeLag[i],
	}
}

// Compare orders rows i and j as CompareKeys does.
func (c *Columns) Compare(i, j int) int {
	switch {
	case c.Minute[i]/SecondsPerDay != c.Minute[j]/SecondsPerDay:
		return cmp.Compare(c.Minute[i], c.Minute[j])
	case c.Stream[i] != c.Stream[j]:
		return cmp.Compare(c.Stream[i], c.Stream[j])
	case c.Content[i] != c.Content[j]:
		return cmp.Compare(c.Content[i], c.Content[j])
	case c.Minute[i] != c.Minute[j]:
		return cmp.Compare(c.Minute[i], c.Minute[j])
	case c.User[i] != c.User[j]:
		return cmp.Compare(c.User[i], c.User[j])
	}
	return cmp.Or(cmp.Compare(c.Variant[i], c.Variant[j]), cmp.Compare(c.Coarse[i], c.Coarse[j]), cmp.Compare(c.Skipped[i], c.Skipped[j]))
}

// Events is how many events all rows are.
func (c *Columns) Events() (events uint64) {
	for _, column := range [][]uint32{c.Opens, c.Reads, c.Finishes, c.Saves, c.Shares, c.Impressions, c.Clicks} {
		for _, n := range column {
			events += uint64(n)
		}
	}
	return events
}

// Reset takes all rows out and makes room for n, in the same memory where it is enough.
func (c *Columns) Reset(n int) {
	c.Stream = slices.Grow(c.Stream[:0], n)
	c.Minute = slices.Grow(c.Minute[:0], n)
	c.Content = slices.Grow(c.Content[:0], n)
	c.User = slices.Grow(c.User[:0], n)
	c.Opens = slices.Grow(c.Opens[:0], n)
	c.Reads = slices.Grow(c.Reads[:0], n)
	c.Finishes = slices.Grow(c.Finishes[:0], n)
	c.Saves = slices.Grow(c.Saves[:0], n)
	c.Shares = slices.Grow(c.Shares[:0], n)
	c.Dwell = slices.Grow(c.Dwell[:0], n)
	c.Progress = slices.Grow(c.Progress[:0], n)
	c.First = slices.Grow(c.First[:0], n)
	c.Last = slices.Grow(c.Last[:0], n)
	c.Coarse = slices.Grow(c.Coarse[:0], n)
	c.Skipped = slices.Grow(c.Skipped[:0], n)
	c.Impressions = slices.Grow(c.Impressions[:0], n)
	c.Clicks = slices.Grow(c.Clicks[:0], n)
	c.Variant = slices.Grow(c.Variant[:0], n)
	c.Resume = slices.Grow(c.Resume[:0], n)
	c.ResumeLag = slices.Grow(c.ResumeLag[:0], n)
}
