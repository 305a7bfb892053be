//go:build go1.26

package wire_test

import (
	"strings"
	"testing"

	"github.com/lectern/lectern/wire"
)

// control reads a control frame's header and hands out its body.
func control(t *testing.T, b []byte, want wire.Header) []byte {
	t.Helper()
	h, why := wire.ParseHeader(b)
	want.Size = len(b)
	if why != wire.Accepted || h != want {
		t.Fatalf("the header is %+v (%v), want %+v", h, why, want)
	}
	return h.Body(b)
}

func TestHello(t *testing.T) {
	body := control(t, wire.AppendHello(nil, 7, 9, 1234), wire.Header{Type: wire.TypeHello, Stream: 7, Source: 9, Time: 1234})
	if _, why := wire.ParseHello(&wire.Header{}, body); why != wire.Accepted {
		t.Error(why)
	}
	if _, why := wire.ParseHello(&wire.Header{}, []byte{0}); why != wire.RefusedBody {
		t.Errorf("a body: %v", why)
	}
}

func TestAck(t *testing.T) {
	for _, a := range []wire.Ack{{}, {Durable: 3, Credit: 1 << 20}, {Durable: wire.NumberMax, Credit: 1<<64 - 1}, {Durable: 3, Final: true, Spool: 12}, {Spool: wire.NumberMax - 1}} {
		want := wire.Header{Type: wire.TypeAck, Stream: 7, Source: 9, Time: 1234, Position: a.Spool}
		if a.Final {
			want.Flags = wire.FlagFinal
		}
		body := control(t, wire.AppendAck(nil, 7, 9, 1234, a), want)
		got, why := wire.ParseAck(&want, body)
		if why != wire.Accepted || got != a {
			t.Errorf("%+v became %+v (%v)", a, got, why)
		}
		for _, bad := range [][]byte{nil, body[:15], append(body, 0)} {
			if _, why := wire.ParseAck(&want, bad); why != wire.RefusedBody {
				t.Errorf("%d bytes: %v", len(bad), why)
			}
		}
	}
	if _, why := wire.ParseAck(&wire.Header{}, append(le(wire.NumberMax+1, 8), le(0, 8)...)); why != wire.RefusedBody {
		t.Errorf("durable above 2^48: %v", why)
	}
}

func TestRefusalFrame(t *testing.T) {
	const most = wire.NumberMax - 1
	for _, c := range []struct {
		name    string
		refused wire.Header
		want    wire.Header // of the refusal
	}{
		{"names a frame", wire.Header{Stream: 7, Source: 9, Sequence: 3, Position: 120, Count: 17, Flags: 1, Time: 5},
			wire.Header{Stream: 7, Source: 9, Sequence: 3}},
		{"names no frame", wire.Header{}, wire.Header{}},
		{"largest", wire.Header{Stream: 65534, Source: 1<<64 - 1, Sequence: most}, wire.Header{Stream: 65534, Source: 1<<64 - 1, Sequence: most}},
		{"reserved stream", wire.Header{Stream: 65535, Source: 9, Sequence: 3}, wire.Header{Source: 9, Sequence: 3}},
		{"sequence too large", wire.Header{Stream: 7, Source: 9, Sequence: most + 1}, wire.Header{Stream: 7}},
		{"position too large", wire.Header{Stream: 7, Source: 9, Sequence: 3, Position: 1 << 63}, wire.Header{Stream: 7, Source: 9, Sequence: 3}},
		{"both", wire.Header{Stream: 65535, Source: 9, Sequence: 1<<64 - 1}, wire.Header{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Type, c.want.Time = wire.TypeRefusal, 1234
			body := control(t, wire.AppendRefusal(nil, c.refused, 1234, wire.RefusedNumber, "why"), c.want)
			reason, text, why := wire.ParseRefusalBody(body)
			if why != wire.Accepted || reason != wire.RefusedNumber || string(text) != "why" {
				t.Errorf("%v, %q (%v)", reason, text, why)
			}
		})
	}
}

func TestRefusalBody(t *testing.T) {
	for r := wire.Accepted + 1; int(r) < wire.Refusals; r++ {
		for _, n := range []int{0, 1, 254, 255, 256, 70_000} {
			text := strings.Repeat("x", n)
			b := wire.AppendRefusal(nil, wire.Header{}, 0, r, text)
			body := control(t, b, wire.Header{Type: wire.TypeRefusal})
			reason, got, why := wire.ParseRefusalBody(body)
			if why != wire.Accepted || reason != r || string(got) != text[:min(n, 255)] {
				t.Errorf("%v with a text of %d: %v with one of %d (%v)", r, n, reason, len(got), why)
			}
		}
	}
	for _, bad := range []string{"", "\x00", "\x04", "\x04kin", "\xffkind", "\x04mood", "\x08accepted", "\x04Kind", "\x05kind\x00",
		"\x04kind" + strings.Repeat("x", 256)} {
		if reason, text, why := wire.ParseRefusalBody([]byte(bad)); why != wire.RefusedBody || reason != wire.Accepted || text != nil {
			t.Errorf("%.20q: %v, %q (%v)", bad, reason, text, why)
		}
	}
}
