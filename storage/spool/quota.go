package spool

import (
	"fmt"

	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/wal"
)

// adviseRoom says what helps against a disk that is too small. Less than
// SizeMin is no advice: it would be refused.
func (s *Spool) adviseRoom() string {
	if s.o.SizeMax > SizeMin {
		return fmt.Sprintf("make room there, have spool.dir on another disk, or set a smaller spool.size_max (%d bytes at least)", int64(SizeMin))
	}
	return "make room there, or have spool.dir on another disk; it is the smallest spool that there is"
}

// Room is how many rows the next seal may bring. Kept free beside them is the segment
// that those already sealed will become, and where the log that is written has no
// room for them, the next log file. It is 0 while a seal is pending.
func (s *Spool) Room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending.seal != nil {
		return 0
	}
	free := s.place.Free() - waitingBytes(s.waiting)
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

	roomMost = (wal.BodyMax >> 1) / codec.RowSizeMax
)

// roomIn is how many rows fit into bytes, once in a log and once in a segment.
func roomIn(bytes int64) int64 { return bytes / (2 * rowOfCut) }

// RoomMost is how many rows a seal may bring to an empty spool of sizeMax bytes that
// knows that number of sources, with logs of the usual size. A cut that may bring
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
	return s.log.Filled(s.applied.Through) >= s.o.SizeMax/4 || waitingBytes(s.waiting) > s.o.SizeMax/4
}
