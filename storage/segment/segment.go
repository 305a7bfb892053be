// Package segment writes, reads and compacts segments: files of sorted rows that never
// change, in numbered blocks, with the books that go with them. A segment knows which
// rows of the log are in it and those before it; it knows nothing of the log's files,
// nor of what becomes of its blocks. FORMAT.md, beside package spool, draws one.
//
// The books are in the first block. Damage there takes them along: the counts of the
// segment's other blocks are stored, and the books are off by as much.
package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

// Segment is what the header and the index of a segment say.
type Segment struct {
	Header
	Blocks   []Block
	Replaced []Name // those that were compacted into it
	Size     int64  // bytes of the file
}

// Read reads the header and the index of a file of that size and name. The error is
// format.ErrDamaged, format.ErrRead or format.ErrVersion.
func Read(f vfs.File, size int64, name Name) (*Segment, error) {
	if size < HeaderSize {
		return nil, format.Damage("%d bytes are too few", size)
	}
	var b [HeaderSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return nil, format.ReadError("the header", err)
	}
	s := &Segment{Size: size}
	if err := s.decode(b[:]); errors.Is(err, format.ErrVersion) {
		return nil, err
	} else if err != nil {
		return nil, format.DamagedBy("the header", err)
	}
	if s.Name != name {
		return nil, format.Damage("the header belongs to %s", s.Name)
	}
	if err := s.readIndex(f); err != nil {
		return nil, err
	}
	return s, nil
}

// readIndex reads the index that the header tells of.
func (s *Segment) readIndex(f vfs.File) error {
	length := int64(s.replaced)*replacedSize + int64(s.blocks)*blockEntrySize
	if s.blocks == 0 || uint64(s.blocks) != s.Name.Last-s.Name.First+1 || length > s.Size || int64(s.indexAt) != s.Size-length {
		return format.Damage("the index does not fit the file")
	}
	index := make([]byte, length)
	if _, err := f.ReadAt(index, int64(s.indexAt)); err != nil {
		return format.ReadError("the index", err)
	}
	if crc32.Checksum(index, castagnoli) != s.indexCRC {
		return format.Damage("the index's checksum is wrong")
	}
	for range s.replaced {
		s.Replaced = append(s.Replaced, getName(index))
		index = index[replacedSize:]
	}
	s.Blocks = make([]Block, s.blocks)
	if _, err := binary.Decode(index, le, s.Blocks); err != nil {
		return format.DamagedBy("the index", err)
	}
	at := int64(HeaderSize)
	for i := range s.Blocks {
		e := &s.Blocks[i]
		if e.At != at || e.Length < int64(e.Rows)*codec.RowSizeMin+int64(e.Books)*codec.BookSize || e.Length > int64(s.indexAt)-at {
			return format.Damage("block %d is not where the index says", s.Name.First+uint64(i))
		}
		at += e.Length
	}
	if at != int64(s.indexAt) {
		return format.Damage("there is something behind the last block")
	}
	return nil
}

// Load reads block i, its rows into memory that may have others. The error is
// format.ErrDamaged or format.ErrRead.
func (s *Segment) Load(f vfs.File, i int, memory storage.Columns) (*storage.Block, error) {
	e := &s.Blocks[i]
	b := &storage.Block{Collector: s.Collector, Number: s.Name.First + uint64(i), Day: e.Day, Rows: memory, Window: s.Window, Checksum: e.Checksum}
	in := newBody(f, e.Length)
	in.begin(e)
	b.Rows.Reset(int(e.Rows))
	var row storage.Row
	for range e.Rows {
		if err := in.next(&row); err != nil {
			return nil, err
		}
		b.Rows.Append(&row)
	}
	var err error
	b.Books, err = in.books()
	return b, err
}
