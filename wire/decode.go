package wire

import "encoding/binary"

// idMask[n] keeps the n lowest bytes of a word. Lengths above 8 are refused.
var idMask = [16]uint64{
	0, 1<<8 - 1, 1<<16 - 1, 1<<24 - 1, 1<<32 - 1, 1<<40 - 1, 1<<48 - 1, 1<<56 - 1, 1<<64 - 1,
}

// reach is how far behind an event's start its loads of eight bytes may go,
// whatever its lengths say.
const reach = 2 + 15 + 15 + 8

// DecodeEvents reads exactly count events from body into dst[:count] and
// returns them. A body that ends early, or goes on after them, is refused with
// RefusedCount. len(dst) must be at least count. body is only read; nothing is
// allocated. On a refusal the content of dst is undefined.
func DecodeEvents(dst []Event, body []byte, count int) ([]Event, Refusal) {
	dst = dst[:count]
	if count > 0 && len(body) >= EventSizeMin && (body[0]>>4 == 0 || body[0]&15 == 0) {
		return nil, faultOfFirst(body[0])
	}
	var (
		content, user uint64
		tail          [2 * reach]byte
		behind        int // bytes of b that are not of the body, all zero
	)
	b := body
	for n := range dst {
		if len(b) < reach {
			if behind > 0 { // an event went beyond the body
				return nil, RefusedCount
			}
			// The end is copied to where reading past it is harmless: zeros are
			// events without a fault, and len(b) will tell.
			behind = reach
			b = tail[:copy(tail[:], b)+reach]
		}
		// Nothing here branches on an event's shape, which nobody can foresee.
		w := (*[reach]byte)(b)
		lengths, shape := w[0], w[1]
		c, u := int(lengths>>4), int(lengths&15)
		if id := binary.LittleEndian.Uint64(w[2:]) & idMask[c]; c != 0 {
			content = id
		}
		if id := binary.LittleEndian.Uint64(w[2+c:]) & idMask[u]; u != 0 {
			user = id
		}
		// at, dwell and progress are at most seven bytes: one load for all three.
		rest := binary.LittleEndian.Uint64(w[2+c+u:])
		a, d, p := int(shape>>3&3), int(shape>>5&3), int(shape>>7)
		// A literal would be built elsewhere and copied, which stalls.
		e := &dst[n]
		e.Content, e.User = content, user
		e.At = uint32(rest & idMask[a])
		rest >>= 8 * a
		e.Dwell = uint32(rest & idMask[d])
		rest >>= 8 * d
		progress := uint8(rest & idMask[p])
		e.Kind, e.Progress, e.HasProgress = Kind(shape&7), progress, p != 0
		if c > 8 || u > 8 || shape&7 >= Kinds || progress > ProgressMax {
			return nil, fault(w, len(b)-behind)
		}
		b = b[2+c+u+a+d+p:]
	}
	if len(b) != behind {
		return nil, RefusedCount
	}
	return dst, Accepted
}

// fault names what is wrong with an event of which left bytes are there: the
// first in the order of SPEC.md. That it inherits is no fault.
func fault(w *[reach]byte, left int) Refusal {
	c, u, shape := int(w[0]>>4), int(w[0]&15), w[1]
	switch {
	case left < EventSizeMin:
		return RefusedCount
	case c > 8 || u > 8:
		return RefusedLength
	case left < 2+c+u+int(shape>>3&3)+int(shape>>5&3)+int(shape>>7):
		return RefusedCount
	case shape&7 >= Kinds:
		return RefusedKind
	}
	return RefusedProgress
}

// faultOfFirst names what is wrong with a frame's first event, of which these
// are the lengths and one of them is none.
func faultOfFirst(lengths byte) Refusal {
	if lengths>>4 > 8 || lengths&15 > 8 {
		return RefusedLength
	}
	return RefusedInherit
}
