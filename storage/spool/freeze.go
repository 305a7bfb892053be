package spool

import (
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs"
)

// Freeze writes rows as numbered blocks, of one day and at most
// storage.BlockRowsMax rows each, which wait for the store from then on. Together
// with books and w they are what the mark says and no earlier Freeze had. With an
// error nothing was frozen. The rows stay the caller's. Without rows and books no
// block is made.
func (s *Spool) Freeze(rows *storage.Minutes, books []storage.Book, w storage.Window, m storage.Mark) error {
	if err := s.checkMark(m); err != nil {
		return err
	}
	for i := range books {
		if err := checkBook(&books[i]); err != nil {
			return err
		}
	}
	if rows.Len() == 0 && len(books) == 0 {
		if err := s.freezeNothing(m); err != nil {
			return err
		}
		s.tidy()
		return nil
	}
	o, err := s.newRun(books, s.runSize(rows.Len())+booksSize(books))
	if err == nil {
		err = o.publish(rows.Each(o.row), w, func() coverage { return s.after(m) }, nil)
	}
	if err != nil {
		return fmt.Errorf("spool: freeze %d rows of the seals up to %d: %w", rows.Len(), m.Through, err)
	}
	s.tidy()
	s.token()
	return nil
}

// runSize is about what so many rows take in a run: no more than in their seals,
// but that the period and the content may be in front of each, and the counters and
// the last moment of those that were added up.
func (s *Spool) runSize(rows int) int64 {
	const more = periodSize + 8 + 5 + 4
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(int64(rows)*rowSizeMax, waitingBytes(s.waiting)+int64(rows)*more)
}

// checkMark says whether a mark can be frozen.
func (s *Spool) checkMark(m storage.Mark) error {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if s.closed {
		return errClosed
	}
	if m.Through > s.sealed {
		return fmt.Errorf("spool: seal %d cannot be frozen, the last one is %d", m.Through, s.sealed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if parted := m.Before != storage.All && s.parted(s.part); m.Through < s.part || m.Before > math.MaxUint32 && m.Before != storage.All || parted && m.Before < uint64(s.before) {
		return fmt.Errorf("spool: seal %d before minute %d cannot be frozen behind seal %d before minute %d", m.Through, m.Before, s.part, s.before)
	}
	return nil
}

// freezeNothing notes that nothing is to be stored of what a mark says.
func (s *Spool) freezeNothing(m storage.Mark) error {
	s.dirMu.Lock()
	defer s.dirMu.Unlock()
	if err := s.syncDir(); err != nil { // what was frozen before is covered then
		return fmt.Errorf("spool: %w", err)
	}
	s.mu.Lock()
	s.cover(s.after(m))
	s.mu.Unlock()
	return nil
}

// runWriter writes a run file.
type runWriter struct {
	s      *Spool
	f      vfs.File
	temp   string
	held   int64      // bytes of the quota
	rows   rowEncoder // of the block that is written; its buf is what is not in the file yet
	at     int64      // where that goes
	books  []storage.Book
	block  blockEntry // the one that is written
	open   bool       // there is one
	blocks []blockEntry
}

const (
	writeSize   = 256 << 10
	runOverhead = 64 << 10 // bytes held for header and index
)

// newRun begins a run of about that many bytes, with these books.
func (s *Spool) newRun(books []storage.Book, size int64) (*runWriter, error) {
	w := &runWriter{s: s, held: size + runOverhead, at: runHeaderSize, books: books}
	w.rows.buf = make([]byte, 0, min(writeSize, size)+rowSizeMax)
	if err := s.quota.hold(w.held); err != nil {
		s.warn("room for a run", err)
	}
	s.dirMu.Lock()
	defer s.dirMu.Unlock()
	var err error
	if w.f, w.temp, err = s.create(); err != nil {
		s.quota.written(w.held, 0)
		return nil, err
	}
	return w, nil
}

// row writes the next row, to a new block where it must.
func (w *runWriter) row(r *storage.Row) error {
	if day := r.Day(); !w.open || w.block.day != day || int(w.block.rows) == w.s.o.blockRows {
		if err := w.begin(day); err != nil {
			return err
		}
	}
	w.block.rows++
	w.rows.add(r)
	if len(w.rows.buf) < writeSize {
		return nil
	}
	return w.flush()
}

// begin ends the block that is written and begins another.
func (w *runWriter) begin(day uint32) error {
	if err := w.end(); err != nil {
		return err
	}
	w.block = blockEntry{at: w.at, day: day}
	w.rows = rowEncoder{buf: w.rows.buf}
	w.open = true
	return nil
}

// end ends the block that is written. The books go with the first.
func (w *runWriter) end() error {
	if !w.open {
		return nil
	}
	if len(w.blocks) == 0 {
		w.block.books = uint32(len(w.books))
		for i := range w.books {
			w.rows.buf = appendBook(w.rows.buf, &w.books[i])
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.block.length = w.at - w.block.at
	w.blocks = append(w.blocks, w.block)
	w.open = false
	return nil
}

// flush writes what belongs to the block that is written.
func (w *runWriter) flush() error {
	b := w.rows.buf
	w.block.crc = crc32.Update(w.block.crc, castagnoli, b)
	if _, err := w.f.WriteAt(b, w.at); err != nil {
		return err
	}
	w.at += int64(len(b))
	w.rows.buf = b[:0]
	if cap(b) > 2*writeSize { // the books were long
		w.rows.buf = make([]byte, 0, writeSize+rowSizeMax)
	}
	return nil
}

// publish ends the run, or gives it up where failed is not nil: it numbers the
// blocks and gives the file its name. covers is asked, with mu held, what runs
// cover with this one. The merged runs are not in the list afterwards.
func (w *runWriter) publish(failed error, window storage.Window, covers func() coverage, merged []*run) error {
	err := w.finish(failed, window, covers, merged)
	_ = w.f.Close() // Sync said what there is to say
	if err != nil {
		w.s.quota.written(w.held, 0)
		w.s.discard(w.temp)
		if err := w.s.quota.settle(); err != nil {
			w.s.warn("room on the disk is not reserved", err)
		}
	}
	return err
}

func (w *runWriter) finish(failed error, window storage.Window, covers func() coverage, merged []*run) error {
	err := failed
	if err == nil && !w.open && len(w.blocks) == 0 {
		err = w.begin(0) // for the books
	}
	if err == nil {
		err = w.end()
	}
	if err == nil {
		err = w.f.Sync() // the bulk, before anybody is kept waiting
	}
	if err != nil {
		return err
	}
	s := w.s
	s.dirMu.Lock()
	defer s.dirMu.Unlock()
	if err := s.noteUnchecked(); err != nil {
		return err
	}
	s.mu.Lock()
	first, all := s.last+1, covers()
	s.mu.Unlock()
	r := &run{
		name:   runName{first, first + uint64(len(w.blocks)) - 1, all},
		window: window, blocks: w.blocks, states: make([]blockState, len(w.blocks)), left: len(w.blocks),
	}
	for _, m := range merged {
		r.replaced = append(r.replaced, fileSize{m.name, m.size})
	}
	if err := w.head(r); err != nil {
		return err
	}
	if err := s.rename(w.temp, r.name.String()); err != nil {
		return err
	}
	// As long as nobody else knows the run: it may be stored and gone at once.
	s.quota.written(w.held, r.size)
	s.mu.Lock()
	s.last = r.name.last
	for _, m := range merged {
		s.drop(m)
	}
	s.runs = append(s.runs, r)
	s.mu.Unlock()
	if err := s.syncDir(); err != nil {
		// It is there; nothing is built on it before a later sync succeeds.
		s.warn("the name of a run is not durable yet", err)
	}
	return nil
}

// head writes the index and the header, and makes all durable.
func (w *runWriter) head(r *run) error {
	index := make([]byte, 0, len(r.replaced)*replacedSize+len(r.blocks)*blockEntrySize)
	for _, f := range r.replaced {
		index = appendRunName(index, f.name)
	}
	for i := range r.blocks {
		n := len(index)
		index = slices.Grow(index, blockEntrySize)[:n+blockEntrySize]
		r.blocks[i].encode(index[n:])
	}
	h := runHeader{
		collector: w.s.collector, name: r.name, window: r.window, indexAt: uint64(w.at), created: w.s.o.Clock().UnixMilli(),
		blocks: uint32(len(r.blocks)), replaced: uint32(len(r.replaced)), indexCRC: crc32.Checksum(index, castagnoli),
	}
	var b [runHeaderSize]byte
	h.encode(b[:])
	r.size = w.at + int64(len(index))
	if _, err := w.f.WriteAt(index, w.at); err != nil {
		return err
	}
	if _, err := w.f.WriteAt(b[:], 0); err != nil {
		return err
	}
	return w.f.Sync()
}
