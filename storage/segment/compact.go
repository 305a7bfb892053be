package segment

import (
	"context"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/merge"
	"github.com/lectern/lectern/storage/vfs"
)

// Cursor reads the rows of a segment one after the other, and has one block of it in
// memory.
type Cursor struct {
	f       vfs.File
	segment *Segment
	block   int // the next one
	in      *body
	left    uint32 // rows of in
	row     storage.Row
}

// NewCursor returns one before the first row, and the books of the segment, which are
// behind the rows of its first block.
func NewCursor(f vfs.File, s *Segment) (*Cursor, []storage.Book, error) {
	c := &Cursor{f: f, segment: s}
	if err := c.begin(); err != nil {
		return nil, nil, err
	}
	ahead, row := *c.in, storage.Row{}
	for range c.left {
		if err := ahead.next(&row); err != nil {
			return nil, nil, err
		}
	}
	books, err := ahead.books()
	return c, books, err
}

// begin reads the block that is next.
func (c *Cursor) begin() (err error) {
	c.in, err = readBody(c.f, &c.segment.Blocks[c.block])
	c.left = c.segment.Blocks[c.block].Rows
	c.block++
	return err
}

// Next returns the next row, which is valid until the next call, nil at the end.
func (c *Cursor) Next() (*storage.Row, error) {
	for c.left == 0 {
		if c.block == len(c.segment.Blocks) {
			return nil, nil
		}
		if err := c.begin(); err != nil {
			return nil, err
		}
	}
	c.left--
	return &c.row, c.in.next(&c.row)
}

// Compact writes the rows of several segments to one, those of the same key added up.
func Compact(ctx context.Context, cursors []*Cursor, w *Writer) error {
	sources := make([]merge.Source[storage.Row], len(cursors))
	for i, c := range cursors {
		sources[i] = c
	}
	sum := storage.Sum{Emit: w.Row}
	if err := merge.Sorted(ctx, sources, storage.CompareKeys, sum.Add); err != nil {
		return err
	}
	return sum.End()
}
