//go:build go1.26

package wire_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/lectern/lectern/wire"
)

// What is out of range is cut to its field's width, so that the frame stays readable.
func TestEncodeOutOfRange(t *testing.T) {
	b := wire.AppendEvent(nil, &wire.Event{Content: 1, User: 2, At: 1<<24 + 3, Dwell: 1<<24 + 4, Kind: 0x51}, nil)
	if want := []byte{0x11, 0x29, 1, 2, 3, 4}; !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
	// A progress is not written if it is not meant.
	b = wire.AppendEvent(nil, &wire.Event{Progress: 50, Dwell: 7}, nil)
	if want := []byte{0x11, 0x20, 0, 0, 7}; !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
}

// However little room dst has, the result is the same, and what dst holds stays.
func TestEncodeRoom(t *testing.T) {
	prev := wire.Event{Content: 1, User: 2}
	for _, e := range []wire.Event{
		{Content: 1<<64 - 1, User: 1<<64 - 1, At: wire.AtMax, Dwell: wire.DwellMax, Kind: wire.KindShare, Progress: 100, HasProgress: true},
		{Content: 1, User: 2},
		{Content: 1, User: 3, Dwell: 256},
	} {
		want := wire.AppendEvent([]byte("before"), &e, &prev)
		for room := range 50 {
			dst := append(make([]byte, 0, len("before")+room), "before"...)
			if got := wire.AppendEvent(dst, &e, &prev); !bytes.Equal(got, want) {
				t.Errorf("with room for %d bytes: % x, want % x", room, got, want)
			}
		}
	}
}

// A header is refused for its own faults before anything behind it is read.
func TestHeaderAlone(t *testing.T) {
	for _, v := range headerRefusals() {
		alone := v.bytes[:min(len(v.bytes), wire.HeaderSize)]
		_, why := wire.ParseHeader(alone)
		switch v.name {
		case "refused-size-beyond", "refused-size-cut", "refused-size-header-only":
			if why != wire.Accepted {
				t.Errorf("%s: %v, and the rest may still come", v.name, why)
			}
		default:
			if why.String() != v.expect {
				t.Errorf("%s: %v, want %s", v.name, why, v.expect)
			}
		}
	}
}

func TestLargestFrame(t *testing.T) {
	// 65,535 bytes: a first event of 5 bytes, then 32,745 of 2.
	events := append([]ev{{content: 42, c: 1, user: 9, u: 1, progress: 1}}, slices.Repeat([]ev{again}, 32745)...)
	b := usual.events(events...).bytes
	h, why := wire.ParseHeader(b)
	if why != wire.Accepted || h.Size != wire.FrameSizeMax || h.Size != len(b) || h.Count != 32746 {
		t.Fatalf("%+v (%v) of %d bytes", h, why, len(b))
	}
	got, why := wire.DecodeEvents(make([]wire.Event, h.Count), h.Body(b), h.Count)
	if why != wire.Accepted || len(got) != h.Count {
		t.Fatalf("%d events (%v)", len(got), why)
	}
	for i, e := range got[1:] {
		if e != (wire.Event{Content: 42, User: 9}) {
			t.Fatalf("event %d is %+v", i+1, e)
		}
	}
}

// A caller's slice may be longer than the frame has events; only the frame's
// are returned, and none behind them is written.
func TestDecodeIntoLonger(t *testing.T) {
	body := usual.events(plain, again).bytes[40:]
	dst := slices.Repeat([]wire.Event{{Content: 77}}, 3)
	got, why := wire.DecodeEvents(dst, body, 2)
	if why != wire.Accepted || len(got) != 2 || &got[0] != &dst[0] || dst[2].Content != 77 {
		t.Errorf("%+v (%v), behind it %+v", got, why, dst[2])
	}
	if _, why := wire.DecodeEvents(nil, nil, 0); why != wire.Accepted {
		t.Errorf("nothing: %v", why)
	}
	if _, why := wire.DecodeEvents(nil, body, 0); why != wire.RefusedCount {
		t.Errorf("a body of no events: %v", why)
	}
	for n := range len(body) { // also the bodies that ParseHeader would have stopped
		if _, why := wire.DecodeEvents(dst, body[:n], 2); why != wire.RefusedCount {
			t.Errorf("%d bytes of %d: %v", n, len(body), why)
		}
	}
}

func TestKindWords(t *testing.T) {
	for k, want := range []string{"open", "read", "finish", "save", "share", "impression", "click", "unknown"} {
		if got := wire.Kind(k).String(); got != want {
			t.Errorf("kind %d is %q, want %q", k, got, want)
		}
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	dst := make([]wire.Event, wire.DatagramSizeDefault)
	for _, v := range readVectors(t) {
		if n := testing.AllocsPerRun(10, func() {
			for b := v.bytes; len(b) > 0; {
				h, why := wire.ParseHeader(b)
				if why != wire.Accepted || h.Size > len(b) {
					return
				}
				body := h.Body(b)
				switch h.Type {
				case wire.TypeEvents:
					_, _ = wire.DecodeEvents(dst, body, h.Count)
				case wire.TypeNames:
					_ = wire.CheckNames(body)
				case wire.TypeAck:
					_, _ = wire.ParseAck(&h, body)
				case wire.TypeRefusal:
					_, _, _ = wire.ParseRefusalBody(body)
				}
				b = b[h.Size:]
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", v.name, n)
		}
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	for _, v := range readVectors(t) {
		frames, _, _ := take(v.bytes)
		for i := range frames {
			f := &frames[i]
			text := string(f.text)
			dst := make([]byte, f.header.Size) // no room to spare
			if n := testing.AllocsPerRun(10, func() {
				dst = dst[:0]
				h := &f.header
				switch h.Type {
				case wire.TypeHello:
					dst = wire.AppendHello(dst, h.Stream, h.Source, h.Time)
				case wire.TypeAck:
					dst = wire.AppendAck(dst, h.Stream, h.Source, h.Time, f.ack)
				case wire.TypeRefusal:
					dst = wire.AppendRefusal(dst, *h, h.Time, f.reason, text)
				default:
					dst = wire.AppendHeader(dst, *h)
					var prev *wire.Event
					for j := range f.events {
						dst = wire.AppendEvent(dst, &f.events[j], prev)
						prev = &f.events[j]
					}
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations", v.name, n)
			}
		}
	}
}

// Reading and writing names allocates nothing, whatever they are.
func TestNamesAllocateNothing(t *testing.T) {
	var body []byte
	for _, n := range []wire.Name{
		{Content: article, Text: []byte("a")}, {Content: 42, Attribute: wire.AttributeTitle, Text: bytes.Repeat([]byte("é"), 256)},
		{Content: 42, Attribute: wire.AttributeWords, Text: []byte("1200")},
	} {
		body = wire.AppendName(body, &n)
	}
	room := make([]byte, 0, len(body))
	allocations := testing.AllocsPerRun(100, func() {
		if why := wire.CheckNames(body); why != wire.Accepted {
			t.Fatal(why)
		}
		again := room
		for rest := body; len(rest) > 0; {
			var n wire.Name
			n, rest, _ = wire.ReadName(rest)
			again = wire.AppendName(again, &n)
		}
		if !bytes.Equal(again, body) {
			t.Fatalf("% x became % x", body, again)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// The words of the attributes are a closed list.
func TestAttributes(t *testing.T) {
	for a := range wire.Attribute(wire.Attributes) {
		if same, ok := wire.AttributeNamed(a.String()); !ok || same != a || a.String() != attributeWords[a] {
			t.Errorf("attribute %d is %q, and that is %d (%v)", a, a, same, ok)
		}
	}
	if _, ok := wire.AttributeNamed("unknown"); ok || wire.Attribute(wire.Attributes).String() != "unknown" {
		t.Error("an attribute is known that is none")
	}
}
