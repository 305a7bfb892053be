package segment

import (
	"context"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/merge"
	"github.com/lectern/lectern/storage/vfs"
)

// Cursor reads the rows of a segment one after the other, and has a piece of a block in
// memory, whatever the size of the segment. What it gives is proved to be good at the end
// of each block: an error may come behind rows that are not.
type Cursor struct {
	segment *Segment
	block   int // the next one
	in      *body
	left    uint32 // rows of the block before that
	row     storage.Row
}

// NewCursor returns one before the first row, and the books of the segment, which are
// behind the rows of its first block.
func NewCursor(f vfs.File, s *Segment) (*Cursor, []storage.Book, error) {
	c := &Cursor{segment: s, in: newBody(f, s.Size)}
	c.begin()
	for ; c.left > 0; c.left-- {
		if err := c.in.next(&c.row); err != nil {
			return nil, nil, err
		}
	}
	books, err := c.in.books()
	c.block = 0
	c.begin()
	return c, books, err
}

// begin goes to the block that is next.
func (c *Cursor) begin() {
	e := &c.segment.Blocks[c.block]
	c.in.begin(e)
	c.left = e.Rows
	c.block++
}

// Next returns the next row, which is valid until the next call, nil at the end.
func (c *Cursor) Next() (*storage.Row, error) {
	for c.left == 0 {
		if _, err := c.in.books(); err != nil {
			return nil, err
		}
		if c.block == len(c.segment.Blocks) {
			return nil, nil
		}
		c.begin()
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
