package collector

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// BenchmarkCount decodes and counts frames of a full datagram, with this many
// live keys in random order, beside the same decoder in front of a plain Go map.
// Compare ns/event.
func BenchmarkCount(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		frames, perFrame := benchFrames(keys)
		b.Run(fmt.Sprintf("keys=%d/table=flat", keys), func(b *testing.B) { benchFlat(b, keys, frames, perFrame) })
		b.Run(fmt.Sprintf("keys=%d/table=map", keys), func(b *testing.B) { benchMap(b, frames, perFrame) })
	}
}

// benchFrames makes datagrams whose events go through all keys in random order,
// each key four times.
func benchFrames(keys int) (frames [][]byte, perFrame int) {
	r := rand.New(rand.NewPCG(1, 1))
	perFrame = (wire.DatagramSizeDefault - wire.HeaderSize) / 23
	ids := make([]wire.Event, keys)
	for i := range ids {
		ids[i] = wire.Event{Content: r.Uint64(), User: r.Uint64()}
	}
	events := make([]wire.Event, 0, perFrame)
	for range 4 {
		r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		for _, e := range ids {
			e.Kind, e.At, e.Dwell = wire.KindRead, uint32(r.IntN(1000)), uint32(5000+r.IntN(10_000))
			if events = append(events, e); len(events) == perFrame {
				frames = append(frames, frameOf(1, 9, 0, 0, epoch, events...))
				events = events[:0]
			}
		}
	}
	return frames, perFrame
}

func benchFlat(b *testing.B, keys int, frames [][]byte, perFrame int) {
	shards := newBench(1, func(o *Options) { o.KeysMax = max(1<<16, 2*keys) })
	s := shards.shards[0]
	s.Lock()
	defer s.Unlock()
	s.tick()
	sequence := uint64(0)
	take := func(frame []byte) {
		binary.LittleEndian.PutUint64(frame[24:], sequence)
		binary.LittleEndian.PutUint64(frame[32:], sequence*uint64(perFrame))
		sequence++
		s.datagram(frame, address{})
	}
	takeInTurn(b, frames, perFrame, take)
	if accepted := s.book(storage.Account{Stream: 1}).Counts[storage.Accepted]; accepted != sequence*uint64(perFrame) {
		b.Fatalf("%d events accepted of %d", accepted, sequence*uint64(perFrame))
	}
}

func benchMap(b *testing.B, frames [][]byte, perFrame int) {
	rows := make(map[key]*storage.Row)
	events := make([]wire.Event, eventsPerFrameMax)
	take := func(frame []byte) {
		h, why := wire.ParseHeader(frame)
		if why != wire.Accepted {
			b.Fatal(why)
		}
		decoded, why := wire.DecodeEvents(events, h.Body(frame), h.Count)
		if why != wire.Accepted {
			b.Fatal(why)
		}
		for i := range decoded {
			e := &decoded[i]
			at := h.Time + int64(e.At)
			k := key{h.Stream, uint32(at / millisPerMinute * 60), e.Content, e.User, 0}
			row := rows[k]
			if row == nil {
				row = &storage.Row{Stream: k.stream, Minute: k.minute, Content: k.content, User: k.user, First: at, Last: at}
				rows[k] = row
			}
			row.Reads++
			row.Dwell += uint64(e.Dwell)
			row.First, row.Last = min(row.First, at), max(row.Last, at)
		}
	}
	takeInTurn(b, frames, perFrame, take)
}

// takeInTurn measures take with all frames, one after the other, which it has seen before.
func takeInTurn(b *testing.B, frames [][]byte, perFrame int, take func([]byte)) {
	for _, f := range frames {
		take(f)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		take(frames[i])
		if i++; i == len(frames) {
			i = 0
		}
	}
	perEvent(b, perFrame)
}

func perEvent(b *testing.B, perFrame int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*perFrame), "ns/event")
}

// BenchmarkCutRows reads the rows of a full table at a cut, beside the loops.
func BenchmarkCutRows(b *testing.B) {
	const keys = 1_000_000
	t := newTable(2 * keys)
	r := rand.New(rand.NewPCG(1, 1))
	var rows []storage.Row
	events, moments := make([]wire.Event, 1000), make([]moment, 1000)
	for b.Loop() {
		b.StopTimer()
		for range keys / len(events) {
			for i := range events {
				events[i] = wire.Event{Content: r.Uint64(), User: r.Uint64()}
				moments[i] = periodOf(29_000_000, 1).at(0)
			}
			t.count(events, moments)
		}
		b.StartTimer()
		rows = t.appendRows(rows[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/row")
}
