//go:build go1.26

package wire_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
)

// The builders make the vectors' bytes, and the lines that say what is in them,
// from SPEC.md alone: nothing in this file uses the package under test.

// piece is some bytes of a vector, and the lines that say what they are.
type piece struct {
	bytes []byte
	lines []string
}

// le returns the n lowest bytes of v, little-endian.
func le(v uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(v)
		v >>= 8
	}
	return b
}

// head is what a builder's caller chooses of a header.
type head struct {
	flags                            byte
	stream                           uint16
	time, source, sequence, position uint64
}

// usual is the header of vectors in which the header is not the point.
var usual = head{stream: 7, time: 1767225600000, source: 0x1122334455667788, sequence: 3, position: 120}

var typeWords = map[byte]string{1: "events", 2: "hello", 3: "ack", 4: "refusal"}

// frameOf puts a header of this type in front of a body.
func (h head) frameOf(typ byte, count int, body []byte, lines ...string) piece {
	size := 40 + len(body)
	b := []byte{'L', 'E', 0x10 | typ, h.flags}
	b = append(b, le(uint64(size), 2)...)
	b = append(b, le(uint64(count), 2)...)
	b = append(b, le(uint64(h.stream), 2)...)
	b = append(b, le(h.time, 6)...)
	b = append(b, le(h.source, 8)...)
	b = append(b, le(h.sequence, 8)...)
	b = append(b, le(h.position, 8)...)
	line := fmt.Sprintf("frame: type=%s flags=%d size=%d count=%d stream=%d time=%d source=%d sequence=%d position=%d",
		typeWords[typ], h.flags, size, count, h.stream, h.time, h.source, h.sequence, h.position)
	return piece{append(b, body...), append([]string{line}, lines...)}
}

// ev is an event, and how many bytes each of its fields is written with. No
// bytes for an id mean the one before.
type ev struct {
	content  uint64
	c        int
	user     uint64
	u        int
	at       uint64
	a        int
	dwell    uint64
	d        int
	kind     byte
	progress int // -1: none
}

func (e ev) bytes() []byte {
	shape := e.kind | byte(e.a)<<3 | byte(e.d)<<5
	var progress []byte
	if e.progress >= 0 {
		shape |= 0x80
		progress = []byte{byte(e.progress)}
	}
	return slices.Concat([]byte{byte(e.c)<<4 | byte(e.u), shape},
		le(e.content, e.c), le(e.user, e.u), le(e.at, e.a), le(e.dwell, e.d), progress)
}

var kindWords = [8]string{"open", "read", "finish", "save", "share", "5", "6", "7"}

func (e ev) line() string {
	progress := "-"
	if e.progress >= 0 {
		progress = fmt.Sprint(e.progress)
	}
	return fmt.Sprintf("event: content=%d user=%d at=%d dwell=%d kind=%s progress=%s",
		e.content, e.user, e.at, e.dwell, kindWords[e.kind], progress)
}

// events builds an events frame. An event that inherits an id names it, too.
func (h head) events(events ...ev) piece {
	var body []byte
	var lines []string
	for _, e := range events {
		body = append(body, e.bytes()...)
		lines = append(lines, e.line())
	}
	return h.frameOf(1, len(events), body, lines...)
}

// sealed builds a sealed events frame.
func (h head) sealed(secret string, events ...ev) piece {
	h.flags |= 1
	p := h.events(events...)
	copy(p.bytes[4:], le(uint64(len(p.bytes)+16), 2))

	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte{1}) // client to server
	mac.Write(le(h.source, 8))
	key := mac.Sum(nil)[:16]
	nonce := append(le(h.sequence, 8), 0, 0, 0, 0)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	tag := gcm.Seal(nil, nonce, nil, p.bytes)

	p.bytes = append(p.bytes, tag...)
	p.lines[0] = fmt.Sprintf("frame: type=events flags=1 size=%d count=%d stream=%d time=%d source=%d sequence=%d position=%d",
		len(p.bytes), len(events), h.stream, h.time, h.source, h.sequence, h.position)
	p.lines = append(p.lines, fmt.Sprintf("seal: secret=%x key=%x nonce=%x tag=%x", secret, key, nonce, tag))
	return p
}

func (h head) hello() piece { return h.frameOf(2, 0, nil) }

func (h head) ack(durable, credit uint64) piece {
	return h.frameOf(3, 0, append(le(durable, 8), le(credit, 8)...), fmt.Sprintf("ack: durable=%d credit=%d", durable, credit))
}

// of gives it this spool.
func (h head) of(spool uint64) head {
	h.position = spool
	return h
}

// final makes it the last ack.
func (h head) final() head {
	h.flags = 2
	return h
}

func (h head) refusal(word, text string) piece {
	line := "refusal: word=" + word
	if text != "" {
		line += " text=" + text
	}
	return h.frameOf(4, 0, refusalBody(word, text), line)
}

func refusalBody(word, text string) []byte {
	return slices.Concat([]byte{byte(len(word))}, []byte(word), []byte(text))
}

// with returns a copy of b in which new bytes stand from at on.
func with(b []byte, at int, bytes ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], bytes)
	return b
}

// seeded is a small generator of numbers (SplitMix64), for the contents of
// larger frames.
type seeded uint64

func (s *seeded) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
