//go:build go1.26

package wire_test

import (
	"fmt"
	"slices"
	"strings"
)

// vector is one case, and one file.
type vector struct {
	name    string
	comment string
	expect  string // "ok", or the word of the first refusal
	// foreign says that encoders write the same events in other bytes.
	foreign bool
	lines   []string // what is taken, in order
	bytes   []byte
}

// cases returns all vectors.
func cases() []vector {
	return slices.Concat(
		eventCases(), foreignCases(), frameCases(), namesCases(), controlCases(),
		headerRefusals(), bodyRefusals(), namesRefusals(), controlRefusals(), restCases(), orderCases(),
	)
}

func ok(name, comment string, pieces ...piece) vector {
	v := vector{name: name, comment: comment, expect: "ok"}
	for _, p := range pieces {
		v.lines = append(v.lines, p.lines...)
		v.bytes = append(v.bytes, p.bytes...)
	}
	return v
}

// no is a case that is refused with its first frame.
func no(word, name, comment string, bytes []byte) vector {
	return vector{name: "refused-" + name, comment: comment, expect: word, bytes: bytes}
}

// plain is an event of which nothing is special.
var plain = ev{content: 42, c: 1, user: 9, u: 1, progress: -1}

// again is an event that inherits both ids of plain.
var again = ev{content: 42, user: 9, progress: -1}

// article and reader are ids as xxHash64 gives them: of "a" and of "abc".
const (
	article = 0xd24ec4f1a98c6e5b
	reader  = 0x44bc2cf5ad770999
)

func eventCases() []vector {
	list := []vector{
		ok("event-one", "one reader opens one article: the smallest useful frame", usual.events(plain)),
		ok("event-visit", "a visit: open, two heartbeats, finish; ids are hashes of a slug and of a user name", usual.events(
			ev{content: article, c: 8, user: reader, u: 8, progress: -1},
			ev{content: article, user: reader, at: 10_000, a: 2, dwell: 10_000, d: 2, kind: 1, progress: 30},
			ev{content: article, user: reader, at: 20_000, a: 2, dwell: 10_000, d: 2, kind: 1, progress: 75},
			ev{content: article, user: reader, at: 28_500, a: 2, dwell: 8_500, d: 2, kind: 2, progress: 100})),
		ok("event-id-zero", "an id of zero takes one byte, 00: no bytes would mean the id before",
			usual.events(ev{c: 1, u: 1, progress: -1})),
		ok("event-id-zero-inherited", "an inherited id of zero", usual.events(ev{c: 1, u: 1, progress: -1}, ev{progress: -1})),
		ok("event-shortest", "two bytes: both ids inherited, at the frame's time, no dwell, no progress", usual.events(plain, again)),
		ok("event-longest", "25 bytes, the most an event takes", usual.events(longest)),
		ok("event-inherits-content", "another reader of the same content",
			usual.events(plain, ev{content: 42, user: 10, u: 1, progress: -1})),
		ok("event-inherits-user", "the same reader, another content",
			usual.events(plain, ev{content: 43, c: 1, user: 9, progress: -1})),
		ok("event-inherits-apart", "content and user are inherited each for itself, through events that inherited",
			usual.events(plain,
				ev{content: 42, user: 10, u: 1, progress: -1},
				ev{content: 43, c: 1, user: 10, progress: -1},
				ev{content: 43, user: 10, kind: 3, progress: -1},
				ev{content: 43, user: 9, u: 1, progress: -1})),
		ok("event-order-free", "events need not be sorted by time: only the frame's time is that of the oldest", usual.events(
			ev{content: 42, c: 1, user: 9, u: 1, at: 900, a: 2, progress: -1},
			again,
			ev{content: 42, user: 9, at: 5, a: 1, progress: -1})),
		ok("event-progress-0", "progress 0 is not the same as none", usual.events(ev{content: 42, c: 1, user: 9, u: 1, kind: 1, progress: 0})),
		ok("event-progress-100", "the largest progress", usual.events(ev{content: 42, c: 1, user: 9, u: 1, kind: 2, progress: 100})),
	}
	for kind := range byte(7) {
		e := plain
		e.kind = kind
		list = append(list, ok("event-kind-"+kindWords[kind], "kind "+kindWords[kind], usual.events(e)))
	}
	list = append(list,
		ok("event-variant-2", "the second variant of a headline, followed: it stands where dwell does", usual.events(
			ev{content: 42, c: 1, user: 9, u: 1, at: 3, a: 1, dwell: 2, d: 1, kind: 6, progress: -1})),
		ok("event-variant-255", "the largest variant, shown to nobody in particular, and then the first: no byte", usual.events(
			ev{content: 42, c: 1, u: 1, dwell: 255, d: 1, kind: 5, progress: -1},
			ev{content: 42, kind: 5, progress: -1})))
	// The digits tell in a dump which byte went where.
	const digits = 0x8877665544332211
	for n := 1; n <= 8; n++ {
		id := digits & (^uint64(0) >> (64 - 8*n))
		list = append(list,
			ok(fmt.Sprintf("event-content-%d", n), fmt.Sprintf("a content id of %d bytes", n),
				usual.events(ev{content: id, c: n, user: 9, u: 1, kind: 1, progress: 50})),
			ok(fmt.Sprintf("event-user-%d", n), fmt.Sprintf("a user id of %d bytes", n),
				usual.events(ev{content: 42, c: 1, user: id, u: n, kind: 1, progress: 50})))
	}
	for n := range 4 {
		v := digits & (uint64(1)<<(8*n) - 1)
		list = append(list,
			ok(fmt.Sprintf("event-at-%d", n), fmt.Sprintf("at in %d bytes", n),
				usual.events(ev{content: 42, c: 1, user: 9, u: 1, at: v, a: n, dwell: 7, d: 1, kind: 1, progress: 50})),
			ok(fmt.Sprintf("event-dwell-%d", n), fmt.Sprintf("dwell in %d bytes", n),
				usual.events(ev{content: 42, c: 1, user: 9, u: 1, at: 7, a: 1, dwell: v, d: n, kind: 1, progress: 50})))
	}
	return list
}

// longest is the largest event, with the largest values.
var longest = ev{content: 1<<64 - 1, c: 8, user: 1<<64 - 1, u: 8, at: 1<<24 - 1, a: 3, dwell: 1<<24 - 1, d: 3, kind: 4, progress: 100}

// foreignCases are taken by every decoder and written by no encoder.
func foreignCases() []vector {
	list := []vector{
		ok("foreign-wide-ids", "ids with leading zeros", usual.events(ev{content: 42, c: 8, user: 9, u: 3, progress: -1})),
		ok("foreign-wide-times", "at and dwell with leading zeros",
			usual.events(ev{content: 42, c: 1, user: 9, u: 1, at: 5, a: 3, dwell: 6, d: 2, kind: 1, progress: -1})),
		ok("foreign-wide-zeros", "zeros written out", usual.events(ev{c: 8, u: 8, a: 3, d: 3, progress: 0})),
		ok("foreign-repeated-ids", "ids written again where they could be inherited", usual.events(plain, plain)),
	}
	list = append(list, sampledCases()...)
	for i := range list {
		list[i].foreign = true
	}
	return list
}

// sampledCases are what only an emitter that samples writes.
func sampledCases() []vector {
	second := usual
	second.sequence, second.position = 4, 122
	return []vector{
		ok("foreign-sampled", "for each of these events nine were left out", usual.sampled(9, plain, again)),
		ok("foreign-sampled-least", "sampled, and nothing left out", usual.sampled(0, plain)),
		ok("foreign-sampled-most", "the most that can be left out", usual.sampled(65535, longest)),
		ok("foreign-sampled-beat", "a beat that says it is sampled", usual.sampled(9)),
		ok("foreign-sampled-sealed", "sampled and sealed: the two bytes are part of what is sealed", usual.sealedNumbered(keyed, usual.sampled(9, plain, again))),
		ok("foreign-sampled-then-not", "a sampled frame, and one that is not: the events of the second stand for themselves",
			usual.sampled(9, plain, again), second.events(plain)),
	}
}

func frameCases() []vector {
	opening := usual
	opening.sequence, opening.position = 0, 0
	second := usual
	second.sequence, second.position = 4, 121
	other := head{stream: 8, time: usual.time + 250, source: 5, sequence: 0, position: 0}
	largest := head{stream: 65534, time: 1<<48 - 1, source: 1<<64 - 1, sequence: 1<<48 - 1, position: 1<<48 - 2}
	last := largest
	last.position = 1<<48 - 1
	return []vector{
		ok("frame-beat-opening", "the beat with which a source opens: count 0, sequence 0, position 0", opening.events()),
		ok("frame-beat", "a beat after 120 events in 3 frames", usual.events()),
		ok("frame-beat-largest", "a beat with the largest value of every header field", last.events()),
		ok("frame-zero", "the smallest value of every header field", head{}.events()),
		ok("frame-largest-values", "the largest value of every field, in header and event", largest.events(longest)),
		ok("frame-1400", "a datagram of 1,400 bytes, full to the last byte", usual.events(crowd(1360)...)),
		ok("frame-two", "two frames in one datagram", usual.events(plain), second.events(again.written(), again)),
		ok("frame-two-inherit", "nothing is inherited across frames: the second frame writes the same ids again",
			usual.events(plain), second.events(plain)),
		ok("frame-two-sources", "frames of two sources and streams in one datagram", usual.events(plain), other.events(plain)),
		ok("frame-events-and-beat", "a beat behind events in one datagram", usual.events(plain), second.events()),
		ok("frame-sealed", "a sealed frame: the tag is the last 16 bytes", usual.sealed(keyed, plain, again)),
		ok("frame-sealed-beat", "a sealed beat", usual.sealed(keyed)),
		ok("frame-sealed-two", "a sealed frame in front of another", usual.sealed(keyed, plain), second.sealed(keyed, plain)),
		ok("frame-sealed-1400", "a sealed datagram of 1,400 bytes: additional data of no whole number of blocks", usual.sealed(keyed, crowd(1344)...)),
		ok("frame-sealed-epoch-1", "the secret of epoch 1", usual.sealed(newer, plain)),
		ok("frame-sealed-epoch-3", "the secret of epoch 3, the longest audience", largest.sealed(longestSealing, longest)),
		ok("frame-sealed-audience", "the same frame for another audience", usual.sealed(elsewhere, plain, again)),
		ok("frame-sealed-then-not", "a sealed frame, and one that is not", usual.sealed(keyed, plain), other.events(plain)),
		ok("frame-sealed-session", "a frame of a sealed session, with the key of its connection", usual.sealed(session, plain, again)),
		ok("frame-sealed-session-again", "the same frame sent again, on the next connection", usual.sealed(nextSession, plain, again)),
	}
}

// The sealings of the vectors.
var (
	keyed          = sealing{secret: count32(0x00), epoch: 0, audience: "collector-1"}
	newer          = sealing{secret: count32(0x80), epoch: 1, audience: "collector-1"}
	elsewhere      = sealing{secret: count32(0x00), epoch: 0, audience: "collector-2"}
	longestSealing = sealing{secret: slices.Repeat([]byte{0xFF}, 32), epoch: 3, audience: strings.Repeat("Az09._-", 9)}
	session        = sealing{secret: count32(0x00), epoch: 0, audience: "collector-1", emitter: count32(0x40)[:16], collector: count32(0x60)[:16]}
	nextSession    = sealing{secret: count32(0x80), epoch: 1, audience: "collector-1", emitter: count32(0xA0)[:16], collector: count32(0xC0)[:16]}
)

// count32 is 32 bytes that count up from the first.
func count32(first byte) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// written is e with its ids in one byte each.
func (e ev) written() ev {
	e.c, e.u = 1, 1
	return e
}

// crowd returns events of many readers that take exactly size bytes.
func crowd(size int) []ev {
	rng := seeded(1)
	var list []ev
	var last ev
	left := size
	add := func(e ev) {
		list, last = append(list, e), e
		left -= len(e.bytes())
	}
	for left > 25 {
		e := ev{content: 1000 + rng.next()%3, c: 2, user: rng.next() | 1<<63, u: 8,
			at: 300 + rng.next()%600, a: 2, dwell: 5000 + rng.next()%10_000, d: 2, kind: 1, progress: int(rng.next() % 101)}
		if e.content == last.content {
			e.c = 0
		}
		add(e)
	}
	for left > 0 {
		e := ev{content: last.content, user: last.user, progress: -1}
		if left%2 == 1 {
			e.progress = 1
		}
		add(e)
	}
	return list
}

// Hashes that xxhsum gives, of the texts of vectors.
const (
	slug        = 0xb94f8cd2a8a97aa2 // of "/2026/01/étoile"
	longestName = 0x8a8bc4817d4e0290 // of 512 times "x"
)

func namesCases() []vector {
	after := usual
	after.sequence = 4
	return []vector{
		ok("names-one", "what a content is called: the text that its id is the hash of", usual.names(nm{0, article, "a"})),
		ok("names-all", "all that is said of a content, in one frame", usual.names(
			nm{0, slug, "/2026/01/étoile"}, nm{1, slug, "L’étoile & <b>"}, nm{2, slug, "Sciences"}, nm{3, slug, "محمد"},
			nm{4, slug, "1767225600000"}, nm{5, slug, "1200"})),
		ok("names-two", "two contents in one frame", usual.names(nm{0, article, "a"}, nm{0, reader, "abc"})),
		ok("names-number", "a content that has a number and no text may have a title all the same", usual.names(nm{1, 42, "Answers"})),
		ok("names-empty", "empty texts take back what was said before", usual.names(
			nm{1, 42, ""}, nm{2, 42, ""}, nm{3, 42, ""}, nm{4, 42, ""}, nm{5, 42, ""})),
		ok("names-longest", "the longest text", usual.names(nm{0, longestName, strings.Repeat("x", 512)})),
		ok("names-largest-numbers", "the largest numbers, and zero", usual.names(
			nm{4, 42, "281474976710655"}, nm{5, 42, "281474976710655"}, nm{5, 43, "0"})),
		ok("names-behind-events", "names behind events in one datagram", usual.events(), after.names(nm{0, article, "a"})),
		ok("names-sealed", "a sealed frame of names", usual.sealedNumbered(keyed, usual.names(nm{0, article, "a"}))),
		ok("names-sealed-session", "a frame of names in a sealed session", usual.sealedNumbered(session, usual.names(nm{0, article, "a"}))),
	}
}

func namesRefusals() []vector {
	good := nm{0, article, "a"}
	body := func(parts ...[]byte) []byte { return usual.frameOf(5, 0, slices.Concat(parts...)).bytes }
	of := func(attribute byte, text string) []byte { return body(nm{attribute, 42, text}.bytes()) }
	return []vector{
		no("name", "name-none", "a frame of names without one", body()),
		no("name", "name-forged", "the text of another id", body(nm{0, reader, "a"}.bytes())),
		no("name", "name-forged-last", "the last of two names is forged: none is taken", body(good.bytes(), nm{0, article, "b"}.bytes())),
		no("name", "name-empty", "a name without text, with the hash of none", body(nm{0, 0xef46db3751d8e999, ""}.bytes())),
		no("name", "name-long", "a name of 513 bytes", body(nm{0, 0x0477b499ddcdfed3, strings.Repeat("x", 513)}.bytes())),
		no("name", "name-title-long", "a title of 513 bytes", of(1, strings.Repeat("x", 513))),
		no("name", "name-cut-head", "the body ends inside of a name's head", body(good.bytes()[:10])),
		no("name", "name-cut-text", "the body ends inside of a text", body(with(good.bytes(), 1, 2))),
		no("name", "name-goes-on", "the body goes on behind the last name", body(good.bytes(), []byte{0})),
		no("name", "name-attribute-6", "the first attribute without a word", of(6, "a")),
		no("name", "name-attribute-255", "the last attribute", of(255, "a")),
		no("name", "name-utf8", "a name that is no UTF-8, with its own hash", body(nm{0, 0x4cfe52ce3d05b213, "caf\xe9"}.bytes())),
		no("name", "name-title-utf8", "a title that is no UTF-8: half of a surrogate", of(1, "\xed\xa0\x80")),
		no("name", "name-published-text", "a time that is no number", of(4, "2026-01-01")),
		no("name", "name-published-zero", "a number with a leading zero", of(4, "01")),
		no("name", "name-published-sign", "a number with a sign", of(4, "-1")),
		no("name", "name-words-largest", "the first number that is too large", of(5, "281474976710656")),
		no("name", "name-words-longest", "a number of 16 digits", of(5, "1000000000000000")),
	}
}

func controlCases() []vector {
	client := head{stream: 7, time: usual.time, source: usual.source}
	named := client
	named.sequence = 3
	nobody := head{time: usual.time}
	spool := client.of(0x665544332211)
	list := []vector{
		ok("control-hello", "a client says which source it is", client.hello()),
		ok("control-ack", "frames 0 to 119 are durable, 1 MiB may be in flight", spool.ack(120, 1<<20)),
		ok("control-ack-first", "the ack of a source that is new to the collector", spool.ack(0, 1<<16)),
		ok("control-ack-stop", "no credit: send nothing until the next ack", spool.ack(120, 0)),
		ok("control-ack-final", "the last ack: of the frames from 120 on none was taken", spool.final().ack(120, 0)),
		ok("control-ack-largest", "the largest values of an ack", client.of(1<<48-1).ack(1<<48, 1<<64-1)),
		ok("control-ack-no-spool", "the ack of a collector without a name for its spool", client.ack(120, 1<<20)),
		ok("control-refusal", "frame 3 of the source is refused", named.refusal("kind", "event 17 has kind 7")),
		ok("control-refusal-bare", "a refusal without text that names no frame", nobody.refusal("magic", "")),
		ok("control-sealed-hello", "the hello that begins a sealed session: its body is the emitter's random", client.sealedHello(session)),
		ok("control-sealed-hello-epoch-1", "a hello with the secret of epoch 1", client.sealedHello(nextSession)),
		ok("control-sealed-ack", "an ack of a sealed session: its body ends with the collector's random", spool.sealedAck(session, 120, 1<<20)),
		ok("control-sealed-ack-final", "the last ack of a sealed session", spool.final().sealedAck(nextSession, 120, 0)),
		ok("control-sealed-refusal", "frame 3 is refused in a sealed session", named.sealedRefusal(session, "kind", "event 17 has kind 7")),
		ok("control-refusal-longest", "the longest text", named.refusal("progress", strings.Repeat("0123456789abcde", 17))),
	}
	for _, word := range []string{"sealed", "unsealed", "time", "unexpected", "truncated", "rest", "sequence", "position", "sources", "connections", "idle", "credit", "forgotten"} {
		list = append(list, ok("control-refusal-"+word, "the refusal "+word+", which a receiver's state causes, in its frame", named.refusal(word, "")))
	}
	return list
}

func headerRefusals() []vector {
	good := usual.events(plain).bytes
	sealed := usual.sealed(keyed).bytes
	reserved, late, far, over, wraps, top := usual, usual, usual, usual, usual, usual
	reserved.stream = 65535
	late.sequence = 1 << 48
	far.position = 1 << 48
	over.position = 1<<48 - 2 // and two events
	wraps.position = 1<<64 - 1
	top.sequence, top.position = 1<<64-1, 1<<64-1
	list := []vector{
		no("short", "short-empty", "an empty datagram", nil),
		no("short", "short-one", "one byte", good[:1]),
		no("short", "short-39", "one byte less than a header", good[:39]),
		no("magic", "magic-first", "the first byte of the magic is another", with(good, 0, 'M')),
		no("magic", "magic-second", "the second byte of the magic is another", with(good, 1, 0)),
		no("magic", "magic-swapped", "the magic written big-endian", with(good, 0, 'E', 'L')),
		no("magic", "magic-zeros", "zeroed memory", make([]byte, 64)),
		no("version", "version-0", "version 0", with(good, 2, 0x01)),
		no("version", "version-2", "the next version", with(good, 2, 0x21)),
		no("version", "version-15", "the last version", with(good, 2, 0xF1)),
		no("type", "type-0", "type 0", with(good, 2, 0x10)),
		no("type", "type-6", "the first type without a name", with(good, 2, 0x16)),
		no("type", "type-15", "the last type", with(good, 2, 0x1F)),
		no("flags", "flags-of-ack", "a reserved flag of an ack", with(usual.ack(120, 0).bytes, 3, 4)),
		no("flags", "flags-of-hello", "a hello with the flag of a final ack", with(usual.hello().bytes, 3, 2)),
		no("flags", "flags-all", "all flags", with(good, 3, 0xFF)),
		no("flags", "flags-sealed-and-1", "a reserved flag beside the sealed one", with(sealed, 3, 3)),
		no("flags", "flags-epoch", "a key epoch without a tag", with(good, 3, 4)),
		no("flags", "flags-sealed-and-5", "a reserved flag beside the sealed one and an epoch", with(sealed, 3, 0x2D)),
		no("flags", "flags-final-events", "a sealed frame of events with the flag of a final ack", with(sealed, 3, 7)),
		no("size", "size-0", "size 0", with(good, 4, 0, 0)),
		no("size", "size-39", "size smaller than a header", with(good, 4, 39, 0)),
		no("size", "size-sealed-55", "sealed, and size smaller than a header and a tag", with(sealed, 4, 55, 0)),
		no("size", "size-beyond", "size is larger than what is there", with(good, 4, byte(len(good)+1))),
		no("size", "size-cut", "the last byte is missing", good[:len(good)-1]),
		no("size", "size-header-only", "the whole body is missing", good[:40]),
		no("count", "count-0-with-body", "no events, and bytes for one", with(good, 6, 0)),
		no("count", "count-above-body", "more events than the body has room for at 2 bytes each", with(good, 6, 3)),
		no("count", "count-below-body", "a body longer than one event can be", usual.frameOf(1, 1, append(longest.bytes(), 0)).bytes),
		no("count", "count-of-names", "names that count an event", usual.frameOf(5, 1, nm{0, article, "a"}.bytes()).bytes),
		no("count", "count-of-hello", "a hello that counts an event", usual.frameOf(2, 1, nil).bytes),
		no("count", "count-of-ack", "an ack that counts an event", usual.frameOf(3, 1, make([]byte, 16)).bytes),
		no("count", "count-of-refusal", "a refusal that counts an event", usual.frameOf(4, 1, refusalBody("kind", "")).bytes),
		no("stream", "stream", "the reserved stream", reserved.events(plain).bytes),
		no("number", "number-sequence", "the first sequence that is too large", late.events(plain).bytes),
		no("number", "number-position", "the first position that is too large for a beat", far.events().bytes),
		no("number", "number-position-and-count", "position and count reach 2^48 together", over.events(plain, again).bytes),
		no("number", "number-wraps", "position and count add up to 2^64", wraps.events(plain).bytes),
		no("number", "number-top", "both numbers have all bits set", top.events(plain).bytes),
	}
	for _, bit := range []int{1, 2, 3, 5, 6, 7} {
		list = append(list, no("flags", fmt.Sprintf("flags-bit-%d", bit), fmt.Sprintf("reserved flag %d", bit), with(good, 3, 1<<bit)))
	}
	return append(list,
		no("flags", "flags-sampled-hello", "a hello has no events of which it could be a sample", with(usual.hello().bytes, 3, 16)),
		no("flags", "flags-sampled-ack", "nor has an ack", with(usual.ack(120, 1<<20).bytes, 3, 16)),
		no("size", "size-sampled", "sampled, and without the two bytes that say how", with(usual.events().bytes, 3, 16)),
		no("count", "count-sampled", "the two bytes of a sampled frame are none of an event's: two events do not fit", with(usual.sampled(9, plain).bytes, 6, 3)),
		no("count", "count-sampled-inside", "a second event would lie partly in the two bytes", with(usual.sampled(0x2a00, ev{c: 1, u: 0, progress: -1}).bytes, 6, 2)),
	)
}

// odd is a frame of one event that is written with this lengths byte and this
// shape byte, and has enough bytes behind them for any other field.
func odd(lengths, shape byte, rest ...byte) []byte {
	return usual.frameOf(1, 1, append([]byte{lengths, shape}, rest...)).bytes
}

func bodyRefusals() []vector {
	cut := plain
	cut.at, cut.a = 1, 3
	list := []vector{
		no("count", "count-ends-inside", "the body ends inside the last event", usual.frameOf(1, 1, cut.bytes()[:6]).bytes),
		no("count", "count-ends-after-lengths", "the body ends behind the lengths of the last event",
			usual.frameOf(1, 2, append(plain.bytes(), 0)).bytes),
		no("count", "count-ends-early", "the body ends inside the third of 15 events: those that are missing are not made up of zeros",
			usual.frameOf(1, 15, slices.Concat(longest.bytes(), longest.bytes(), []byte{0x88, 0})).bytes),
		no("count", "count-ends-before", "the body ends before the last event", usual.frameOf(1, 2, plain.bytes()).bytes),
		no("count", "count-goes-on", "the body goes on behind the last event", usual.frameOf(1, 1, append(plain.bytes(), 0)).bytes),
		no("count", "count-goes-on-event", "the body holds one whole event more than count", usual.frameOf(1, 1, append(plain.bytes(), again.bytes()...)).bytes),
		no("count", "count-sealed-tag", "the tag is no part of the body: the second event would lie in it",
			with(usual.sealed(keyed, plain, again).bytes, 6, 3)),
		no("inherit", "inherit-content", "the first event inherits its content", odd(0x01, 0, 9)),
		no("inherit", "inherit-user", "the first event inherits its user", odd(0x10, 0, 42)),
		no("inherit", "inherit-both", "the first event inherits both", odd(0x00, 0)),
		no("progress", "progress-101", "progress 101", usual.events(ev{content: 42, c: 1, user: 9, u: 1, progress: 101}).bytes),
		no("progress", "progress-255", "progress 255", usual.events(ev{content: 42, c: 1, user: 9, u: 1, progress: 255}).bytes),
		no("progress", "progress-last", "the last of 100 events is bad: none is counted",
			usual.events(append(slices.Concat([]ev{plain}, slices.Repeat([]ev{again}, 98)), ev{content: 42, user: 9, progress: 101})...).bytes),
	}
	unnamed := plain
	unnamed.kind = 7
	list = append(list, no("kind", "kind-7", "kind 7 has no name", usual.events(unnamed).bytes))
	for kind := byte(5); kind <= 6; kind++ {
		list = append(list,
			no("kind", "kind-"+kindWords[kind]+"-wide", "a variant of two bytes, whatever its number",
				usual.events(ev{content: 42, c: 1, user: 9, u: 1, dwell: 1, d: 2, kind: kind, progress: -1}).bytes),
			no("kind", "kind-"+kindWords[kind]+"-progress", "a headline has no progress",
				usual.events(ev{content: 42, c: 1, user: 9, u: 1, kind: kind, progress: 0}).bytes))
	}
	for _, n := range []byte{9, 10, 15} {
		room := make([]byte, 20)
		list = append(list,
			no("length", fmt.Sprintf("length-content-%d", n), fmt.Sprintf("a content id of %d bytes", n), odd(n<<4|1, 0, room...)),
			no("length", fmt.Sprintf("length-user-%d", n), fmt.Sprintf("a user id of %d bytes", n), odd(0x10|n, 0, room...)))
	}
	return list
}

func controlRefusals() []vector {
	ack := append(le(120, 8), le(1<<20, 8)...)
	body := func(typ byte, b []byte) []byte { return usual.frameOf(typ, 0, b).bytes }
	return []vector{
		no("body", "body-hello", "a hello has no body", body(2, []byte{0})),
		no("body", "body-hello-random", "a hello with random bytes and without a tag", body(2, make([]byte, 16))),
		no("body", "body-hello-sealed-empty", "a sealed hello without random bytes", usual.sealedControl(keyed, 2, usual.hello()).bytes),
		no("body", "body-hello-sealed-short", "a sealed hello with 15 random bytes", usual.sealedControl(keyed, 2, usual.frameOf(2, 0, make([]byte, 15))).bytes),
		no("body", "body-ack-random", "an ack with random bytes and without a tag", body(3, append(ack[:16:16], make([]byte, 16)...))),
		no("body", "body-ack-sealed-short", "a sealed ack without random bytes", usual.sealedControl(session, 4, usual.ack(120, 1<<20)).bytes),
		no("body", "body-ack-short", "an ack of 15 bytes", body(3, ack[:15])),
		no("body", "body-ack-long", "an ack of 17 bytes", body(3, append(ack, 0))),
		no("body", "body-ack-empty", "an ack without a body", body(3, nil)),
		no("body", "body-ack-durable", "an ack of more frames than there can be", body(3, append(le(1<<48+1, 8), ack[8:]...))),
		no("body", "body-refusal-empty", "a refusal without a body", body(4, nil)),
		no("body", "body-refusal-no-word", "a refusal whose word is empty", body(4, refusalBody("", "text"))),
		no("body", "body-refusal-cut", "a refusal whose word is cut short", body(4, refusalBody("kind", "")[:4])),
		no("body", "body-refusal-unknown", "a refusal with a word that is not on the list", body(4, refusalBody("mood", ""))),
		no("body", "body-refusal-accepted", "a refusal that says accepted", body(4, refusalBody("accepted", ""))),
		no("body", "body-refusal-capital", "words are lower-case", body(4, refusalBody("Kind", ""))),
		no("body", "body-refusal-long", "a refusal with a text of 256 bytes", body(4, refusalBody("kind", strings.Repeat("x", 256)))),
	}
}

// restCases are datagrams of several frames of which one is refused.
func restCases() []vector {
	first, second, third := usual, usual, usual
	second.sequence, second.position = 4, 121
	third.sequence, third.position = 5, 122
	bad := plain
	bad.kind = 7
	rest := third.events(plain)
	after := func(word, name, comment string, good []piece, bad []byte, rest []byte) vector {
		v := ok(name, comment, good...)
		v.name, v.expect, v.bytes = "refused-"+name, word, slices.Concat(v.bytes, bad, rest)
		if rest != nil {
			v.lines = append(v.lines, fmt.Sprintf("rest: %d", len(rest)))
		}
		return v
	}
	return []vector{
		after("kind", "rest-first", "the first frame's body is bad: the other is the rest", nil, second.events(bad).bytes, rest.bytes),
		after("kind", "rest-middle", "the second frame's body is bad: the first is taken, the third is the rest",
			[]piece{first.events(plain)}, second.events(bad).bytes, rest.bytes),
		after("kind", "rest-none", "the last frame's body is bad: there is no rest", []piece{first.events(plain)}, second.events(bad).bytes, nil),
		after("kind", "rest-any", "the rest is not looked at, and may be anything", nil, second.events(bad).bytes, []byte{1, 2, 3}),
		after("version", "rest-header", "the second frame's header is bad: where it ends is not known, so there is no rest",
			[]piece{first.events(plain)}, append(with(second.events(plain).bytes, 2, 0x21), rest.bytes...), nil),
		after("short", "rest-short", "fewer bytes than a header follow a good frame", []piece{first.events(plain)}, []byte{'L', 'E', 0x11}, nil),
		after("size", "rest-cut", "a second frame that is cut short", []piece{first.events(plain)}, second.events(plain).bytes[:43], nil),
	}
}

// orderCases have two faults: which one is named is part of the contract.
func orderCases() []vector {
	good := usual.events(plain).bytes
	reserved := usual
	reserved.stream, reserved.sequence = 65535, 1<<48
	counted := reserved
	last := plain
	last.kind, last.progress = 7, 200
	cut := plain
	cut.kind, cut.at, cut.a = 7, 1, 3
	return []vector{
		no("short", "order-short-magic", "short comes before magic", with(good[:39], 0, 0)),
		no("magic", "order-magic-version", "magic comes before version", with(good, 0, 0, 'E', 0x21)),
		no("version", "order-version-type", "version comes before type", with(good, 2, 0x20)),
		no("type", "order-type-flags", "type comes before flags", with(good, 2, 0x10, 0xFF)),
		no("flags", "order-flags-size", "flags come before size", with(good, 3, 2, 0, 0)),
		no("size", "order-size-count", "a size below a header comes before count", with(good, 4, 39, 0, 9)),
		no("count", "order-count-stream", "count comes before stream", with(counted.events(plain).bytes, 6, 9)),
		no("stream", "order-stream-number", "stream comes before number", reserved.events(plain).bytes),
		no("number", "order-number-size", "the header's own faults come before a size that is larger than what is there",
			with(good[:40], 29, 0, 1)),
		no("count", "order-count-length", "a last event of one byte is the end of the body, whatever its length says",
			usual.frameOf(1, 2, append(plain.bytes(), 0x99)).bytes),
		no("length", "order-length-count", "a length comes before the end of the body", odd(0x91, 0)),
		no("length", "order-length-inherit", "a length comes before inherit", odd(0x09, 0, make([]byte, 12)...)),
		no("inherit", "order-inherit-count", "inherit comes before the end of the body", odd(0x08, 0)),
		no("inherit", "order-inherit-kind", "inherit comes before kind", odd(0x01, 7, 9)),
		no("count", "order-count-kind", "the end of the body comes before kind", usual.frameOf(1, 1, cut.bytes()[:5]).bytes),
		no("kind", "order-kind-progress", "kind comes before progress", usual.events(last).bytes),
		no("progress", "order-events", "events are read in their order: the first event's progress comes before the second's length",
			usual.frameOf(1, 2, slices.Concat(ev{content: 42, c: 1, user: 9, u: 1, progress: 101}.bytes(), []byte{0x99, 0}, make([]byte, 18))).bytes),
		no("kind", "order-goes-on", "a bad event comes before bytes behind the last event",
			usual.frameOf(1, 1, append([]byte{0x11, 7, 42, 9}, 0, 0)).bytes),
	}
}
