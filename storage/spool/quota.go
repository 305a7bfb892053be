package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/vfs"
)

// quota keeps account of the directory's bytes and holds those that are free in
// the reserve file, so that a full disk shows at the start and not in the night.
type quota struct {
	max     int64
	reserve vfs.File

	mu    sync.Mutex // protects the fields below
	used  int64      // bytes of the files that hold something
	held  int64      // bytes of files that are being written
	taken int64      // length of the reserve file
}

// openQuota counts what is there and allocates the rest.
func (s *Spool) openQuota(used int64) error {
	q := &s.quota
	q.max, q.used = s.o.SizeMax, used
	path := s.path(reserveName)
	if err := s.files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	f, err := s.files.Create(path)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	q.reserve = f
	if err := q.settle(); err != nil {
		_ = f.Close()
		return fmt.Errorf("spool: cannot have the %d bytes of %s that it is to hold: %s: %w", q.max, s.o.Dir, s.adviseRoom(), err)
	}
	return nil
}

// adviseRoom says what helps against a disk that is too small. Less than
// SizeMin is no advice: it would be refused.
func (s *Spool) adviseRoom() string {
	if s.o.SizeMax > SizeMin {
		return fmt.Sprintf("make room there, have spool.dir on another disk, or set a smaller spool.size_max (%d bytes at least)", int64(SizeMin))
	}
	return "make room there, or have spool.dir on another disk; it is the smallest spool that there is"
}

// hold takes n bytes out of the reserve for a file that is about to be written.
func (q *quota) hold(n int64) error {
	q.mu.Lock()
	q.held += n
	q.mu.Unlock()
	return q.settle()
}

// written says that a file for which n bytes were held is there, with size
// bytes, or is not, with 0.
func (q *quota) written(n, size int64) {
	q.mu.Lock()
	q.held -= n
	q.used += size
	q.mu.Unlock()
}

// removed says that a file of that size is gone.
func (q *quota) removed(size int64) {
	q.mu.Lock()
	q.used -= size
	q.mu.Unlock()
}

// settle makes the reserve as long as what is free.
func (q *quota) settle() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	want := max(0, q.max-q.used-q.held)
	if want == q.taken {
		return nil
	}
	if err := q.reserve.Resize(want); err != nil {
		return fmt.Errorf("resize the reserve file to %d bytes: %w", want, err)
	}
	q.taken = want
	return nil
}

func (q *quota) free() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.max - q.used - q.held
}

func (q *quota) bytes() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used + q.held
}

func (q *quota) close() error { return q.reserve.Close() }

// Room is how many rows the next seal may bring. Kept free beside them is the segment
// that those already sealed will become, and where the log that is written has no
// room for them, the next log file. It is 0 while a seal is pending.
func (s *Spool) Room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held {
		return 0
	}
	free := s.quota.free() - waitingBytes(s.waiting)
	next := roomIn(free - s.o.LogSize - s.snapshot)
	// A seal has little beside rows and sources: headers, and a few books. Sources
	// are at most those of a snapshot.
	here := min((s.left-s.snapshot-sealOverhead)/rowOfCut, (free-segment.Overhead)/rowOfCut)
	return int(min(max(0, next, here), roomMost))
}

const (
	// rowOfCut is the most bytes of a row whose first and last event are in its
	// minute, as those of all cuts are.
	rowOfCut = codec.RowSizeMax - 2*8 + 2*2

	roomMost = (bodyMax >> 1) / codec.RowSizeMax
)

// roomIn is how many rows so many bytes hold, once in a log and once in a segment.
func roomIn(bytes int64) int64 { return bytes / (2 * rowOfCut) }

// RoomMost is how many rows a seal may bring to an empty spool of that many bytes
// that knows so many sources, with logs of the usual size. A cut that may bring
// more may never find room.
func RoomMost(sizeMax int64, sources int) int {
	return int(min(max(0, roomIn(sizeMax-2*logSizeDefault-int64(sources)*sourceSize)), roomMost))
}

const sealOverhead = 4096

// marksSize is what seals leave of a log file for marks: without room for one,
// stored segments could not go from a full disk, and nothing would ever make room.
func (s *Spool) marksSize() int64 { return min(4096, s.o.LogSize/16) }

// Crowded says that seals of which rows are in no segment, or the logs that stay for
// them, take a quarter of the directory: their rows should become blocks. A row of
// a minute that goes on keeps its log, and all logs behind it, whatever they hold.
func (s *Spool) Crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var logs int64
	for _, l := range s.filled {
		if l.newest > s.applied.Through {
			logs += l.size
		}
	}
	return logs >= s.o.SizeMax/4 || waitingBytes(s.waiting) > s.o.SizeMax/4
}

// filledLog is a log that is not written any more.
type filledLog struct {
	newest uint64
	size   int64
}

// countLogs notes which logs are there. The caller has dirMu.
func (s *Spool) countLogs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filled = s.filled[:0]
	for _, l := range s.logs {
		if l != s.log {
			s.filled = append(s.filled, filledLog{l.newest, l.size})
		}
	}
}
