package emit

import (
	"encoding/binary"
	"math/bits"

	"github.com/lectern/lectern/wire"
)

// extent is how large the frame gets that is being packed.
type extent struct {
	count          int    // events
	body           int    // their bytes without their at, and those in front of them
	oldest, newest int64  // times, in Unix milliseconds
	content, user  uint64 // of the last event
	skipped        uint16 // of all events
}

// grow makes room for e, or reports that the frame would be larger than size, or is of
// events that stand for another number.
func (x *extent) grow(e *Event, size int) bool {
	oldest, newest := e.Time, e.Time
	body := x.body + 2 + numberSize(uint64(min(e.Dwell, wire.DwellMax)))
	switch {
	case x.count > 0 && e.Skipped != x.skipped:
		return false
	case x.count == 0 && e.Skipped > 0:
		body += wire.SkippedSize
	}
	if x.count > 0 {
		oldest, newest = min(x.oldest, e.Time), max(x.newest, e.Time)
	}
	if x.count == 0 || e.Content != x.content {
		body += numberSize(e.Content | 1)
	}
	if x.count == 0 || e.User != x.user {
		body += numberSize(e.User | 1)
	}
	if e.Progress.known {
		body++
	}
	// The number of events needs no check: 64 KiB hold fewer than CountMax.
	span := newest - oldest
	if span > wire.AtMax || frameBound(x.count+1, body, span) > size {
		return false
	}
	*x = extent{x.count + 1, body, oldest, newest, e.Content, e.User, e.Skipped}
	return true
}

// flags are those of the frame.
func (x *extent) flags() uint8 {
	if x.skipped > 0 {
		return wire.FlagSampled
	}
	return 0
}

// begin appends to a header what stands between it and the events.
func (x *extent) begin(dst []byte) []byte {
	if x.skipped > 0 {
		dst = binary.LittleEndian.AppendUint16(dst, x.skipped)
	}
	return dst
}

// bound is the most bytes that the frame takes.
func (x *extent) bound() int { return frameBound(x.count, x.body, x.newest-x.oldest) }

// frameBound is the size of a frame in which every at is as long as that of
// the whole span.
func frameBound(count, body int, span int64) int {
	return wire.HeaderSize + body + count*numberSize(uint64(span))
}

// numberSize is the number of bytes of n, none for zero.
func numberSize(n uint64) int { return (bits.Len64(n) + 7) / 8 }
