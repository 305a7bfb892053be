package wire

import "encoding/binary"

// idMask[n] keeps the n lowest bytes of a word.
var idMask = [16]uint64{
	0, 1<<8 - 1, 1<<16 - 1, 1<<24 - 1, 1<<32 - 1, 1<<40 - 1, 1<<48 - 1, 1<<56 - 1, 1<<64 - 1,
}

// DecodeEvents reads exactly count events from body into dst[:count] and
// returns them. A body that ends early, or goes on after them, is refused with
// RefusedCount. len(dst) must be at least count. body is only read; nothing is
// allocated. On a refusal the content of dst is undefined.
func DecodeEvents(dst []Event, body []byte, count int) ([]Event, Refusal) {
	dst = dst[:count]
	var content, user uint64
	i := 0
	// An event is read with loads of eight bytes, of which the last may begin
	// EventSizeMax-1 bytes behind its start. While that many are there, no
	// load needs a check of its own.
	const reach = EventSizeMax + 8
	n := 0
	for ; n < count && len(body)-i >= reach; n++ {
		size, why := decodeEvent(&dst[n], (*[reach]byte)(body[i:]), &content, &user, n == 0)
		if why != Accepted {
			return nil, why
		}
		i += size
	}
	// The tail is copied to where reading past its end is harmless.
	var tail [reach]byte
	for ; n < count; n++ {
		left := len(body) - i
		if left < EventSizeMin {
			return nil, RefusedCount
		}
		if left < reach {
			clear(tail[copy(tail[:], body[i:]):])
		} else {
			left = copy(tail[:], body[i:])
		}
		size, why := decodeEvent(&dst[n], &tail, &content, &user, n == 0)
		if size > left {
			return nil, RefusedCount
		}
		if why != Accepted {
			return nil, why
		}
		i += size
	}
	if i != len(body) {
		return nil, RefusedCount
	}
	return dst, Accepted
}

// decodeEvent reads one event from the start of b and returns its size. content
// and user are the ids of the event before it.
func decodeEvent(e *Event, b *[EventSizeMax + 8]byte, content, user *uint64, first bool) (int, Refusal) {
	contentSize, userSize := int(b[0]>>4), int(b[0]&15)
	shape := b[1]
	kind := Kind(shape & 7)
	atSize, dwellSize, progressSize := int(shape>>3&3), int(shape>>5&3), int(shape>>7)
	if contentSize > 8 || userSize > 8 {
		return 0, RefusedLength
	}
	i := 2
	if contentSize != 0 {
		*content = binary.LittleEndian.Uint64(b[i:]) & idMask[contentSize]
		i += contentSize
	} else if first {
		return 0, RefusedInherit
	}
	if userSize != 0 {
		*user = binary.LittleEndian.Uint64(b[i:]) & idMask[userSize]
		i += userSize
	} else if first {
		return 0, RefusedInherit
	}
	// at, dwell and progress are at most seven bytes: one load for all three.
	rest := binary.LittleEndian.Uint64(b[i:])
	at := rest & idMask[atSize]
	rest >>= 8 * atSize
	dwell := rest & idMask[dwellSize]
	rest >>= 8 * dwellSize
	progress := uint8(rest & idMask[progressSize])
	i += atSize + dwellSize + progressSize
	if kind >= Kinds {
		return i, RefusedKind
	}
	if progress > ProgressMax {
		return i, RefusedProgress
	}
	*e = Event{
		Content: *content, User: *user,
		At: uint32(at), Dwell: uint32(dwell),
		Kind: kind, Progress: progress, HasProgress: progressSize != 0,
	}
	return i, Accepted
}
