package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs"
)

// logFile is one log file. Only the last one is written and open.
type logFile struct {
	id      uint64
	nonce   uint64
	file    vfs.File
	size    int64
	end     int64  // behind the last durable record
	newest  uint64 // the largest number of its seals
	broken  bool   // a write or a sync failed: nothing more is written to it
	damaged bool   // it is set aside, not removed, when it is not needed any more
}

// pendingSeal is a seal that is not durable yet, and who is to hear that it is. It is
// the only place in which one waits to be tried again.
type pendingSeal struct {
	seal    *Seal
	durable func(number uint64)
}

// Seal makes what a cut brought durable, and calls durable with its number: 1, 2, 3, …
// With an error nothing may be acknowledged. The spool holds the seal then, which is
// to stay as it is, until a Retry has written it and called durable; where the error
// is ErrPending it holds an earlier one, and this one is not taken.
func (s *Spool) Seal(seal *Seal, durable func(number uint64)) error {
	begin := time.Now()
	number, err := s.seal(pendingSeal{seal, durable})
	if err != nil {
		return err
	}
	s.meters.seconds.UpdateDuration(begin)
	durable(number)
	return nil
}

func (s *Spool) seal(p pendingSeal) (number uint64, err error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	switch {
	case s.closed:
		return 0, errClosed
	case s.pending.seal != nil:
		return 0, fmt.Errorf("spool: %w", ErrPending)
	}
	s.hold(p)
	if err := s.writeSeal(p.seal); err != nil {
		s.meters.failures.Inc()
		return 0, err
	}
	s.hold(pendingSeal{})
	return s.sealed, nil
}

// Retry writes the seal that is held. Without one it does nothing.
func (s *Spool) Retry() error {
	p, number, err := s.retry()
	if err != nil || p.seal == nil {
		return err
	}
	p.durable(number)
	return nil
}

func (s *Spool) retry() (p pendingSeal, number uint64, err error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	switch {
	case s.closed:
		return p, 0, errClosed
	case s.pending.seal == nil:
		return p, 0, nil
	}
	if err := s.writeSeal(s.pending.seal); err != nil {
		return p, 0, err
	}
	p = s.pending
	s.hold(pendingSeal{})
	return p, s.sealed, nil
}

// hold holds a seal that is not written yet, or none. There is no room meanwhile. The
// caller has logMu.
func (s *Spool) hold(p pendingSeal) {
	s.pending = p
	s.mu.Lock()
	s.held = p.seal != nil
	s.mu.Unlock()
}

var emptyHeader [recordHeaderSize]byte

// checkSeal refuses what the format cannot hold.
func checkSeal(seal *Seal) error {
	for i := range seal.Books {
		if err := checkBook(&seal.Books[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkBook(b *storage.Book) error {
	if len(b.Refused) > 1<<16-1 {
		return fmt.Errorf("spool: the book of stream %d has %d reasons, at most 65535 are possible", b.Stream, len(b.Refused))
	}
	for _, r := range b.Refused {
		if len(r.Reason) > 255 {
			return fmt.Errorf("spool: a reason of %d bytes, at most 255 are possible: %.40q…", len(r.Reason), r.Reason)
		}
	}
	return nil
}

// writeSeal makes a seal durable, and then takes it for true.
func (s *Spool) writeSeal(seal *Seal) error {
	if err := checkSeal(seal); err != nil {
		return err
	}
	s.rows.Encode(seal.Rows)
	if n := sealSize(seal, &s.rows); n > bodyMax {
		return fmt.Errorf("spool: a seal of %d rows and %d sources takes %d bytes, at most %d are possible: seal more often", len(seal.Rows), len(seal.Sources), n, bodyMax)
	}
	s.buf = appendSeal(append(s.buf[:0], emptyHeader[:]...), seal, &s.rows, &s.sent)
	number := s.sealed + 1
	var err error
	if s.buf, err = s.put(kindSeal, number, s.buf); err != nil {
		return fmt.Errorf("spool: write seal %d: %w", number, err)
	}
	for _, id := range seal.Forgotten {
		delete(s.sources, id)
	}
	for _, source := range seal.Sources { // one that was forgotten came back
		s.sources[source.ID] = source
	}
	stream := uint16(streamUnknown)
	for i := range seal.Books {
		stream = seal.Books[i].Stream
		s.sent.set(stream, s.sent.of[stream]+seal.Books[i].Sent)
	}
	s.sealed = number
	s.confirm(stream)
	s.sealedRows(sealRows{number, len(seal.Rows), s.rows.Size(), s.rows.Newest})
	s.meters.seals.Inc()
	return nil
}

// confirm writes a mark behind the last seal, where the next record goes: that the
// seal was durable, and may have been acknowledged. Without it the last record of a
// log that is damaged could not be told from one that a crash cut off. It is not
// synced, so that it costs nothing to wait for: after the end of the machine it may
// be missing. The stream is one of the seal's books.
func (s *Spool) confirm(stream uint16) {
	l := s.log
	size := recordSize(markSize)
	if l.broken || l.end+size > l.size {
		return
	}
	s.note = s.finish(s.appendMark(s.note[:0], stream), kindMark, s.sealed, l.nonce, s.marks())
	_, _ = l.file.WriteAt(s.note[:size], l.end) // where it fails, the next seal does
}

// appendMark appends a mark with room for its header.
func (s *Spool) appendMark(b []byte, stream uint16) []byte {
	b = le.AppendUint64(append(b, emptyHeader[:]...), s.sent.all)
	return appendTotal(b, stream, s.sent.of[stream])
}

// sealedRows keeps account of what waits to be in a segment.
func (s *Spool) sealedRows(r sealRows) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.rows > 0 && r.number > s.applied.Through {
		s.waiting = append(s.waiting, r)
	}
	s.snapshot = s.snapshotSize()
}

// snapshotSize is what the body of a snapshot takes, about. The caller has logMu.
func (s *Spool) snapshotSize() int64 {
	return int64(len(s.sources))*sourceSize + int64(len(s.sent.of))*totalSize
}

// put makes a record durable: in the file that is written, or at the beginning
// of a new one where it does not fit or that file failed. Beginning with a
// header's room, rec holds the body; it is returned with its header filled in.
func (s *Spool) put(kind uint32, number uint64, rec []byte) ([]byte, error) {
	l := s.log
	size := recordSize(len(rec) - recordHeaderSize)
	end := l.end + size
	if kind == kindSeal {
		end += s.marksSize()
	}
	if !l.broken && end <= l.size {
		marks := s.marks()
		rec = s.finish(rec, kind, number, l.nonce, marks)
		_, err := l.file.WriteAt(rec[:size], l.end)
		if err == nil {
			err = l.file.Sync()
		}
		if err == nil {
			if err := s.Present(); err != nil {
				return rec, err // it may be put back, and then the record is written again
			}
			l.end += size
			if kind == kindSeal {
				l.newest = number
			}
			s.covered(marks)
			return rec, nil
		}
		l.broken = true // whatever a later sync says: what it says is not about this write
		s.warn("a write to the log failed; it goes on in a new file", err)
	}
	return s.rotate(kind, number, rec)
}

// finish fills in the header of a record, and zeros behind its length.
func (s *Spool) finish(rec []byte, kind uint32, number, nonce uint64, m marks) []byte {
	n := len(rec)
	body := rec[recordHeaderSize:]
	h := recordHeader{
		kind: kind, nonce: nonce, number: number, applied: m.applied, last: m.last,
		length: uint32(len(body)), crc: crc32.Checksum(body, castagnoli), time: s.o.Clock().UnixMilli(),
	}
	h.encode(rec)
	return append(rec, emptyHeader[:padded(int64(n))-int64(n)]...)[:n]
}

// marks are what the next record says.
func (s *Spool) marks() marks {
	s.mu.Lock()
	defer s.mu.Unlock()
	return marks{s.applied, s.last}
}

// covered notes that a record with these marks is durable, and how much room its
// log has left.
func (s *Spool) covered(m marks) {
	s.mu.Lock()
	s.durable = m
	s.left = s.log.size - s.log.end - s.marksSize()
	s.mu.Unlock()
}

var errFull = errors.New("the spool is full: the store must take blocks before more can be sealed, or the spool must be allowed more bytes")

// rotate begins a new log file: a snapshot, and rec where it is a seal.
func (s *Spool) rotate(kind uint32, number uint64, rec []byte) ([]byte, error) {
	if kind != kindSeal {
		rec = nil
	}
	l := &logFile{id: s.nextLog, nonce: s.o.nonce()}
	s.nextLog++
	m := s.marks()
	head := make([]byte, logHeaderSize, logHeaderSize+recordSize(8+int(s.snapshotSize())))
	h := logHeader{id: l.id, nonce: l.nonce, collector: s.collector, created: s.o.Clock().UnixMilli()}
	if s.log != nil {
		h.previous, h.previousEnd = s.log.id, uint64(s.log.end)
	}
	h.encode(head)
	snapshot := appendSnapshot(append(head[logHeaderSize:], emptyHeader[:]...), s.sources, &s.sent)
	if len(snapshot)-recordHeaderSize > bodyMax {
		return rec, fmt.Errorf("%d sources are too many for a snapshot", len(s.sources))
	}
	snapshot = s.finish(snapshot, kindSnapshot, s.sealed, l.nonce, m)
	l.end = logHeaderSize + padded(int64(len(snapshot)))
	head = head[:l.end]
	l.newest = s.sealed
	if rec != nil {
		rec = s.finish(rec, kind, number, l.nonce, m)
		l.newest = number
	}
	recEnd := l.end + padded(int64(len(rec)))
	l.size = max(s.o.LogSize, recEnd)
	starting := s.log == nil || s.log.file == nil // it must succeed, however much is there
	if rec != nil && !starting && s.quota.free() < l.size {
		return rec, errFull
	}

	write := func(f vfs.File) error {
		if err := f.Resize(l.size); err != nil {
			return err
		}
		if _, err := f.WriteAt(head, 0); err != nil {
			return err
		}
		if rec == nil {
			return nil
		}
		_, err := f.WriteAt(rec[:padded(int64(len(rec)))], l.end)
		return err
	}
	if err := s.newLog(l, recEnd, write); err != nil {
		return rec, err
	}
	s.covered(m)
	return rec, nil
}

// newLog writes a new log file and makes it the one that is written.
func (s *Spool) newLog(l *logFile, end int64, write func(vfs.File) error) error {
	s.dirMu.Lock()
	defer s.dirMu.Unlock()
	if err := s.quota.hold(l.size); err != nil {
		s.warn("a new log file", err)
	}
	f, temp, err := s.create()
	if err == nil {
		if err = write(f); err == nil {
			err = f.Sync()
		}
		if err == nil {
			if s.log != nil {
				// From here on the new file may be found, whatever else is said of
				// it: where it says that this one ends, nothing more is read.
				s.log.broken = true
			}
			err = s.rename(temp, logName(l.id))
		}
		if err != nil {
			_ = f.Close()
			s.discard(temp)
		}
	}
	if err != nil {
		s.quota.written(l.size, 0)
		return fmt.Errorf("begin log file %s: %w", s.path(logName(l.id)), err)
	}
	s.quota.written(l.size, l.size)
	if err := s.syncDir(); err != nil {
		_ = f.Close()
		if !s.remove(logName(l.id), &l.size, false) {
			s.logs = append(s.logs, l)
		}
		return err
	}
	s.logs = append(s.logs, l)
	s.anchor.Store(&anchor{s.path(logName(l.id)), f})
	if s.log != nil && s.log.file != nil {
		_ = s.log.file.Close() // it was only written by WriteAt and Sync, which said what there is to say
	}
	l.file, l.end = f, end
	s.log = l
	s.countLogs()
	return nil
}
