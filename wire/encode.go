package wire

import (
	"encoding/binary"
	"math/bits"
)

// AppendEvent appends e to dst and returns the result. prev is the event
// before it in the same frame, nil for the first: an id that equals prev's
// takes no bytes. At most EventSizeMax bytes are appended.
//
// The caller keeps e.Kind, e.At, e.Dwell and e.Progress in range; what is out of
// range is cut to the width of its field, so that a frame never becomes unreadable.
//
//	+---------+---------+-----------+---------+--------+----------+--------------+
//	| lengths | shape   | content   | user    | at     | dwell    | progress     |
//	| c:4 u:4 | p d a k | 0..8      | 0..8    | 0..3   | 0..3     | 0..1         |
//	+---------+---------+-----------+---------+--------+----------+--------------+
func AppendEvent(dst []byte, e *Event, prev *Event) []byte {
	var contentSize, userSize int
	if prev == nil || e.Content != prev.Content {
		contentSize = idSize(e.Content)
	}
	if prev == nil || e.User != prev.User {
		userSize = idSize(e.User)
	}
	at, dwell := e.At&AtMax, e.Dwell&DwellMax
	atSize, dwellSize := numberSize(at), numberSize(dwell)
	shape := byte(e.Kind)&7 | byte(atSize)<<3 | byte(dwellSize)<<5
	if e.HasProgress {
		shape |= 0x80
	}
	dst = append(dst, byte(contentSize)<<4|byte(userSize), shape)
	dst = appendTruncated(dst, e.Content, contentSize)
	dst = appendTruncated(dst, e.User, userSize)
	dst = appendTruncated(dst, uint64(at), atSize)
	dst = appendTruncated(dst, uint64(dwell), dwellSize)
	if e.HasProgress {
		dst = append(dst, e.Progress)
	}
	return dst
}

// idSize is the number of bytes of an id that is written: at least one, since
// no bytes mean "the same as before".
func idSize(id uint64) int { return (bits.Len64(id|1) + 7) / 8 }

// numberSize is the number of bytes of a number of which zero takes none.
func numberSize(n uint32) int { return (bits.Len32(n) + 7) / 8 }

// appendTruncated appends the size lowest bytes of v, little-endian.
func appendTruncated(dst []byte, v uint64, size int) []byte {
	return binary.LittleEndian.AppendUint64(dst, v)[:len(dst)+size]
}
