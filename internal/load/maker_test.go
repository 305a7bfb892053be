package load

import (
	"testing"

	"github.com/lectern/lectern/wire"
)

// TestFramesAreGood reads what a maker made with the package wire alone: whole
// frames of one size, numbered without a gap, and no more keys than asked for.
func TestFramesAreGood(t *testing.T) {
	for _, s := range []Shape{
		{Stream: 7, Sources: 3, Keys: 5, Size: 1400, Seed: 1},
		{Stream: 7, Sources: 1, Keys: 1, Events: 4, Size: 1400, Seed: 2},
		{Stream: 7, Sources: 2, Keys: 100, Zipf: 1.1, Size: wire.FrameSizeMax, Seed: 3},
	} {
		m, err := NewMaker(s)
		if err != nil {
			t.Fatal(err)
		}
		events := make([]wire.Event, wire.CountMax)
		keys := map[[2]uint64]bool{}
		ids := map[uint64]bool{}
		sequence, position := make([]uint64, s.Sources), make([]uint64, s.Sources)
		for n := range 20 * s.Sources {
			source, beat := n%s.Sources, n%7 == 6
			b := []byte("before")
			if beat {
				b = m.Beat(b, source)
			} else {
				b = m.Append(b, source)
			}
			b = b[len("before"):]
			h, why := wire.ParseHeader(b)
			if why != wire.Accepted || h.Size != len(b) || h.Stream != 7 || h.Type != wire.TypeEvents {
				t.Fatalf("%+v: header %+v: %v", s, h, why)
			}
			if h.Sequence != sequence[source] || h.Position != position[source] || h.Source != m.SourceID(source) {
				t.Fatalf("%+v: frame %d is numbered %+v", s, n, h)
			}
			ids[h.Source] = true
			sequence[source]++
			position[source] += uint64(h.Count)
			got, why := wire.DecodeEvents(events, h.Body(b), h.Count)
			if why != wire.Accepted {
				t.Fatal(why)
			}
			if !beat && (len(got) != m.PerFrame() || len(b) != m.FrameSize()) {
				t.Fatalf("%+v: %d events in %d bytes", s, len(got), len(b))
			}
			for _, e := range got {
				keys[[2]uint64{e.Content, e.User}] = true
			}
		}
		if len(keys) > s.Keys || len(ids) != s.Sources || m.Frames != uint64(20*s.Sources) {
			t.Errorf("%+v: %d keys, %d sources, %d frames", s, len(keys), len(ids), m.Frames)
		}
		for i := range sequence {
			if a, b := m.Sent(i); a != sequence[i] || b != position[i] {
				t.Errorf("%+v: source %d sent %d, %d", s, i, a, b)
			}
		}
	}
	for _, s := range []Shape{{}, {Sources: 1, Keys: 1, Size: 50}, {Sources: 1, Keys: 1, Size: 70000}, {Sources: 1, Keys: 1, Size: 1400, Zipf: 1}} {
		if _, err := NewMaker(s); err == nil {
			t.Errorf("%+v makes frames", s)
		}
	}
}
