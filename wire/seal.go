package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/lectern/lectern/wire/internal/gmac"
)

// RandomSize is how many random bytes each side of a sealed session draws.
const RandomSize = 16

// The nonce of an events frame is where its header has stream, time, source and
// sequence.
const nonceAt = 8

// The first byte that a key is derived from: what it is for, and in which
// direction.
const (
	labelFrame = 1
	labelHello = 2
	labelUp    = 3
	labelDown  = 4
)

// EventsKey seals and opens events frames: the frame key of a stream, or the up
// key of a session.
type EventsKey struct {
	gmac  *gmac.Key
	flags uint8
}

// ControlKey seals and opens hello, ack and refusal frames: the hello key of a
// stream, or the down key of a session.
type ControlKey struct {
	key   [sha256.Size]byte
	flags uint8
}

// Session is what the keys of one sealed session are derived from, beside the
// secret and the audience.
type Session struct {
	Stream    uint16
	Source    uint64
	Emitter   [RandomSize]byte // drawn by the emitter, in its hello
	Collector [RandomSize]byte // drawn by the collector, in its acks
}

// FrameKey derives the key of events frames outside of a sealed session.
func (s *Secret) FrameKey(stream uint16, audience string) (*EventsKey, error) {
	return s.eventsKey(s.derive(labelFrame, stream, nil, audience))
}

// HelloKey derives the key of hello frames.
func (s *Secret) HelloKey(stream uint16, audience string) *ControlKey {
	return s.controlKey(s.derive(labelHello, stream, nil, audience))
}

// UpKey derives the key of the events frames of a sealed session.
func (s *Secret) UpKey(of *Session, audience string) (*EventsKey, error) {
	return s.eventsKey(s.derive(labelUp, of.Stream, of, audience))
}

// DownKey derives the key of the ack and refusal frames of a sealed session.
func (s *Secret) DownKey(of *Session, audience string) *ControlKey {
	return s.controlKey(s.derive(labelDown, of.Stream, of, audience))
}

// derive makes a key, for the session if there is one.
func (s *Secret) derive(label byte, stream uint16, of *Session, audience string) (key [sha256.Size]byte) {
	message := make([]byte, 0, 128)
	message = append(message, label, s.epoch)
	message = binary.LittleEndian.AppendUint16(message, stream)
	if of != nil {
		message = binary.LittleEndian.AppendUint64(message, of.Source)
		message = append(message, of.Emitter[:]...)
		message = append(message, of.Collector[:]...)
	}
	message = append(message, audience...)
	mac := hmac.New(sha256.New, s.bytes[:])
	mac.Write(message)
	mac.Sum(key[:0])
	return key
}

func (s *Secret) flags() uint8 { return FlagSealed | s.epoch<<epochShift }

func (s *Secret) eventsKey(key [sha256.Size]byte) (*EventsKey, error) {
	k, err := gmac.New(key[:gmac.KeySize])
	if err != nil {
		return nil, fmt.Errorf("wire: cannot seal here: %w", err)
	}
	return &EventsKey{k, s.flags()}, nil
}

func (s *Secret) controlKey(key [sha256.Size]byte) *ControlKey { return &ControlKey{key, s.flags()} }

// Seal makes an events frame that has no tag, b from start on, a sealed one: it
// sets the flags and the size, appends the tag, and returns the result. Whoever gives
// it two different frames of one stream, time, source and sequence gives the key
// away.
func (k *EventsKey) Seal(b []byte, start int) []byte {
	frame := b[start:]
	mark(frame, k.flags)
	return k.gmac.Append(b, frame[nonceAt:nonceAt+gmac.NonceSize], frame)
}

// Opens says whether the tag of a whole sealed events frame is that of this key. The
// frame is the caller's alone meanwhile: its tag is written over, and put back.
func (k *EventsKey) Opens(frame []byte) bool {
	end := len(frame) - TagSize
	return k.gmac.Opens(frame[nonceAt:nonceAt+gmac.NonceSize], frame[:end], frame[end:])
}

// seal does for control frames what EventsKey.Seal does for events.
func (k *ControlKey) seal(b []byte, start int) []byte {
	mark(b[start:], k.flags)
	tag := k.tag(b[start:])
	return append(b, tag[:]...)
}

// Opens says whether the tag of a whole sealed hello, ack or refusal is that of
// this key.
func (k *ControlKey) Opens(frame []byte) bool {
	end := len(frame) - TagSize
	tag := k.tag(frame[:end])
	return hmac.Equal(tag[:], frame[end:])
}

func (k *ControlKey) tag(frame []byte) [TagSize]byte {
	mac := hmac.New(sha256.New, k.key[:])
	mac.Write(frame)
	return [TagSize]byte(mac.Sum(nil))
}

// mark sets the flags and the size of a frame that gets a tag.
func mark(frame []byte, flags uint8) {
	frame[3] |= flags
	binary.LittleEndian.PutUint16(frame[4:], uint16(len(frame)+TagSize))
}
