// Package wal is the write-ahead log: records of bytes that are durable when Append
// returns, in files that go when nobody needs their entries any more. It knows neither
// rows nor segments: what the bodies and stamps of records mean is their owner's.
//
// Entries are numbered by their owner, one after the other. Each file begins with a
// snapshot of all that the owner knew after the entry before it, so that older files
// can be removed. After a write or a sync has failed, its file is not written to again:
// the record is written to a new file. FORMAT.md, beside package spool, draws the files.
package wal

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/vfs"
)

// Options say whose the log is and where it stands.
type Options struct {
	Place     *place.Place
	Collector uint64
	FileSize  int64 // bytes of a file, or more where a record has more
	Spare     int64 // bytes of a file that entries leave for marks
	Clock     func() time.Time
	Nonce     func() uint64

	Stamp    func() Stamp                  // what the next record says
	Snapshot func(b []byte) []byte         // appends the state behind the last entry
	Durable  func(stamp Stamp, left int64) // a record with it is durable, and left bytes remain for entries in its file
}

// Log is an open log. One goroutine at a time appends; what needs the lock of the place
// says so.
type Log struct {
	o    Options
	file *File // the one that is written; at a start the last one of before
	next uint64
	mark []byte // the mark behind the last entry

	files []*File    // in order, the written one included; the lock of the place protects it
	mu    sync.Mutex // held as well to change file or files, and waits for no disk
}

// File is one file of a log. Only the last one is written and open.
type File struct {
	ID      uint64
	Size    int64
	Newest  uint64 // the largest number of its entries: it is needed until all are in segments
	Damaged bool   // it is set aside, not removed
	Missing bool   // records are, or their checksums are wrong, by Walk
	Torn    int64  // bytes of a write that was cut off, by Walk

	header header
	nonce  uint64
	f      vfs.File
	end    int64 // behind the last durable record
	exact  bool  // end is known from the file behind it
	lost   bool  // the header is
	broken bool  // a write or a sync failed: nothing more is written to it
	sure   int64 // by Walk: behind the last good record that is durable, whatever came of the one behind it
	good   int64 // and behind the last good one
}

// New returns a log behind files that Walk has read, of which the highest id ever given
// is last. Begin is to be called next.
func New(o Options, files []*File, last uint64) *Log {
	l := &Log{o: o, files: files, next: last + 1}
	for i, f := range files {
		f.end = f.good
		if i == len(files)-1 {
			f.end, f.broken, l.file = f.sure, true, f
		}
	}
	return l
}

// ID is that of the file that is written.
func (l *Log) ID() uint64 { return l.file.ID }

// End is where the next record goes in it, and Left how many bytes there are behind.
func (l *Log) End() int64  { return l.file.end }
func (l *Log) Left() int64 { return l.file.Size - l.file.end }

// NextFile has the next record begin a new file.
func (l *Log) NextFile() { l.file.broken = true }

// Append makes a record durable: in the file that is written, or at the beginning of a
// new one where it does not fit or that file failed. A snapshot in a new file tells
// what a mark would, so a mark is not repeated there. rec begins with room for a
// header, which is filled in, and is returned, since it may have grown.
func (l *Log) Append(kind Kind, number uint64, rec []byte) ([]byte, error) {
	f := l.file
	size := RecordSize(len(rec) - HeaderSize)
	end := f.end + size
	if kind == Entry {
		end += l.o.Spare
	}
	if !f.broken && end <= f.Size {
		stamp := l.o.Stamp()
		rec = l.finish(rec, kind, number, f.nonce, stamp)
		_, err := f.f.WriteAt(rec[:size], f.end)
		if err == nil {
			err = f.f.Sync()
		}
		if err == nil {
			if err := l.o.Place.Present(); err != nil {
				return rec, err // it may be put back, and then the record is written again
			}
			f.end += size
			if kind == Entry {
				f.Newest = number
			}
			l.durable(stamp)
			return rec, nil
		}
		f.broken = true // whatever a later sync says: what it says is not about this write
		l.o.Place.Warn("a write to the log failed; it goes on in a new file", err)
	}
	if kind != Entry {
		_, err := l.Begin(number, number, nil)
		return rec, err
	}
	return l.Begin(number-1, number, rec)
}

// Confirm writes a mark behind the last entry, where the next record goes: that the
// entry was durable, and may have been acknowledged. Without it the last record of a
// file that is damaged could not be told from one that a crash cut off. It is not
// synced, so that it costs nothing to wait for: after the end of the machine it may be
// missing. body is less than that of any entry, which covers it.
func (l *Log) Confirm(number uint64, body []byte) {
	f := l.file
	size := RecordSize(len(body))
	if f.broken || f.end+size > f.Size {
		return
	}
	l.mark = append(append(l.mark[:0], emptyHeader[:]...), body...)
	l.mark = l.finish(l.mark, Mark, number, f.nonce, l.o.Stamp())
	_, _ = f.f.WriteAt(l.mark[:size], f.end) // where it fails, the next entry does
}

var emptyHeader [HeaderSize]byte

// finish fills in the header of a record, and zeros behind its length.
func (l *Log) finish(rec []byte, kind Kind, number, nonce uint64, stamp Stamp) []byte {
	n := len(rec)
	body := rec[HeaderSize:]
	h := recordHeader{
		Kind: kind, Nonce: nonce, Number: number, Stamp: stamp,
		Length: uint32(len(body)), Sum: format.Sum(body), Time: l.o.Clock().UnixMilli(),
	}
	h.encode(rec)
	return append(rec, emptyHeader[:padded(int64(n))-int64(n)]...)[:n]
}

// durable says that a record with that stamp is.
func (l *Log) durable(stamp Stamp) {
	l.o.Durable(stamp, l.file.Size-l.file.end-l.o.Spare)
}

// ErrFull says that there is no room for another file.
var ErrFull = errors.New("the spool is full: the store must take blocks before more can be sealed, or the spool must be allowed more bytes")

// Begin begins a new file, as a start does. Its snapshot is of behind the entry before;
// rec is the entry of that number behind it, or nil.
func (l *Log) Begin(before, number uint64, rec []byte) ([]byte, error) {
	f := &File{ID: l.next, nonce: l.o.Nonce()}
	l.next++
	stamp := l.o.Stamp()
	h := header{ID: f.ID, Nonce: f.nonce, Collector: l.o.Collector, Created: l.o.Clock().UnixMilli()}
	if l.file != nil {
		h.Previous, h.PreviousEnd = l.file.ID, uint64(l.file.end)
	}
	head := make([]byte, FileHeaderSize+HeaderSize)
	h.encode(head)
	head = l.o.Snapshot(head)
	if len(head)-FileHeaderSize-HeaderSize > BodyMax {
		return rec, fmt.Errorf("a snapshot of %d bytes is too long", len(head))
	}
	f.Newest = number
	snapshot := l.finish(head[FileHeaderSize:], Snapshot, before, f.nonce, stamp)
	f.end = FileHeaderSize + padded(int64(len(snapshot)))
	head = append(head[:FileHeaderSize], snapshot[:f.end-FileHeaderSize]...)
	if rec != nil {
		rec = l.finish(rec, Entry, number, f.nonce, stamp)
	}
	end := f.end + padded(int64(len(rec)))
	f.Size = max(l.o.FileSize, end)
	starting := l.file == nil || l.file.f == nil // it must succeed, however much is there
	if rec != nil && !starting && l.o.Place.Free() < f.Size {
		return rec, ErrFull
	}
	write := func(to vfs.File) error {
		if err := to.Resize(f.Size); err != nil {
			return err
		}
		if _, err := to.WriteAt(head, 0); err != nil {
			return err
		}
		if rec == nil {
			return nil
		}
		_, err := to.WriteAt(rec[:padded(int64(len(rec)))], f.end)
		return err
	}
	if err := l.begin(f, end, write); err != nil {
		return rec, err
	}
	l.durable(stamp)
	return rec, nil
}

// begin writes a new file and makes it the one that is written.
func (l *Log) begin(f *File, end int64, write func(vfs.File) error) error {
	p := l.o.Place
	p.Lock()
	defer p.Unlock()
	to, err := p.Draft(f.Size)
	if err == nil {
		if err = write(to); err == nil {
			err = to.Sync()
		}
		if err == nil {
			if l.file != nil {
				// From here on the new file may be found, whatever else is said of
				// it: where it says that this one ends, nothing more is read.
				l.file.broken = true
			}
			err = to.Publish(FileName(f.ID), f.Size)
		}
		if err != nil {
			to.Discard()
		}
	}
	if err != nil {
		return fmt.Errorf("begin log file %s: %w", p.Path(FileName(f.ID)), err)
	}
	if err := p.Sync(); err != nil {
		_ = to.Close()
		if !p.Remove(FileName(f.ID), &f.Size) {
			l.setFiles(append(l.files, f))
		}
		return err
	}
	p.Anchor(FileName(f.ID), to.File)
	if l.file != nil && l.file.f != nil {
		_ = l.file.f.Close() // it was only written by WriteAt and Sync, which said what there is to say
	}
	f.f, f.end = to.File, end
	l.mu.Lock()
	l.file = f
	l.mu.Unlock()
	l.setFiles(append(l.files, f))
	return nil
}

// Remove removes the files of which no entry is above through, the written one
// excepted; those that are damaged it sets aside. One goes for good before the next
// does: it says where the one before it ended, behind which may stand what was never
// promised. The caller has the lock of the place.
func (l *Log) Remove(through uint64) {
	left := l.files
	for len(left) > 0 {
		f := left[0]
		if f.ID >= l.file.ID || f.Newest > through || l.o.Place.Sync() != nil || !l.remove(f) {
			break
		}
		left = left[1:]
	}
	l.setFiles(left)
}

func (l *Log) remove(f *File) bool {
	if f.Damaged {
		return l.o.Place.SetAside(FileName(f.ID))
	}
	size := f.Size // which Filled may look at
	return l.o.Place.Remove(FileName(f.ID), &size)
}

// Keep has all files stay until an entry, also one that is in none of them, is not
// above what Remove is told.
func (l *Log) Keep(number uint64) {
	for _, f := range l.files {
		f.Newest = max(f.Newest, number)
	}
}

// setFiles says which files are there. The caller has the lock of the place.
func (l *Log) setFiles(files []*File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = files
}

// Filled is how many bytes the files take that are not written any more and have an
// entry above through.
func (l *Log) Filled(through uint64) (bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		if f != l.file && f.Newest > through {
			bytes += f.Size
		}
	}
	return bytes
}

// Before is how many files have a lower id. The caller has the lock of the place.
func (l *Log) Before(id uint64) (n int) {
	for _, f := range l.files {
		if f.ID < id {
			n++
		}
	}
	return n
}

// Close closes the file that is written.
func (l *Log) Close() error {
	if l.file == nil || l.file.f == nil {
		return nil
	}
	return l.file.f.Close()
}
