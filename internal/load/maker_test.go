package load

import (
	"slices"
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

// What the caller has happen next goes into frames whose headers say what size they
// are.
func TestFramesOfWhatHappensNext(t *testing.T) {
	var want []wire.Event
	m, err := NewMaker(Shape{Stream: 7, Sources: 2, Keys: 1, Size: 1400, Next: func(e *wire.Event) {
		n := uint64(len(want))
		*e = wire.Event{Content: n<<(n%50) + 1, User: n + 1, Kind: wire.Kind(n % 3), At: uint32(n % 200)}
		if e.Kind != wire.KindOpen {
			e.Dwell, e.Progress, e.HasProgress = 10_000, uint8(n%101), true
		}
		want = append(want, *e)
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []wire.Event
	bytes := 0
	for n := range 100 {
		b := m.Append([]byte("before"), n%2)[len("before"):]
		bytes += len(b)
		h, why := wire.ParseHeader(b)
		if why != wire.Accepted || h.Size != len(b) || h.Size > m.FrameSize() {
			t.Fatalf("%d bytes with the header %+v: %v", len(b), h, why)
		}
		events, why := wire.DecodeEvents(make([]wire.Event, wire.CountMax), h.Body(b), h.Count)
		if why != wire.Accepted {
			t.Fatal(why)
		}
		got = append(got, events...)
	}
	if !slices.Equal(got, want) || m.Events != uint64(len(want)) || m.Bytes != uint64(bytes) {
		t.Errorf("%d events of %d, or others; %d bytes, counted as %d", len(got), len(want), bytes, m.Bytes)
	}
}
