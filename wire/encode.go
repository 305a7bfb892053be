package wire

import (
	"encoding/binary"
	"math/bits"
)

// AppendEvent appends e to dst and returns the result. prev is the event
// before it in the same frame, nil for the first: an id that equals prev's
// takes no bytes. At most EventSizeMax bytes are appended; of dst's spare
// capacity, some bytes behind them may be written, too.
//
// The caller keeps e.Kind, e.At, e.Dwell and e.Progress in range; what is out of
// range is cut to the width of its field, so that a frame never becomes unreadable.
//
//	+---------+---------+-----------+---------+--------+----------+--------------+
//	| lengths | shape   | content   | user    | at     | dwell    | progress     |
//	| c:4 u:4 | p d a k | 0..8      | 0..8    | 0..3   | 0..3     | 0..1         |
//	+---------+---------+-----------+---------+--------+----------+--------------+
func AppendEvent(dst []byte, e *Event, prev *Event) []byte {
	start := len(dst)
	if cap(dst)-start >= wide {
		size := putEvent((*[wide]byte)(dst[start:start+wide]), e, prev)
		return dst[:start+size]
	}
	var b [wide]byte
	return append(dst, b[:putEvent(&b, e, prev)]...)
}

// wide is the room in which an event is written: a field is stored in eight
// bytes, and what comes next is stored over those that it does not need.
const wide = EventSizeMax + 8

// putEvent writes e to the start of b and returns its size.
func putEvent(b *[wide]byte, e *Event, prev *Event) int {
	var c, u int
	if prev == nil || e.Content != prev.Content {
		c = idSize(e.Content)
	}
	if prev == nil || e.User != prev.User {
		u = idSize(e.User)
	}
	at, dwell := e.At&AtMax, e.Dwell&DwellMax
	p := 0
	if e.HasProgress {
		p = 1
	}
	if e.Kind.OfHeadline() {
		dwell &= VariantMax
		p = 0
	}
	a, d := numberSize(at), numberSize(dwell)
	b[0] = byte(c<<4 | u)
	b[1] = byte(e.Kind)&7 | byte(a<<3|d<<5|p<<7)
	binary.LittleEndian.PutUint64(b[2:], e.Content)
	binary.LittleEndian.PutUint64(b[2+c:], e.User)
	// at, dwell and progress are at most seven bytes: one store for all three.
	rest := uint64(at) | uint64(dwell)<<(8*a) | uint64(e.Progress)<<(8*(a+d))
	binary.LittleEndian.PutUint64(b[2+c+u:], rest)
	return 2 + c + u + a + d + p
}

// idSize is the number of bytes of an id that is written: at least one, since
// no bytes mean "the same as before".
func idSize(id uint64) int { return (bits.Len64(id|1) + 7) / 8 }

// numberSize is the number of bytes of a number of which zero takes none.
func numberSize(n uint32) int { return (bits.Len32(n) + 7) / 8 }
