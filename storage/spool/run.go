package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/vfs"
)

// run is a run file, of frozen blocks.
type run struct {
	name     runName
	window   storage.Window
	blocks   []blockEntry
	states   []blockState
	replaced []fileSize // runs that were merged into it, until their removal is durable
	size     int64
	left     int  // blocks that wait or are parked
	durable  bool // its name is
	unlinked bool // replaced are removed
	tried    bool // a store may have seen a block of it: it is never merged
	merging  bool // it is being merged: nothing of it is given to a store
}

type fileSize struct {
	name runName
	size int64
}

type blockState uint8

const (
	blockWaits blockState = iota
	blockParked
	blockStored
	blockDamaged
)

func (r *run) done() bool { return r.left == 0 }

// coveredBy says that durable records know all that the run's name says.
func (r *run) coveredBy(m marks) bool { return m.knows(r.name.coverage) && r.name.last <= m.last }

func (r *run) damaged() bool {
	for _, state := range r.states {
		if state == blockDamaged {
			return true
		}
	}
	return false
}

// class is alike for runs of about the same size, within a factor of eight.
func (r *run) class() int { return bits.Len64(uint64(r.size)) / 3 }

// set changes the state of a block.
func (r *run) set(i int, state blockState) {
	waits := func(s blockState) bool { return s == blockWaits || s == blockParked }
	if waits(r.states[i]) && !waits(state) {
		r.left--
	}
	r.states[i] = state
}

var (
	errDamaged = errors.New("damaged")
	errRead    = errors.New("cannot be read now")
)

func damage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// damagedBy is the error of what is not as it was written.
func damagedBy(what string, why error) error {
	return fmt.Errorf("%w: %s: %w", errDamaged, what, why)
}

// readError is the error of a read. Where a file ends too early it is damaged;
// whatever else the kernel says is about the disk at this moment, and not about
// what the file holds.
func readError(what string, err error) error {
	if errors.Is(err, io.EOF) {
		return damage("%s: the file ends too early", what)
	}
	return fmt.Errorf("%s %w: %w", what, errRead, err)
}

// readRun reads the header and the index of a run file.
func readRun(f vfs.File, size int64, name runName) (*run, *runHeader, error) {
	if size < runHeaderSize {
		return nil, nil, damage("%d bytes are too few", size)
	}
	var b [runHeaderSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return nil, nil, readError("the header", err)
	}
	var h runHeader
	if err := h.decode(b[:]); errors.Is(err, format.ErrVersion) {
		return nil, nil, err
	} else if err != nil {
		return nil, nil, damagedBy("the header", err)
	}
	if h.name != name {
		return nil, &h, damage("the header belongs to %s", h.name)
	}
	length := int64(h.replaced)*replacedSize + int64(h.blocks)*blockEntrySize
	if h.blocks == 0 || uint64(h.blocks) != name.last-name.first+1 || length > size || int64(h.indexAt) != size-length {
		return nil, &h, damage("the index does not fit the file")
	}
	index := make([]byte, length)
	if _, err := f.ReadAt(index, int64(h.indexAt)); err != nil {
		return nil, &h, readError("the index", err)
	}
	if crc32.Checksum(index, castagnoli) != h.indexCRC {
		return nil, &h, damage("the index's checksum is wrong")
	}
	r := &run{name: name, window: h.window, size: size, left: int(h.blocks)}
	for range h.replaced {
		r.replaced = append(r.replaced, fileSize{name: getRunName(index)})
		index = index[replacedSize:]
	}
	r.blocks, r.states = make([]blockEntry, h.blocks), make([]blockState, h.blocks)
	at := int64(runHeaderSize)
	for i := range r.blocks {
		e := &r.blocks[i]
		e.decode(index)
		index = index[blockEntrySize:]
		if e.at != at || e.length < int64(e.rows)*rowSizeMin+int64(e.books)*bookSize || e.length > int64(h.indexAt)-at {
			return nil, &h, damage("block %d is not where the index says", name.first+uint64(i))
		}
		at += e.length
	}
	if at != int64(h.indexAt) {
		return nil, &h, damage("there is something behind the last block")
	}
	return r, &h, nil
}

// loadBlock reads block i of a run.
func loadBlock(f vfs.File, r *run, i int, collector uint64) (*storage.Block, error) {
	e := &r.blocks[i]
	b := &storage.Block{Collector: collector, Number: r.name.first + uint64(i), Day: e.day, Window: r.window, Checksum: e.crc}
	in, err := readBody(f, e)
	if err != nil {
		return nil, err
	}
	b.Rows.Grow(int(e.rows))
	var row storage.Row
	for range e.rows {
		if err := in.next(&row); err != nil {
			return nil, err
		}
		b.Rows.Append(&row)
	}
	b.Books, err = in.books()
	return b, err
}

// blockBody is the body of a block, of which the checksum was right.
type blockBody struct {
	rows  rowDecoder
	entry *blockEntry
}

// readBody reads the body of a block.
func readBody(f vfs.File, e *blockEntry) (*blockBody, error) {
	b := make([]byte, e.length)
	if _, err := f.ReadAt(b, e.at); err != nil && len(b) > 0 {
		return nil, readError("the block", err)
	}
	if crc32.Checksum(b, castagnoli) != e.crc {
		return nil, damage("the checksum is wrong")
	}
	return &blockBody{rowDecoder{rest: b}, e}, nil
}

// next reads the next row. The caller counts them.
func (b *blockBody) next(r *storage.Row) error {
	if !b.rows.next(r) {
		return damage("a row is not good")
	}
	return nil
}

// books reads what is behind the rows, all of which were read.
func (b *blockBody) books() ([]storage.Book, error) {
	books, ok := getBooks(b.rows.rest, b.entry.books)
	if !ok {
		return nil, damage("the books do not fit")
	}
	return books, nil
}

// drop takes a run out of the list. The caller has mu.
func (s *Spool) drop(gone *run) {
	for i, r := range s.runs {
		if r == gone {
			s.runs = append(s.runs[:i:i], s.runs[i+1:]...)
			return
		}
	}
}
