package segment

import (
	"hash/crc32"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

// readSize is how much of a block is in memory while its rows are read.
const readSize = 256 << 10

// body reads the bodies of blocks, one after the other and each piece by piece. Its
// checksum is that of a whole body: until end or books has returned, the rows are as they
// stand in the file, and may be anything.
type body struct {
	f     vfs.File
	piece []byte
	rows  codec.RowDecoder // of what is read of piece
	entry *Block
	left  int64  // bytes of the body that are not read yet
	sum   uint32 // of those that are
}

// newBody returns one for bodies of at most that many bytes.
func newBody(f vfs.File, size int64) *body {
	return &body{f: f, piece: make([]byte, min(size, readSize))}
}

// begin goes to the first row of a block.
func (b *body) begin(e *Block) {
	b.rows, b.entry, b.left, b.sum = codec.RowDecoder{}, e, e.Length, 0
}

// next reads the next row. The caller counts them.
func (b *body) next(r *storage.Row) error {
	if len(b.rows.Rest) < codec.RowSizeMax && b.left > 0 {
		n := copy(b.piece, b.rows.Rest)
		b.rows.Rest = b.piece[:n]
		if err := b.read(min(b.left, int64(len(b.piece)-n))); err != nil {
			return err
		}
	}
	if !b.rows.Next(r) || r.Day() != b.entry.Day {
		return format.Damage("a row is not good")
	}
	return nil
}

// read reads n more bytes behind those that are read, which have room for them.
func (b *body) read(n int64) error {
	from := len(b.rows.Rest)
	b.rows.Rest = b.rows.Rest[:from+int(n)]
	more := b.rows.Rest[from:]
	if _, err := b.f.ReadAt(more, b.entry.At+b.entry.Length-b.left); err != nil && n > 0 {
		return format.ReadError("the block", err)
	}
	b.sum, b.left = crc32.Update(b.sum, castagnoli, more), b.left-n
	return nil
}

// books reads what is behind the rows, all of which were read, and compares the
// checksum.
func (b *body) books() ([]storage.Book, error) {
	rest := b.rows.Rest
	b.rows.Rest = append(make([]byte, 0, int64(len(rest))+b.left), rest...) // the books may keep it
	if err := b.read(b.left); err != nil {
		return nil, err
	}
	if b.sum != b.entry.Checksum {
		return nil, format.Damage("the checksum is wrong")
	}
	books, ok := codec.GetBooks(b.rows.Rest, b.entry.Books)
	if !ok {
		return nil, format.Damage("the books do not fit")
	}
	return books, nil
}
