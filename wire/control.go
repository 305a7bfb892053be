package wire

import "encoding/binary"

// AckBodySize is the size of an ack's body. That of a sealed one is
// SealedAckBodySize.
const (
	AckBodySize       = 16
	SealedAckBodySize = AckBodySize + RandomSize
)

// RefusalTextMax is the longest text of a refusal frame, in bytes.
const RefusalTextMax = 255

// Ack is what an ack frame says: the header's source is the one that is
// acknowledged.
type Ack struct {
	Durable uint64 // every frame before this sequence is durable
	Credit  uint64 // bytes that may be in flight from now on
	Final   bool   // the last one: the collector has taken no other frame of the source, and takes none any more
	Spool   uint64 // that it speaks for, below NumberMax; 0: the collector has no name for it

	Random [RandomSize]byte // of a sealed ack: the collector's, for this connection
}

// AppendHello appends a whole hello frame of this source to dst.
func AppendHello(dst []byte, stream uint16, source uint64, timeMS int64) []byte {
	return AppendHeader(dst, Header{
		Type: TypeHello, Size: HeaderSize, Stream: stream, Time: timeMS, Source: source,
	})
}

// AppendSealedHello appends a whole sealed hello frame to dst. The random bytes
// are drawn for this connection, and the key is the hello key.
func AppendSealedHello(dst []byte, stream uint16, source uint64, timeMS int64, random *[RandomSize]byte, key *ControlKey) []byte {
	start := len(dst)
	dst = append(AppendHello(dst, stream, source, timeMS), random[:]...)
	return key.seal(dst, start)
}

// ParseHello reads the body of a hello frame, of which h is the header: it has
// none, or where it is sealed the emitter's random bytes.
func ParseHello(h *Header, body []byte) (random [RandomSize]byte, why Refusal) {
	want := 0
	if h.Sealed() {
		want = RandomSize
	}
	if len(body) != want {
		return random, RefusedBody
	}
	copy(random[:], body)
	return random, Accepted
}

// AppendAck appends a whole ack frame without a tag to dst.
func AppendAck(dst []byte, stream uint16, source uint64, timeMS int64, a Ack) []byte {
	h := Header{Type: TypeAck, Size: HeaderSize + AckBodySize, Stream: stream, Time: timeMS, Source: source, Position: a.Spool}
	if a.Final {
		h.Flags = FlagFinal
	}
	dst = AppendHeader(dst, h)
	dst = binary.LittleEndian.AppendUint64(dst, a.Durable)
	return binary.LittleEndian.AppendUint64(dst, a.Credit)
}

// AppendSealedAck appends a whole sealed ack frame to dst. The key is the down
// key.
func AppendSealedAck(dst []byte, stream uint16, source uint64, timeMS int64, a Ack, key *ControlKey) []byte {
	start := len(dst)
	dst = append(AppendAck(dst, stream, source, timeMS, a), a.Random[:]...)
	return key.seal(dst, start)
}

// ParseAck reads an ack frame, of which h is the header and body the body.
func ParseAck(h *Header, body []byte) (Ack, Refusal) {
	want := AckBodySize
	if h.Sealed() {
		want = SealedAckBodySize
	}
	if len(body) != want {
		return Ack{}, RefusedBody
	}
	a := Ack{
		Durable: binary.LittleEndian.Uint64(body), Credit: binary.LittleEndian.Uint64(body[8:]),
		Final: h.Flags&FlagFinal != 0, Spool: h.Position,
	}
	copy(a.Random[:], body[AckBodySize:])
	if a.Durable > NumberMax {
		return Ack{}, RefusedBody
	}
	return a, Accepted
}

// AppendRefusal appends a whole refusal frame to dst. h is the header of the
// refused frame, or the zero Header where there is none to name. Of h only the
// stream, source and sequence are used; what no header may hold is written as
// zero, so that the refusal can be read. The text, for people, is cut to
// RefusalTextMax bytes.
//
// The body is the length of the word (1 byte), the word, then the text.
func AppendRefusal(dst []byte, h Header, timeMS int64, why Refusal, text string) []byte {
	if h.Stream == StreamReserved {
		h.Stream = 0
	}
	if h.Sequence >= NumberMax {
		h.Source, h.Sequence = 0, 0 // a source without its sequence would name its first frame
	}
	text = text[:min(len(text), RefusalTextMax)]
	word := why.String()
	dst = AppendHeader(dst, Header{
		Type: TypeRefusal, Size: HeaderSize + 1 + len(word) + len(text),
		Stream: h.Stream, Time: timeMS, Source: h.Source, Sequence: h.Sequence,
	})
	dst = append(dst, byte(len(word)))
	dst = append(dst, word...)
	return append(dst, text...)
}

// AppendSealedRefusal is AppendRefusal with a tag. The key is the down key.
func AppendSealedRefusal(dst []byte, h Header, timeMS int64, why Refusal, text string, key *ControlKey) []byte {
	start := len(dst)
	return key.seal(AppendRefusal(dst, h, timeMS, why, text), start)
}

// ParseRefusalBody reads the body of a refusal frame. text points into body. A
// word that this version does not know is refused with RefusedBody.
func ParseRefusalBody(body []byte) (reason Refusal, text []byte, why Refusal) {
	if len(body) < 1 || len(body) < 1+int(body[0]) {
		return Accepted, nil, RefusedBody
	}
	end := 1 + int(body[0])
	reason, known := ParseRefusal(string(body[1:end]))
	if !known || len(body)-end > RefusalTextMax {
		return Accepted, nil, RefusedBody
	}
	return reason, body[end:], Accepted
}
