// Package load makes frames, and sends them as fast as the kernel takes them:
// what a collector holds, and with what loss, is measured with it. What it
// sends is a pattern; real clients use the package emit.
package load

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/lectern/lectern/wire"
)

// Shape says what the frames of a load look like.
type Shape struct {
	Stream  uint16
	Sources int             // numberings that take turns, at least 1
	Keys    int             // different pairs of content and user, at least 1
	Zipf    float64         // exponent of the law by which keys are drawn, above 1; 0: all alike
	Events  int             // events a frame; 0: as many as fit Size
	Size    int             // bytes of the largest frame
	Seed    uint64          // the same seed gives the same keys in the same order, and the same sources
	Key     *wire.EventsKey // seals the frames; nil: nothing does

	// Next writes what happens next to e, in place of an event with a key by chance;
	// nil: there is none. An event of it takes no more than 22 bytes: At is below 256,
	// and Dwell below 65536.
	Next func(e *wire.Event)
}

// eventSize is what each event takes: both ids in full, two bytes of at, two of
// dwell. All of one size, so that full frames are, too.
const eventSize = 2 + 8 + 8 + 2 + 2

// LargestFrame is what a frame with this many events takes, in bytes.
func LargestFrame(events int) int { return wire.HeaderSize + events*eventSize }

// check says what is wrong with a shape.
func (s *Shape) check() error {
	switch {
	case s.Sources < 1, s.Keys < 1, s.Events < 0:
		return fmt.Errorf("load: %d sources, %d keys, %d events a frame make no load", s.Sources, s.Keys, s.Events)
	case s.Zipf != 0 && !(s.Zipf > 1 && s.Zipf < 100):
		return fmt.Errorf("load: the exponent of a Zipf law is above 1 here, not %v", s.Zipf)
	case s.Size > wire.FrameSizeMax, LargestFrame(max(1, s.Events))+s.tagSize() > s.Size:
		return fmt.Errorf("load: frames of %d bytes do not hold %d events; one takes %d, a header %d, and %d is the most",
			s.Size, max(1, s.Events), eventSize, wire.HeaderSize, wire.FrameSizeMax)
	}
	return nil
}

// tagSize is how many bytes of a frame its tag takes.
func (s *Shape) tagSize() int {
	if s.Key == nil {
		return 0
	}
	return wire.TagSize
}

// numbering is what a source has sent.
type numbering struct{ sequence, position uint64 }

// Maker makes frames of one shape. It belongs to one goroutine.
type Maker struct {
	shape   Shape
	events  int // a frame
	sources []numbering
	salt    uint64 // of keys
	ids     uint64 // of sources
	random  *rand.PCG
	zipf    *rand.Zipf
	now     int64

	Frames, Events, Bytes uint64 // made so far
}

// NewMaker returns a maker whose sources, drawn from the seed, have sent nothing.
func NewMaker(s Shape) (*Maker, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	m := &Maker{shape: s, events: s.Events, sources: make([]numbering, s.Sources), random: rand.NewPCG(s.Seed, 1)}
	if m.events == 0 {
		m.events = min((s.Size-wire.HeaderSize-s.tagSize())/eventSize, wire.CountMax)
	}
	m.salt, m.ids = mix(s.Seed^0x5851F42D4C957F2D), mix(s.Seed+0x9E3779B97F4A7C15)
	if s.Zipf != 0 {
		m.zipf = rand.NewZipf(rand.New(m.random), s.Zipf, 1, uint64(s.Keys-1))
	}
	m.Tick(time.Now())
	return m, nil
}

// Tick sets the time that the next frames carry.
func (m *Maker) Tick(now time.Time) { m.now = now.UnixMilli() }

// PerFrame is how many events each frame has.
func (m *Maker) PerFrame() int { return m.events }

// FrameSize is the size of each frame with events, in bytes: the most it can be, with
// Shape.Next.
func (m *Maker) FrameSize() int { return LargestFrame(m.events) + m.shape.tagSize() }

// mix is the finaliser of SplitMix64: a permutation of the 64-bit numbers.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xBF58476D1CE4E5B9
	x ^= x >> 27
	x *= 0x94D049BB133111EB
	return x ^ x>>31
}

// top is set in all ids, so that each takes eight bytes.
const top = 1 << 63

// SourceID is the number of a source, 0 to Shape.Sources - 1, on the wire.
func (m *Maker) SourceID(source int) uint64 { return mix(uint64(source)+m.ids) | top }

// Append appends the next frame of a source to dst.
func (m *Maker) Append(dst []byte, source int) []byte {
	start := len(dst)
	dst = m.header(dst, source, m.events)
	var none wire.Event // ids are never zero: each event brings both of its own
	for range m.events {
		var e wire.Event
		if m.shape.Next != nil {
			m.shape.Next(&e)
		} else {
			e = m.byChance()
		}
		dst = wire.AppendEvent(dst, &e, &none)
	}
	// What happens next may be shorter than what the header was made for.
	size := len(dst) - start
	m.Bytes -= uint64(LargestFrame(m.events) - size)
	binary.LittleEndian.PutUint16(dst[start+sizeAt:], uint16(size))
	return m.sealed(dst, start)
}

// sizeAt is where a header has the size of its frame.
const sizeAt = 4

// byChance is a heartbeat with one of the keys.
func (m *Maker) byChance() wire.Event {
	r := m.random.Uint64()
	var key uint64
	if m.zipf != nil {
		key = m.zipf.Uint64()
	} else {
		key, _ = bits.Mul64(r, uint64(m.shape.Keys))
	}
	return wire.Event{
		Content: mix(key^m.salt) | top, User: mix(key+m.salt) | top,
		At: 256 + uint32(r>>8&511), Dwell: 5000 + uint32(r>>20&8191), Kind: wire.KindRead,
	}
}

// Beat appends a frame without events to dst: it shows what came before it.
func (m *Maker) Beat(dst []byte, source int) []byte {
	start := len(dst)
	return m.sealed(m.header(dst, source, 0), start)
}

// sealed appends the tag of the frame that begins at start, if there is a key.
func (m *Maker) sealed(dst []byte, start int) []byte {
	if m.shape.Key == nil {
		return dst
	}
	m.Bytes += wire.TagSize
	return m.shape.Key.Seal(dst, start)
}

func (m *Maker) header(dst []byte, source, count int) []byte {
	n := &m.sources[source]
	h := wire.Header{
		Type: wire.TypeEvents, Size: LargestFrame(count), Count: count, Stream: m.shape.Stream, Time: m.now,
		Source: m.SourceID(source), Sequence: n.sequence, Position: n.position,
	}
	n.sequence++
	n.position += uint64(count)
	m.Frames++
	m.Events += uint64(count)
	m.Bytes += uint64(h.Size)
	return wire.AppendHeader(dst, h)
}

// Sources is how many sources take turns.
func (m *Maker) Sources() int { return len(m.sources) }

// Sent is the sequence and the position that a source's next frame will have.
func (m *Maker) Sent(source int) (sequence, position uint64) {
	n := m.sources[source]
	return n.sequence, n.position
}
