package emit

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lectern/lectern/wire"
)

// ErrFull is returned by Packer.Add when the event belongs in the next frame,
// and by TCP.Add with OnFull Fail while the buffer has no room. The event is
// not taken.
var ErrFull = errors.New("emit: full, there is no room for the event")

// Packer packs events into the frames of one source and numbers them. It does
// no I/O, and looks at the clock only for events without a time. It is not safe
// for concurrent use.
//
// Events may come in any order: the frame's time is that of the oldest event
// in it, and is not known before the frame is finished. So the packer keeps the
// events, and encodes them at the end.
type Packer struct {
	stream   uint16
	size     int             // of the largest frame
	source   uint64          // drawn for this packer
	sequence uint64          // of the next frame
	position uint64          // of the next frame
	key      *wire.EventsKey // seals the frames; nil: nothing does

	// The frame being packed. At of its events counts from origin, which is so
	// far before the first that no other can come before it.
	events []wire.Event
	origin int64 // Unix milliseconds
	extent extent
}

var errStreamReserved = fmt.Errorf("emit: stream %d is reserved; use 0 to %d", wire.StreamReserved, wire.StreamReserved-1)

// NewPacker returns a packer for frames of at most size bytes, SizeMin to
// FrameSizeMax, with a source of its own.
func NewPacker(stream uint16, size int) (*Packer, error) {
	if stream == wire.StreamReserved {
		return nil, errStreamReserved
	}
	if size < SizeMin || size > FrameSizeMax {
		return nil, fmt.Errorf("emit: frame size %d is outside of %d to %d bytes", size, SizeMin, FrameSizeMax)
	}
	return &Packer{
		stream: stream,
		size:   size,
		source: drawSource(),
		// Most events take more bytes than this, so the slice seldom grows.
		events: make([]wire.Event, 0, size/12),
	}, nil
}

// drawSource draws a number for a numbering that begins.
func drawSource() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return binary.LittleEndian.Uint64(b[:])
}

// renew begins a new source. The events of the unfinished frame will be its own.
func (p *Packer) renew() {
	p.source, p.sequence, p.position = drawSource(), 0, 0
}

// Seal has the frames sealed by this key, the frame key of the stream, from the
// next one on. The first call comes before the first event, since the tag takes
// some of the frame's size. Whoever sends the same number of a source in two frames
// that differ gives the key away: a process that forks takes a new Packer.
func (p *Packer) Seal(key *wire.EventsKey) { p.key = key }

// sizeMax is the largest frame without its tag.
func (p *Packer) sizeMax() int {
	if p.key == nil {
		return p.size
	}
	return p.size - wire.TagSize
}

// numbering is a packer that goes on with the numbers of p, for beats alone.
func (p *Packer) numbering() Packer {
	return Packer{stream: p.stream, source: p.source, sequence: p.sequence, position: p.position, key: p.key}
}

// Source returns the number that was drawn for this packer's frames.
func (p *Packer) Source() uint64 { return p.source }

// Len returns the number of events in the unfinished frame.
func (p *Packer) Len() int { return len(p.events) }

// Add puts e into the unfinished frame. With ErrFull it did not: call Finish
// and add e again, which then fits. An error that wraps ErrEvent says that e is
// not one that a collector would take. e is not kept.
func (p *Packer) Add(e *Event) error {
	own := *e // the caller's stays as it is
	if err := own.prepare(); err != nil {
		return err
	}
	if e = &own; !p.extent.grow(e, p.sizeMax()) {
		return ErrFull
	}
	if len(p.events) == 0 {
		p.origin = e.Time - wire.AtMax
	}
	p.events = append(p.events, wire.Event{
		Content: e.Content, User: e.User,
		At:    uint32(e.Time - p.origin),
		Dwell: min(e.Dwell, wire.DwellMax),
		Kind:  e.Kind, Progress: e.Progress.percent, HasProgress: e.Progress.known,
	})
	return nil
}

// Finish appends the frame to dst and returns the result; with no events in it,
// dst as it is. The frame's numbers are used up: what becomes of it, the
// collector's books will say. The next event begins a new frame.
func (p *Packer) Finish(dst []byte) []byte {
	if len(p.events) == 0 {
		return dst
	}
	start := len(dst)
	dst = wire.AppendHeader(dst, wire.Header{}) // its place; the size is known at the end
	dst = p.extent.begin(dst)
	early := uint32(p.extent.oldest - p.origin)
	var prev *wire.Event
	for i := range p.events {
		e := &p.events[i]
		e.At -= early
		dst = wire.AppendEvent(dst, e, prev)
		prev = e
	}
	p.header(dst[:start], p.extent.flags(), len(dst)-start, len(p.events), p.extent.oldest)
	p.events, p.extent = p.events[:0], extent{}
	return p.sealed(dst, start)
}

// Beat appends a frame without events to dst and returns the result: it shows
// the collector how far this source has numbered. timeMS is the present, in
// Unix milliseconds. The unfinished frame stays as it is.
func (p *Packer) Beat(dst []byte, timeMS int64) []byte {
	start := len(dst)
	return p.sealed(p.header(dst, 0, wire.HeaderSize, 0, timeMS), start)
}

// sealed appends the tag of the frame that begins at start, if there is a key.
func (p *Packer) sealed(dst []byte, start int) []byte {
	if p.key == nil {
		return dst
	}
	return p.key.Seal(dst, start)
}

// header appends the next frame's header and consumes its numbers.
func (p *Packer) header(dst []byte, flags uint8, size, count int, timeMS int64) []byte {
	dst = wire.AppendHeader(dst, wire.Header{
		Type: wire.TypeEvents, Flags: flags, Size: size, Count: count, Stream: p.stream, Time: timeMS,
		Source: p.source, Sequence: p.sequence, Position: p.position,
	})
	p.sequence++
	p.position += uint64(count)
	return dst
}
