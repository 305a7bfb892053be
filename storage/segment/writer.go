package segment

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/vfs"
)

const writeSize = 256 << 10

// Overhead is about what header and index take beside the blocks, in bytes.
const Overhead = 64 << 10

// Writer writes a segment: rows, then End, then Name.
type Writer struct {
	f         vfs.File
	blockRows int
	rows      codec.RowEncoder // of the block that is written; its Buf is what is not in the file yet
	at        int64            // where that goes
	books     []storage.Book
	block     Block // the one that is written
	open      bool  // there is one
	blocks    []Block
}

// NewWriter begins a segment of about size bytes in an empty file, with these books and
// blocks of at most blockRows rows.
func NewWriter(f vfs.File, books []storage.Book, blockRows int, size int64) *Writer {
	w := &Writer{f: f, blockRows: blockRows, at: HeaderSize, books: books}
	w.rows.Buf = make([]byte, 0, min(writeSize, size)+codec.RowSizeMax)
	return w
}

// Row writes the next row in the order of storage.CompareKeys, to a new block where
// it must.
func (w *Writer) Row(r *storage.Row) error {
	if day := r.Day(); !w.open || w.block.Day != day || int(w.block.Rows) == w.blockRows {
		if err := w.begin(day); err != nil {
			return err
		}
	}
	w.block.Rows++
	w.rows.Add(r)
	if len(w.rows.Buf) < writeSize {
		return nil
	}
	return w.flush()
}

// begin ends the block that is written and begins another.
func (w *Writer) begin(day uint32) error {
	if err := w.endBlock(); err != nil {
		return err
	}
	w.block = Block{At: w.at, Day: day}
	w.rows = codec.RowEncoder{Buf: w.rows.Buf}
	w.open = true
	return nil
}

// endBlock ends the block that is written. The books go with the first.
func (w *Writer) endBlock() error {
	if !w.open {
		return nil
	}
	if len(w.blocks) == 0 {
		w.block.Books = uint32(len(w.books))
		for i := range w.books {
			w.rows.Buf = codec.AppendBook(w.rows.Buf, &w.books[i])
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.block.Length = w.at - w.block.At
	w.blocks = append(w.blocks, w.block)
	w.open = false
	return nil
}

// flush writes what belongs to the block that is written.
func (w *Writer) flush() error {
	b := w.rows.Buf
	w.block.Checksum = crc32.Update(w.block.Checksum, castagnoli, b)
	if _, err := w.f.WriteAt(b, w.at); err != nil {
		return err
	}
	w.at += int64(len(b))
	w.rows.Buf = b[:0]
	if cap(b) > 2*writeSize { // the books were long
		w.rows.Buf = make([]byte, 0, writeSize+codec.RowSizeMax)
	}
	return nil
}

// End ends the rows, makes all that was written durable, which is the bulk, and
// returns how many blocks it is: at least one.
func (w *Writer) End() (blocks int, err error) {
	if !w.open && len(w.blocks) == 0 {
		err = w.begin(0) // for the books
	}
	if err == nil {
		err = w.endBlock()
	}
	if err == nil {
		err = w.f.Sync()
	}
	return len(w.blocks), err
}

// Name writes the header and the index, with what only now is known, and makes the
// whole segment durable. The file gets its name from the caller.
func (w *Writer) Name(h Header, replaced []Name) (*Segment, error) {
	index := make([]byte, 0, len(replaced)*replacedSize+len(w.blocks)*blockEntrySize)
	for _, name := range replaced {
		index = appendName(index, name)
	}
	index, err := binary.Append(index, le, w.blocks)
	if err != nil {
		return nil, err
	}
	h.indexAt, h.blocks, h.replaced, h.indexCRC = uint64(w.at), uint32(len(w.blocks)), uint32(len(replaced)), crc32.Checksum(index, castagnoli)
	var b [HeaderSize]byte
	h.encode(b[:])
	if _, err := w.f.WriteAt(index, w.at); err != nil {
		return nil, err
	}
	if _, err := w.f.WriteAt(b[:], 0); err != nil {
		return nil, err
	}
	if err := w.f.Sync(); err != nil {
		return nil, err
	}
	return &Segment{Header: h, Blocks: w.blocks, Replaced: replaced, Size: w.at + int64(len(index))}, nil
}
