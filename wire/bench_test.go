//go:build go1.26

package wire_test

import (
	"testing"

	"github.com/lectern/lectern/wire"
)

// eventsOf says how the events of a benchmark are mixed. Proxies see many
// readers and some contents, and what they send inherits little; a reader's own
// client inherits nearly everything.
var eventsOf = []struct {
	name string
	make func(rng *seeded, prev wire.Event) wire.Event
}{
	{"proxy", func(rng *seeded, prev wire.Event) wire.Event {
		e := wire.Event{Content: prev.Content, User: rng.next(), At: uint32(rng.next() % 100)}
		if rng.next()%4 != 0 {
			e.Content = rng.next()
		}
		visit(rng, &e)
		return e
	}},
	{"client", func(rng *seeded, prev wire.Event) wire.Event {
		e := prev
		if prev.User == 0 {
			e = wire.Event{Content: rng.next(), User: rng.next()}
		}
		e.At = uint32(rng.next() % 60_000)
		visit(rng, &e)
		return e
	}},
	{"small", func(rng *seeded, _ wire.Event) wire.Event { // database keys, not hashes
		e := wire.Event{Content: rng.next() % 200_000, User: rng.next() % 30_000_000, At: uint32(rng.next() % 1000)}
		visit(rng, &e)
		return e
	}},
}

// visit gives the event a kind: of ten events two open, seven read and one is
// something else.
func visit(rng *seeded, e *wire.Event) {
	e.Dwell, e.Progress, e.HasProgress = 0, 0, false
	switch n := rng.next() % 10; {
	case n < 2:
		e.Kind = wire.KindOpen
	case n < 9:
		e.Kind, e.Dwell = wire.KindRead, uint32(5_000+rng.next()%10_000)
		e.Progress, e.HasProgress = uint8(rng.next()%101), rng.next()%2 == 0
	default:
		e.Kind = wire.KindFinish + wire.Kind(rng.next()%3)
	}
}

// bodies returns the bodies of so many full datagrams, and their events.
func bodies(n int, next func(*seeded, wire.Event) wire.Event) (encoded [][]byte, events [][]wire.Event) {
	rng := seeded(7)
	for range n {
		var body []byte
		var list []wire.Event
		var prev wire.Event
		for len(body) < wire.DatagramSizeDefault-wire.HeaderSize-wire.EventSizeMax {
			e := next(&rng, prev)
			var before *wire.Event
			if len(list) > 0 {
				before = &prev
			}
			body = wire.AppendEvent(body, &e, before)
			list = append(list, e)
			prev = e
		}
		encoded, events = append(encoded, body), append(events, list)
	}
	return encoded, events
}

// benchDatagrams is enough that a branch predictor does not learn them by heart.
const benchDatagrams = 512

// One op is one frame's body. See ns/event.
func BenchmarkDecode(b *testing.B) {
	for _, c := range eventsOf {
		b.Run(c.name, func(b *testing.B) {
			encoded, events := bodies(benchDatagrams, c.make)
			dst := make([]wire.Event, wire.DatagramSizeDefault)
			total := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				n := i % benchDatagrams
				if _, why := wire.DecodeEvents(dst, encoded[n], len(events[n])); why != wire.Accepted {
					b.Fatal(why)
				}
				total += len(events[n])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/event")
		})
	}
}

// One op is one frame's body. See ns/event.
func BenchmarkEncode(b *testing.B) {
	for _, c := range eventsOf {
		b.Run(c.name, func(b *testing.B) {
			_, events := bodies(benchDatagrams, c.make)
			dst := make([]byte, 0, 2*wire.DatagramSizeDefault)
			total := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				list := events[i%benchDatagrams]
				dst = dst[:0]
				var prev *wire.Event
				for j := range list {
					dst = wire.AppendEvent(dst, &list[j], prev)
					prev = &list[j]
				}
				total += len(list)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/event")
		})
	}
}

func BenchmarkParseHeader(b *testing.B) {
	frame := usual.events(crowd(1360)...).bytes
	for b.Loop() {
		if _, why := wire.ParseHeader(frame); why != wire.Accepted {
			b.Fatal(why)
		}
	}
}
