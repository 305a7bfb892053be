// Package wire turns bytes into frames and events, and back.
//
// SPEC.md in this directory is the authority for every byte; the vectors under
// testdata are its contract for all languages. The package is pure: no I/O, no
// clock, no allocation while decoding, and nothing but the standard library.
//
// All functions may be called from any number of goroutines at once; none keeps
// a slice that it was given.
package wire

// Sizes in bytes, and the fixed values of a frame's header.
const (
	// Magic is the first two bytes of every frame, read little-endian ("LE" on the wire).
	Magic = 0x454C
	// Version is the protocol version this package speaks.
	Version = 1

	// HeaderSize is the size of a frame's header.
	HeaderSize = 40
	// TagSize is the size of the tag that follows the body of a sealed frame.
	TagSize = 16
	// SkippedSize is the size of what stands between the header and the events of a
	// sampled frame.
	SkippedSize = 2
	// FrameSizeMax is the largest whole frame: what the header's 16-bit size can say.
	FrameSizeMax = 65535
	// DatagramSizeDefault is the largest datagram an emitter sends unless it is
	// told that its path carries more.
	DatagramSizeDefault = 1400

	// EventSizeMin and EventSizeMax bound one encoded event.
	EventSizeMin = 2
	EventSizeMax = 2 + 8 + 8 + 3 + 3 + 1

	// StreamReserved is the stream number that no emitter may use: the stores
	// keep their receipts there.
	StreamReserved = 65535
	// CountMax is the largest number of events in a frame.
	CountMax = 65535
	// NumberMax is the first value that a sequence or a position may not reach.
	// 2^48 keeps the sums over all sources far from overflow.
	NumberMax = 1 << 48
	// TimeMax is the largest base time, in Unix milliseconds (48 bits).
	TimeMax = 1<<48 - 1
	// AtMax is the largest distance of an event behind its frame's time, and
	// DwellMax the longest dwell, both in milliseconds (24 bits; 4 h 39 min).
	AtMax    = 1<<24 - 1
	DwellMax = 1<<24 - 1
	// SkippedMax is how many events a sender may leave out for each that it sends.
	SkippedMax = 1<<16 - 1
	// ProgressMax is the largest progress, in percent.
	ProgressMax = 100
)
