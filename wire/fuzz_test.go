//go:build go1.26

package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lectern/lectern/wire"
)

// FuzzDecode feeds any bytes to the decoder, where reading one byte more ends
// the process: a frame is taken or refused, and the same way every time.
func FuzzDecode(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.bytes)
	}
	guarded := newGuarded(f, 1<<16)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		b = guarded.place(b)
		frames, why, rest := take(b)
		if rest < 0 || rest >= len(b) && len(b) > 0 {
			t.Fatalf("a rest of %d bytes of %d", rest, len(b))
		}
		size := 0
		for i := range frames {
			frame := &frames[i]
			h := &frame.header
			if len(frame.events) != h.Count {
				t.Fatalf("%d events in a frame of %d", len(frame.events), h.Count)
			}
			if (len(frame.names) > 0) != (h.Type == wire.TypeNames) {
				t.Fatalf("%d names in a frame of type %d", len(frame.names), h.Type)
			}
			for i := range frame.names {
				if n := &frame.names[i]; !n.Good() {
					t.Fatalf("a name was taken that is none: %+v", n)
				}
			}
			for _, e := range frame.events {
				if e.At > wire.AtMax || e.Dwell > wire.DwellMax || e.Kind >= wire.Kinds || e.Progress > wire.ProgressMax || !e.HasProgress && e.Progress != 0 {
					t.Fatalf("an event out of range: %+v", e)
				}
			}
			checkAgain(t, frame, b[size:size+h.Size])
			size += h.Size
		}
		if why == wire.Accepted && size != len(b) {
			t.Fatalf("frames of %d bytes in %d", size, len(b))
		}
		if len(b) >= wire.HeaderSize {
			checkBody(t, b[wire.HeaderSize:])
		}
	})
}

// FuzzNames feeds any bytes to the reader of names, and compares with section 16 of
// SPEC.md, word for word, at the same bytes with a good hash, too: chance finds none.
func FuzzNames(f *testing.F) {
	for _, v := range readVectors(f) {
		if len(v.bytes) > wire.HeaderSize && v.bytes[2] == 0x15 {
			f.Add(v.bytes[wire.HeaderSize:])
		}
	}
	guarded := newGuarded(f, 1<<16)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<15 {
			return
		}
		for _, b := range [][]byte{b, certified(b)} {
			b = guarded.place(b)
			var got []string
			why := wire.CheckNames(b)
			for rest := b; why == wire.Accepted && len(rest) > 0; {
				var n wire.Name
				if n, rest, why = wire.ReadName(rest); why == wire.Accepted {
					got = append(got, fmt.Sprintln(n.Attribute, n.Content, string(n.Text)))
				}
			}
			want, good := slowNames(b)
			if good != (why == wire.Accepted) || good && !slices.Equal(got, want) {
				t.Fatalf("names of % x: %q (%v), want %q (%v)", b, got, why, want, good)
			}
		}
	})
}

// certified is b with the right id in each record of a name that is whole.
func certified(b []byte) []byte {
	b = bytes.Clone(b)
	for rest := b; len(rest) >= 11; {
		n := int(rest[1]) | int(rest[2])<<8
		if len(rest) < 11+n {
			break
		}
		if rest[0] == 0 {
			binary.LittleEndian.PutUint64(rest[3:], wire.ID(rest[11:11+n]))
		}
		rest = rest[11+n:]
	}
	return b
}

// slowNames is section 16 of SPEC.md.
func slowNames(b []byte) (list []string, good bool) {
	for len(b) > 0 {
		if len(b) < 11 {
			return nil, false
		}
		attribute, n, id := b[0], int(b[1])+256*int(b[2]), binary.LittleEndian.Uint64(b[3:])
		if b = b[11:]; n > 512 || n > len(b) {
			return nil, false
		}
		text := string(b[:n])
		b = b[n:]
		number, err := strconv.ParseUint(text, 10, 64)
		switch {
		case attribute == 0 && (n == 0 || wire.ID(text) != id), attribute > 5, strings.ToValidUTF8(text, "") != text,
			attribute >= 4 && n > 0 && (err != nil || number >= 1<<48 || strconv.FormatUint(number, 10) != text):
			return nil, false
		}
		list = append(list, fmt.Sprintln(attributeWords[attribute], id, text))
	}
	return list, len(list) > 0
}

// checkAgain writes a frame that was taken, and reads it again.
func checkAgain(t *testing.T, frame *taken, original []byte) {
	b := frame.encode(original)
	if len(b) > len(original) {
		t.Fatalf("the encoder needs %d bytes for a frame of %d", len(b), len(original))
	}
	binary.LittleEndian.PutUint16(b[4:], uint16(len(b))) // shorter, where the original was not minimal
	again, _, why := takeFrame(b)
	if why != wire.Accepted || !slices.Equal(again.events, frame.events) || again.ack != frame.ack || again.random != frame.random ||
		again.reason != frame.reason || !bytes.Equal(again.text, frame.text) {
		t.Fatalf("written and read again: %+v (%v), was %+v", again, why, frame)
	}
}

// checkBody decodes bytes as the body of any number of events, and compares
// with a decoder that reads a byte at a time.
func checkBody(t *testing.T, body []byte) {
	for _, count := range []int{0, 1, 2, 3, 17} {
		got, why := wire.DecodeEvents(make([]wire.Event, count), body, count)
		want, wantWhy := slowDecode(body, count)
		if why != wantWhy || !slices.Equal(got, want) {
			t.Fatalf("%d events of % x: %+v (%v), want %+v (%v)", count, body, got, why, want, wantWhy)
		}
		// The same with something behind the body, which is not read in the same way.
		for _, behind := range []byte{0, 0x11, 0x99, 0xFF} {
			long := append(bytes.Clone(body), bytes.Repeat([]byte{behind}, 64)...)
			got, why := wire.DecodeEvents(make([]wire.Event, count), long[:len(body)], count)
			if why != wantWhy || !slices.Equal(got, want) {
				t.Fatalf("%d events of % x, in front of %x: %+v (%v), want %+v (%v)", count, body, behind, got, why, want, wantWhy)
			}
		}
	}
}

// slowDecode is section 9 of SPEC.md, word for word.
func slowDecode(body []byte, count int) (list []wire.Event, why wire.Refusal) {
	number := func(n int) (v uint64) {
		for i := range n {
			v |= uint64(body[i]) << (8 * i)
		}
		body = body[n:]
		return v
	}
	var e wire.Event
	for i := range count {
		if len(body) < 2 {
			return nil, wire.RefusedCount
		}
		lengths, shape := body[0], body[1]
		body = body[2:]
		c, u := int(lengths/16), int(lengths%16)
		a, d, p := int(shape/8%4), int(shape/32%4), int(shape/128)
		switch {
		case c > 8 || u > 8:
			return nil, wire.RefusedLength
		case i == 0 && (c == 0 || u == 0):
			return nil, wire.RefusedInherit
		case len(body) < c+u+a+d+p:
			return nil, wire.RefusedCount
		}
		if c > 0 {
			e.Content = number(c)
		}
		if u > 0 {
			e.User = number(u)
		}
		e.At, e.Dwell = uint32(number(a)), uint32(number(d))
		e.Kind, e.Progress, e.HasProgress = wire.Kind(shape%8), uint8(number(p)), p == 1
		switch {
		case e.Kind == 7, e.Kind > wire.KindShare && (d > 1 || p > 0):
			return nil, wire.RefusedKind
		case e.Progress > 100:
			return nil, wire.RefusedProgress
		}
		list = append(list, e)
	}
	if len(body) > 0 {
		return nil, wire.RefusedCount
	}
	return list, wire.Accepted
}

// FuzzRoundTrip makes events of any bytes, writes them, and reads them again.
func FuzzRoundTrip(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		events := eventsFrom(b)
		var body []byte
		var prev *wire.Event
		for i := range events {
			before := len(body)
			body = wire.AppendEvent(body, &events[i], prev)
			if n := len(body) - before; n < wire.EventSizeMin || n > wire.EventSizeMax {
				t.Fatalf("event %+v takes %d bytes", events[i], n)
			}
			prev = &events[i]
		}
		got, why := wire.DecodeEvents(make([]wire.Event, len(events)), body, len(events))
		if why != wire.Accepted || !slices.Equal(got, events) {
			t.Fatalf("%+v became %+v (%v)", events, got, why)
		}
	})
}

// eventsFrom makes an event of every 28 bytes: the sizes of its numbers, then
// their bytes, so that all sizes are as likely.
func eventsFrom(b []byte) (events []wire.Event) {
	for len(b) >= 28 && len(events) < 2000 {
		number := func(at, bits int, size byte) uint64 {
			return binary.LittleEndian.Uint64(b[at:]) & (1<<bits - 1) >> (uint(size) % uint(bits+1))
		}
		e := wire.Event{
			Content: number(4, 64, b[0]), User: number(12, 64, b[1]),
			At: uint32(number(20, 24, b[2])), Dwell: uint32(number(20, 48, b[3])) & wire.DwellMax,
			Kind: wire.Kind(b[26] % wire.Kinds), HasProgress: b[27] >= 128,
		}
		if e.HasProgress = e.HasProgress && e.Kind <= wire.KindShare; e.HasProgress {
			e.Progress = b[27] % (wire.ProgressMax + 1)
		}
		if e.Kind > wire.KindShare {
			e.Dwell &= wire.VariantMax
		}
		if n := len(events); n > 0 && b[0]&1 == 1 {
			e.Content = events[n-1].Content
		}
		if n := len(events); n > 0 && b[1]&1 == 1 {
			e.User = events[n-1].User
		}
		events = append(events, e)
		b = b[28:]
	}
	return events
}
