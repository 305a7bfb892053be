package spool

import (
	"encoding/binary"
	"strings"

	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/segment"
	"github.com/lectern/lectern/storage/wal"
)

// FORMAT.md is the authority for all of this.

var le = binary.LittleEndian

// stamp is what each record of the log says beside its body.
func (m marks) stamp() (s wal.Stamp) {
	le.PutUint64(s[:], m.applied.Through)
	le.PutUint64(s[8:], m.last)
	le.PutUint64(s[16:], m.applied.Part)
	le.PutUint32(s[24:], m.applied.Before)
	return s
}

func marksOf(s wal.Stamp) marks {
	return marks{
		applied: segment.Applied{Through: le.Uint64(s[:]), Part: le.Uint64(s[16:]), Before: le.Uint32(s[24:])},
		last:    le.Uint64(s[8:]),
	}
}

// parseLog reads the name of a log file, with or without .bad.
func parseLog(name string) (id uint64, ok bool) {
	return wal.ParseFileName(strings.TrimSuffix(name, place.BadSuffix))
}

// parseSegment reads the name of a segment, with or without .bad.
func parseSegment(name string) (segment.Name, bool) {
	return segment.ParseName(strings.TrimSuffix(name, place.BadSuffix))
}
