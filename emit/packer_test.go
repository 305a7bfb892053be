//go:build go1.26

package emit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lectern/lectern/wire"
)

// unpack decodes whole frames and returns their headers and events, with
// absolute times.
func unpack(t testing.TB, b []byte) (headers []wire.Header, events []Event) {
	t.Helper()
	decoded := make([]wire.Event, wire.CountMax)
	for len(b) > 0 {
		h, why := wire.ParseHeader(b)
		if why != wire.Accepted || h.Size > len(b) {
			t.Fatalf("frame %d of %d bytes: header %+v refused: %v", len(headers), len(b), h, why)
		}
		part, why := wire.DecodeEvents(decoded, h.Body(b[:h.Size]), h.Count)
		if why != wire.Accepted {
			t.Fatalf("frame %d: body refused: %v", len(headers), why)
		}
		oldest, skipped := false, h.Skipped(b)
		for _, e := range part {
			oldest = oldest || e.At == 0
			event := Event{
				Time: h.Time + int64(e.At), Content: e.Content, User: e.User,
				Dwell: e.Dwell, Kind: e.Kind, Progress: Progress{e.Progress, e.HasProgress}, Skipped: skipped,
			}
			if e.Kind == Impression || e.Kind == Click {
				event.Variant, event.Dwell = uint8(max(e.Dwell, 1)), 0
			}
			events = append(events, event)
		}
		if h.Count > 0 && !oldest {
			t.Fatalf("frame %d: its time is not that of its oldest event", len(headers))
		}
		headers = append(headers, h)
		b = b[h.Size:]
	}
	return headers, events
}

// checkNumbers checks that the frames follow each other from the very first.
func checkNumbers(t testing.TB, headers []wire.Header) {
	t.Helper()
	position := uint64(0)
	for i, h := range headers {
		if h.Source != headers[0].Source || h.Sequence != uint64(i) || h.Position != position {
			t.Fatalf("frame %d has source %x sequence %d position %d; want source %x and position %d",
				i, h.Source, h.Sequence, h.Position, headers[0].Source, position)
		}
		position += uint64(h.Count)
	}
}

// randomEvent draws an event near now, seldom far from it, that shares ids with
// others.
func randomEvent(r *rand.Rand, now int64) Event {
	ids := []uint64{0, 1, 255, 256, 1<<32 - 1, 1 << 40, 1<<64 - 1, r.Uint64(), r.Uint64() >> r.Uint64N(64)}
	jumps := []int64{0, 1, 200, 300, 70_000, wire.AtMax, wire.AtMax + 1, 1 << 40}
	e := Event{
		Time:    now + r.Int64N(2*jumps[r.IntN(len(jumps))]+1) - jumps[r.IntN(5)],
		Content: ids[r.IntN(len(ids))],
		User:    ids[r.IntN(len(ids))],
		Dwell:   uint32(r.Uint64N(1<<24) >> r.Uint64N(25)),
		Kind:    Kind(r.IntN(wire.Kinds)),
	}
	if r.IntN(4) == 0 {
		e.Skipped = []uint16{1, 9, 65535}[r.IntN(3)]
	}
	e.Time = min(max(e.Time, secondsMax), wire.TimeMax)
	switch {
	case e.Kind == Impression || e.Kind == Click:
		e.Variant, e.Dwell = uint8(1+r.IntN(255)), 0
	case r.IntN(2) == 0:
		e.Progress = Percent(uint8(r.IntN(101)))
	}
	return e
}

func TestPackerAgainstList(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := []int{SizeMin, 100, 1400, 32 << 10, FrameSizeMax}[r.IntN(5)]
		p, err := NewPacker(uint16(seed), size)
		if err != nil {
			t.Fatal(err)
		}
		var want []Event
		var sent []byte
		beats := 0
		now := int64(1_700_000_000_000)
		for range 3000 {
			now += r.Int64N(50)
			e := randomEvent(r, now)
			err := p.Add(&e)
			if err == ErrFull {
				sent = p.Finish(sent)
				err = p.Add(&e)
			}
			if err != nil {
				t.Fatalf("seed %d: %+v: %v", seed, e, err)
			}
			want = append(want, e)
			switch r.IntN(200) {
			case 0:
				sent = p.Finish(sent)
			case 1:
				sent = p.Beat(sent, now)
				beats++
			}
		}
		sent = p.Finish(p.Finish(sent)) // the second has nothing left
		headers, got := unpack(t, sent)
		checkNumbers(t, headers)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: size %d: %d events went in, %d others came out", seed, size, len(want), len(got))
		}
		for i, h := range headers {
			if h.Size > size || h.Source != p.Source() || h.Stream != uint16(seed) {
				t.Fatalf("seed %d: frame %d of at most %d bytes: %+v", seed, i, size, h)
			}
			if h.Count == 0 {
				beats--
			}
		}
		if beats != 0 {
			t.Fatalf("seed %d: %d beats are missing", seed, beats)
		}
	}
}

func TestPackerBytes(t *testing.T) {
	p, err := NewPacker(7, 1400)
	if err != nil {
		t.Fatal(err)
	}
	p.source = 0x1122334455667788
	late := Event{Time: 0x0102_0304_0506, Content: 0xABCD, User: 5, Kind: Read, Dwell: 1 << 30, Progress: Percent(50)}
	early := Event{Time: late.Time - 0x100, Content: 0xABCD, User: 6, Kind: Open}
	for _, e := range []*Event{&late, &early} {
		if err := p.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	want, err := hex.DecodeString("4c45" + "11" + "00" + "3600" + "0200" + "0700" +
		"060404030201" + // oldest time
		"8877665544332211" + "0000000000000000" + "0000000000000000" +
		"21f1" + "cdab" + "05" + "0001" + "ffffff" + "32" + // read, 256 ms later; dwell held at its largest
		"0100" + "06") // open; its content is the one before
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Finish(nil); !bytes.Equal(got, want) {
		t.Errorf("the frame is\n%x, want\n%x", got, want)
	}
}

func TestPackerRefusesEvents(t *testing.T) {
	p, err := NewPacker(0, 1400)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]Event{
		"a kind without a name": {Kind: wire.Kinds},
		"too much progress":     {Progress: Percent(101)},
		"a click that dwells":   {Kind: Click, Dwell: 1},
		"a click that goes on":  {Kind: Click, Progress: Percent(0)},
		"a variant of reading":  {Kind: Share, Variant: 1},
		"before 1970":           {Time: -1},
		"a time of 49 bits":     {Time: wire.TimeMax + 1},
	} {
		if err := p.Add(&e); !errors.Is(err, ErrEvent) || p.Len() != 0 {
			t.Errorf("%s: error %v, %d events taken", name, err, p.Len())
		}
	}
}

func TestPackerFillsFrames(t *testing.T) {
	full := Event{Time: instant + 1, Content: 1<<64 - 1, User: 1<<64 - 2}
	other := Event{Time: instant + 1, Content: 1<<64 - 3, User: 1<<64 - 4}
	for _, test := range []struct {
		name   string
		events [2]Event // in turn
		want   int      // in a frame of 1400 bytes, 1360 of them events
	}{
		{"18 bytes each", [2]Event{full, other}, 75},
		{"2 bytes each after the first", [2]Event{full, full}, 1 + (1360-18)/2},
		{"a second apart: 2 bytes more each", [2]Event{full, {Time: instant + 1001, Content: 2, User: 3}}, 2 * (1360 / (20 + 6))},
	} {
		p, err := NewPacker(0, 1400)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; p.Add(&test.events[n%2]) == nil; n++ {
		}
		if p.Len() != test.want {
			t.Errorf("%s: %d events in the frame, want %d", test.name, p.Len(), test.want)
		}
	}
}

func TestPackerFillsFramesToTheByte(t *testing.T) {
	for size, want := range map[int]int{40 + 10*18 - 1: 9, 40 + 10*18: 10, 40 + 10*18 + 17: 10} {
		p, err := NewPacker(0, size)
		if err != nil {
			t.Fatal(err)
		}
		e := Event{Time: instant + 1, Content: 1 << 63, User: 1 << 63}
		for p.Add(&e) == nil {
			e.Content++
			e.User++
		}
		if p.Len() != want || len(p.Finish(nil)) != 40+18*want {
			t.Errorf("%d events of 18 bytes in a frame of at most %d, want %d", p.Len(), size, want)
		}
	}
}

func TestNewPackerRefuses(t *testing.T) {
	for _, test := range []struct {
		stream uint16
		size   int
	}{{wire.StreamReserved, 1400}, {0, SizeMin - 1}, {0, FrameSizeMax + 1}} {
		if _, err := NewPacker(test.stream, test.size); err == nil {
			t.Errorf("stream %d, size %d: taken", test.stream, test.size)
		}
	}
}

func TestPackerAllocatesNothing(t *testing.T) {
	p, err := NewPacker(0, 1400)
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 0, 2000)
	e := Event{Time: 1_700_000_000_000, Content: 1 << 63, User: 1 << 62}
	if n := testing.AllocsPerRun(1000, func() {
		for range 100 {
			e.Content++
			if p.Add(&e) == ErrFull {
				frame = p.Finish(frame[:0])
				_ = p.Add(&e)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations in 100 events", n)
	}
}

func BenchmarkPackerAdd(b *testing.B) {
	for name, size := range map[string]int{"datagram": 1400, "frame": 32 << 10} {
		b.Run(name, func(b *testing.B) {
			p, err := NewPacker(0, size)
			if err != nil {
				b.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 1))
			events := make([]Event, 1<<12)
			for i := range events {
				events[i] = Event{Time: instant + int64(i/64), Content: r.Uint64(), User: r.Uint64(), Kind: Read, Dwell: 15_000, Progress: Percent(40)}
			}
			frame := make([]byte, 0, size+SizeMin)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e := &events[i%len(events)]
				if p.Add(e) == ErrFull {
					frame = p.Finish(frame[:0])
					_ = p.Add(e)
				}
			}
		})
	}
}
