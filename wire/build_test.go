//go:build go1.26

package wire_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
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

var typeWords = map[byte]string{1: "events", 2: "hello", 3: "ack", 4: "refusal", 5: "names"}

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

var kindWords = [8]string{"open", "read", "finish", "save", "share", "impression", "click", "7"}

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

// sampled builds a frame of events for each of which some were left out.
func (h head) sampled(skipped uint64, events ...ev) piece {
	h.flags |= 16
	body := le(skipped, 2)
	lines := []string{fmt.Sprintf("sampled: skipped=%d", skipped)}
	for _, e := range events {
		body = append(body, e.bytes()...)
		lines = append(lines, e.line())
	}
	return h.frameOf(1, len(events), body, lines...)
}

// nm is a name.
type nm struct {
	attribute byte
	content   uint64
	text      string
}

var attributeWords = []string{"name", "title", "section", "author", "published", "words"}

func (n nm) bytes() []byte {
	return slices.Concat([]byte{n.attribute}, le(uint64(len(n.text)), 2), le(n.content, 8), []byte(n.text))
}

// names builds a names frame.
func (h head) names(names ...nm) piece {
	var body []byte
	var lines []string
	for _, n := range names {
		body = append(body, n.bytes()...)
		lines = append(lines, fmt.Sprintf("name: content=%d attribute=%s text=%s", n.content, attributeWords[n.attribute], n.text))
	}
	return h.frameOf(5, 0, body, lines...)
}

// sealing is what a tag is made with.
type sealing struct {
	secret             []byte
	epoch              byte
	audience           string
	emitter, collector []byte // the random bytes of a session's sides; nil outside of one
}

// key derives a key of section 8 of SPEC.md.
func (s sealing) key(label byte, h head) []byte {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte{label, s.epoch})
	mac.Write(le(uint64(h.stream), 2))
	if s.emitter != nil {
		mac.Write(le(h.source, 8))
		mac.Write(s.emitter)
		mac.Write(s.collector)
	}
	mac.Write([]byte(s.audience))
	return mac.Sum(nil)
}

// marked is p with the flags and the size of a sealed frame, and no tag yet.
func (s sealing) marked(p piece) piece {
	p.bytes = slices.Clone(p.bytes)
	p.bytes[3] |= 1 | s.epoch<<2
	copy(p.bytes[4:], le(uint64(len(p.bytes)+16), 2))
	p.lines = slices.Clone(p.lines)
	p.lines[0] = strings.Replace(p.lines[0], fmt.Sprintf("flags=%d size=%d", p.bytes[3]&(2|16), len(p.bytes)),
		fmt.Sprintf("flags=%d size=%d", p.bytes[3], len(p.bytes)+16), 1)
	return p
}

// tagged appends the tag, and the line that says how it came about.
func (s sealing) tagged(p piece, key, nonce, tag []byte) piece {
	p.bytes = append(p.bytes, tag...)
	line := fmt.Sprintf("seal: epoch=%d audience=%s secret=%x", s.epoch, s.audience, s.secret)
	if s.emitter != nil {
		line += fmt.Sprintf(" emitter=%x collector=%x", s.emitter, s.collector)
	}
	line += fmt.Sprintf(" key=%x", key)
	if nonce != nil {
		line += fmt.Sprintf(" nonce=%x", nonce)
	}
	p.lines = append(p.lines, line+fmt.Sprintf(" tag=%x", tag))
	return p
}

// sealed builds a sealed events frame: of a session, where there are random bytes.
func (h head) sealed(s sealing, events ...ev) piece {
	return h.sealedNumbered(s, h.events(events...))
}

// sealedNumbered seals a frame of events or names.
func (h head) sealedNumbered(s sealing, p piece) piece {
	p = s.marked(p)
	label := byte(1)
	if s.emitter != nil {
		label = 3
	}
	key := s.key(label, h)[:16]
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	nonce := p.bytes[8:32]
	gcm, err := cipher.NewGCMWithNonceSize(block, len(nonce))
	if err != nil {
		panic(err)
	}
	return s.tagged(p, key, nonce, gcm.Seal(nil, nonce, nil, p.bytes))
}

// sealedControl seals a hello (label 2), or an ack or a refusal (label 4).
func (h head) sealedControl(s sealing, label byte, p piece) piece {
	p = s.marked(p)
	key := s.key(label, h)
	mac := hmac.New(sha256.New, key)
	mac.Write(p.bytes)
	return s.tagged(p, key, nil, mac.Sum(nil)[:16])
}

// sealedHello builds the hello that begins a sealed session.
func (h head) sealedHello(s sealing) piece {
	p := h.frameOf(2, 0, s.emitter, fmt.Sprintf("hello: random=%x", s.emitter))
	s.emitter = nil // the hello key is of no session
	return h.sealedControl(s, 2, p)
}

// sealedAck builds an ack of a sealed session.
func (h head) sealedAck(s sealing, durable, credit uint64) piece {
	p := h.frameOf(3, 0, slices.Concat(le(durable, 8), le(credit, 8), s.collector),
		fmt.Sprintf("ack: durable=%d credit=%d random=%x", durable, credit, s.collector))
	return h.sealedControl(s, 4, p)
}

// sealedRefusal builds a refusal in a sealed session.
func (h head) sealedRefusal(s sealing, word, text string) piece {
	return h.sealedControl(s, 4, h.refusal(word, text))
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
