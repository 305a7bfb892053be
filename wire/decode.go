package wire

import "encoding/binary"

// idMask[n] keeps the n lowest bytes of a word. Lengths above 8 are refused.
var idMask = [16]uint64{
	0, 1<<8 - 1, 1<<16 - 1, 1<<24 - 1, 1<<32 - 1, 1<<40 - 1, 1<<48 - 1, 1<<56 - 1, 1<<64 - 1,
}

// tail is what a shape says about the bytes behind an event's ids: at, dwell
// and progress, at most seven, which one load holds.
type tail struct {
	at, dwell           uint32 // masks
	dwellAt, progressAt uint8  // bits
	progress            uint8  // mask
	kind                Kind
	hasProgress         bool
}

// tails has one for each shape, and tailSizes its bytes. They stand apart: where
// the next event begins is what decoding waits for, and so waits for nothing
// else.
var (
	tails     [256]tail
	tailSizes [256]uint8
)

func init() {
	for shape := range tails {
		a, d, p := uint8(shape>>3&3), uint8(shape>>5&3), uint8(shape>>7)
		tailSizes[shape] = a + d + p
		tails[shape] = tail{
			at: uint32(idMask[a]), dwell: uint32(idMask[d]), progress: uint8(idMask[p]),
			dwellAt: 8 * a, progressAt: 8 * (a + d),
			kind: kindOf(uint8(shape)), hasProgress: p != 0,
		}
	}
}

// kindOf is the kind that a shape has, an unnamed one where it has none: a headline's
// event has a variant of one byte in dwell's place, and no progress.
func kindOf(shape uint8) Kind {
	k := Kind(shape & 7)
	if k.OfHeadline() && shape>>5 > 1 {
		return Kinds
	}
	return k
}

// reach is how far behind an event's start its loads of eight bytes may go,
// whatever its lengths say.
const reach = 2 + 15 + 15 + 8

// DecodeEvents reads exactly count events from body into dst[:count] and
// returns them. A body that ends early, or goes on after them, is refused with
// RefusedCount. len(dst) must be at least count. body is only read, and so may
// be 40 bytes behind it, up to its capacity, on which nothing depends; nothing
// is allocated. On a refusal the content of dst is undefined.
func DecodeEvents(dst []Event, body []byte, count int) ([]Event, Refusal) {
	dst = dst[:count]
	if count > 0 && len(body) >= EventSizeMin && (body[0]>>4 == 0 || body[0]&15 == 0) {
		return nil, faultOfFirst(body[0])
	}
	var last Event
	if cap(body)-len(body) >= reach {
		return accepted(dst, decodeLast(dst, body[:len(body)+reach], &last))
	}
	n, at, ok := decode(dst, body, &last)
	if !ok {
		return nil, fault((*[reach]byte)(body[at:]), len(body)-at)
	}
	left := body[at:]
	if len(left) > reach {
		return nil, RefusedCount
	}
	// The end is copied to where reading behind it is harmless.
	var end [2 * reach]byte
	return accepted(dst, decodeLast(dst[n:], end[:copy(end[:], left)+reach], &last))
}

// accepted is what DecodeEvents returns: no events but of a body without a
// fault.
func accepted(dst []Event, why Refusal) ([]Event, Refusal) {
	if why != Accepted {
		return nil, why
	}
	return dst, Accepted
}

// decodeLast reads exactly len(dst) events from b, without the last reach bytes
// of it.
func decodeLast(dst []Event, b []byte, last *Event) Refusal {
	n, at, ok := decode(dst, b, last)
	left := len(b) - reach - at
	switch {
	case !ok:
		return fault((*[reach]byte)(b[at:]), left)
	case n < len(dst), left != 0: // it ended early, inside of an event or not, or goes on
		return RefusedCount
	}
	return Accepted
}

// decode reads events as long as there is reach behind where they begin, and
// dst has room. It returns how many, and where it stopped; not ok where that
// event has a fault. The ids of last are those to inherit, before and after.
func decode(dst []Event, b []byte, last *Event) (n, at int, ok bool) {
	content, user := last.Content, last.User
	for n < len(dst) && at < len(b)-reach {
		// Nothing here branches on an event's shape, which nobody can foresee.
		w := (*[reach]byte)(b[at:])
		lengths, shape := w[0], w[1]
		c, u := int(lengths>>4), int(lengths&15)
		if id := binary.LittleEndian.Uint64(w[2:]) & idMask[c]; c != 0 {
			content = id
		}
		if id := binary.LittleEndian.Uint64(w[2+c:]) & idMask[u]; u != 0 {
			user = id
		}
		t := &tails[shape]
		rest := binary.LittleEndian.Uint64(w[2+c+u:])
		progress := uint8(rest>>(t.progressAt&63)) & t.progress
		// A literal would be built elsewhere and copied, which stalls.
		e := &dst[n]
		e.Content, e.User = content, user
		e.At = uint32(rest) & t.at
		e.Dwell = uint32(rest>>(t.dwellAt&63)) & t.dwell
		e.Kind, e.Progress, e.HasProgress = t.kind, progress, t.hasProgress
		if c > 8 || u > 8 || t.kind >= Kinds || progress > ProgressMax {
			return n, at, false
		}
		n++
		at += 2 + c + u + int(tailSizes[shape])
	}
	last.Content, last.User = content, user
	return n, at, true
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
	case kindOf(shape) >= Kinds:
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
