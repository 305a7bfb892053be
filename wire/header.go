package wire

import "encoding/binary"

// Type says what a frame carries.
type Type uint8

// The frame types. Zero is not a type, so that zeroed memory is no frame.
const (
	TypeEvents  Type = 1 // client → server: events; with count 0 a beat
	TypeHello   Type = 2 // client → server, on a stream: "I am this source"
	TypeAck     Type = 3 // server → client: what is durable, and the credit
	TypeRefusal Type = 4 // server → client: why the connection closes
	TypeNames   Type = 5 // client → server: what contents are called
)

// Numbered says whether frames of the type are numbered by their source.
func (t Type) Numbered() bool { return t == TypeEvents || t == TypeNames }

// The flags of a frame.
const (
	FlagSealed  = 1  // a 16-byte tag follows the body
	FlagFinal   = 2  // of an ack: it is the last one; see Ack
	FlagSampled = 16 // of events: the sender leaves events out; see Header.Skipped

	flagsEpoch = 3 << epochShift // of a sealed frame: which of the stream's secrets
	epochShift = 2
)

// Header is a frame's header, decoded.
type Header struct {
	Type     Type
	Flags    uint8
	Size     int    // bytes of the whole frame, header and tag included
	Count    int    // events in the frame
	Stream   uint16 // application or site
	Time     int64  // base time, Unix milliseconds
	Source   uint64 // who numbers
	Sequence uint64 // frames this source sent before this one
	Position uint64 // events this source sent before this frame; of an ack its spool
}

// AppendHeader appends the 40 bytes of h to dst and returns the result. Size
// and Count are written as they are; the caller keeps them in range. Behind the header
// of a sampled frame it puts the SkippedSize bytes that Header.Skipped reads, before
// the events.
//
//	 0       2   3   4       6       8      10              16
//	+-------+---+---+-------+-------+-------+---------------+
//	| magic |v t|flg| size  | count | stream| time (6)      |
//	+-------+---+---+-------+-------+-------+---------------+
//	| source (8)            | sequence (8)  | position (8)  |
//	+-----------------------+---------------+---------------+
//	16                      24              32              40
func AppendHeader(dst []byte, h Header) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, Magic)
	dst = append(dst, Version<<4|byte(h.Type), h.Flags)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.Size))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.Count))
	// Stream and time share eight bytes.
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Stream)|uint64(h.Time)<<16)
	dst = binary.LittleEndian.AppendUint64(dst, h.Source)
	dst = binary.LittleEndian.AppendUint64(dst, h.Sequence)
	return binary.LittleEndian.AppendUint64(dst, h.Position)
}

// ParseHeader reads the header at the start of b and checks everything that
// can be checked without the body. It does not require that the whole frame is
// in b: on a stream the rest may still come. A datagram's reader compares
// h.Size with what is there and refuses with RefusedSize.
//
// The checks run in the order of the list of refusals. On a refusal h holds
// nothing unless the magic, version, type, flags and size were good: then
// h.Size tells where the next frame begins.
func ParseHeader(b []byte) (h Header, why Refusal) {
	if len(b) < HeaderSize {
		return h, RefusedShort
	}
	b = b[:HeaderSize]
	if binary.LittleEndian.Uint16(b) != Magic {
		return h, RefusedMagic
	}
	if b[2]>>4 != Version {
		return h, RefusedVersion
	}
	t := Type(b[2] & 15)
	if t < TypeEvents || t > TypeNames {
		return h, RefusedType
	}
	flags := b[3]
	known := uint8(FlagSealed)
	if flags&FlagSealed != 0 {
		known |= flagsEpoch
	}
	switch t {
	case TypeEvents:
		known |= FlagSampled
	case TypeAck:
		known |= FlagFinal
	}
	if flags&^known != 0 {
		return h, RefusedFlags
	}
	size := int(binary.LittleEndian.Uint16(b[4:]))
	least := HeaderSize
	if flags&FlagSealed != 0 {
		least += TagSize
	}
	if flags&FlagSampled != 0 {
		least += SkippedSize
	}
	if size < least {
		return h, RefusedSize
	}
	streamTime := binary.LittleEndian.Uint64(b[8:])
	h = Header{
		Type:     t,
		Flags:    flags,
		Size:     size,
		Count:    int(binary.LittleEndian.Uint16(b[6:])),
		Stream:   uint16(streamTime),
		Time:     int64(streamTime >> 16),
		Source:   binary.LittleEndian.Uint64(b[16:]),
		Sequence: binary.LittleEndian.Uint64(b[24:]),
		Position: binary.LittleEndian.Uint64(b[32:]),
	}
	body := size - least
	switch {
	case t != TypeEvents && h.Count != 0,
		t == TypeEvents && (body < h.Count*EventSizeMin || body > h.Count*EventSizeMax):
		return h, RefusedCount
	case h.Stream == StreamReserved:
		return h, RefusedStream
	case h.Sequence >= NumberMax || h.Position >= NumberMax || h.Position+uint64(h.Count) >= NumberMax:
		return h, RefusedNumber
	}
	return h, Accepted
}

// Sealed says whether a tag follows the body.
func (h *Header) Sealed() bool { return h.Flags&FlagSealed != 0 }

// Epoch is the key epoch of a sealed frame.
func (h *Header) Epoch() uint8 { return h.Flags >> epochShift & (Epochs - 1) }

// Peek reads what would be the source and the sequence of a frame that begins
// with b, whatever else b may be. It helps to look ahead, and proves nothing.
func Peek(b *[HeaderSize]byte) (source, sequence uint64) {
	return binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
}

// Sampled says whether the events are a sample of those that there were.
func (h *Header) Sampled() bool { return h.Flags&FlagSampled != 0 }

// Skipped is how many events the sender of the whole frame b, whose header is h, left
// out for each that is in it: 0 where it does not sample.
func (h *Header) Skipped(b []byte) uint16 {
	if !h.Sampled() {
		return 0
	}
	return binary.LittleEndian.Uint16(b[HeaderSize:])
}

// Body returns the body of the whole frame b, whose header is h: without the
// header, without the tag of a sealed frame, and without what Skipped reads.
func (h *Header) Body(b []byte) []byte {
	start, end := HeaderSize, h.Size
	if h.Sampled() {
		start += SkippedSize
	}
	if h.Sealed() {
		end -= TagSize
	}
	return b[start:end]
}
