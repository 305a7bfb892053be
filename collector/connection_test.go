package collector

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// framesOf makes the frames of one source, with sequences from 0 on.
func framesOf(r *rand.Rand, stream uint16, source uint64, frames, eventsMax int) (out [][]byte, events uint64) {
	for i := range frames {
		n := r.IntN(eventsMax + 1)
		out = append(out, frameOf(stream, source, uint64(i), events, epoch, opens(n)...))
		events += uint64(n)
	}
	return out, events
}

// However the bytes of a stream are cut up on their way, the same is counted.
func TestStreamInPieces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, most := range []int{1, 3, 39, 41, 100, 5000} {
		b := newBench(1, nil)
		frames, events := framesOf(r, 1, 9, 200, 100)
		k := &connection{via: overTCP}
		for left := slices.Concat(frames...); len(left) > 0; {
			n := min(1+r.IntN(most), len(left))
			if why := b.stream(0, k, left[:n]); why != wire.Accepted {
				t.Fatalf("pieces of %d: refused: %v", most, why)
			}
			left = left[n:]
		}
		b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: events, storage.Accepted: events}}, 0)
		if s := b.shards[0]; s.conns.partials.bytes != 0 || len(k.partial) != 0 || s.tally[framesBy+meter(overTCP)] != 200 {
			t.Errorf("pieces of %d: %d bytes are still put aside after %d frames", most, s.conns.partials.bytes, s.tally[framesBy+meter(overTCP)])
		}
	}
}

func TestStreamRefusals(t *testing.T) {
	first := frameOf(1, 9, 0, 0, epoch, opens(2)...)
	for _, c := range []struct {
		name   string
		second []byte
		why    wire.Refusal
	}{
		{"a gap in the sequence", frameOf(1, 9, 2, 2, epoch, opens(1)...), wire.RefusedSequence},
		{"the same again", first, wire.RefusedSequence},
		{"another source", frameOf(1, 8, 1, 2, epoch, opens(1)...), wire.RefusedSequence},
		{"a position that jumps", frameOf(1, 9, 1, 3, epoch, opens(1)...), wire.RefusedPosition},
		{"another stream", frameOf(2, 9, 1, 2, epoch, opens(1)...), wire.RefusedStream},
		{"an ack", wire.AppendAck(nil, 1, 9, 0, wire.Ack{}), wire.RefusedUnexpected},
		{"not a frame", slices.Repeat([]byte("GET / HTTP/1.1\r\n"), 3), wire.RefusedMagic},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, piece := range []int{1, 1 << 20} {
				b := newBench(1, nil)
				k := &connection{via: overTCP}
				all := slices.Concat(first, c.second)
				why := wire.Accepted
				for left := all; len(left) > 0 && why == wire.Accepted; left = left[min(piece, len(left)):] {
					why = b.stream(0, k, left[:min(piece, len(left))])
				}
				if why != c.why {
					t.Errorf("pieces of %d: %v, want %v", piece, why, c.why)
				}
				b.cuts.cut(causeTime)
				if k := b.book(1); k.Counts[storage.Accepted] != 2 || !k.Balanced() {
					t.Errorf("pieces of %d: the frame before it: %+v", piece, k)
				}
			}
		})
	}
}

// stopped is a client that has sent this and no more.
func (b *bench) stopped(bytes []byte) *wireline {
	l := &wireline{came: bytes}
	b.shards[0].OnOpen(l)
	b.shards[0].OnTraffic(l)
	return l
}

// told is the refusal that a client got, accepted without one.
func (l *wireline) told() wire.Refusal {
	h, why := wire.ParseHeader(l.down)
	if why != wire.Accepted {
		return wire.Accepted
	}
	reason, _, _ := wire.ParseRefusalBody(h.Body(l.down))
	return reason
}

// The memory that clients make a loop keep which stop inside a frame is bounded,
// and it is that of the buffers, not of the bytes in them. Whoever has stood there
// for the longest makes room for the next.
func TestPartialFramesAreBounded(t *testing.T) {
	frame := frameOf(1, 9, 0, 0, epoch, opens(8000)...)
	for _, size := range []int{1, wire.HeaderSize, 100, 2000, len(frame)/2 + 1, len(frame) - 1} {
		b := newBench(1, func(o *Options) { o.ConnectionsMax = 1 << 20 })
		s := b.shards[0]
		each := 64
		for each < size {
			each *= 2
		}
		most := partialMax / each
		clients := make([]*wireline, most+10)
		if len(clients) > 100_000 {
			clients = clients[:100_000] // so little each that nobody has to go
		}
		for i := range clients {
			clients[i] = b.stopped(frame[:size])
			if s.conns.partials.bytes > partialMax {
				t.Fatalf("%d clients that sent %d bytes each take %d", i+1, size, s.conns.partials.bytes)
			}
		}
		for i, l := range clients {
			want := wire.Accepted
			if i < len(clients)-most {
				want = wire.RefusedConnections
			}
			if why := l.told(); why != want {
				t.Fatalf("client %d of %d, which sent %d bytes, is told %v, want %v", i, len(clients), size, why, want)
			}
		}
		var held int
		for k := s.conns.partials.oldest; k != nil; k = k.younger {
			held += cap(k.partial)
		}
		if held != s.conns.partials.bytes {
			t.Errorf("%d bytes are held, %d are counted", held, s.conns.partials.bytes)
		}
		for _, l := range clients {
			s.OnClose(l, nil)
		}
		if p := &s.conns.partials; p.bytes != 0 || p.oldest != nil || p.newest != nil {
			t.Errorf("all have gone, and %d bytes are counted", p.bytes)
		}
	}
}

// A buffer that has held a large frame does not go to a client that sends a byte.
func TestSpareBuffersFit(t *testing.T) {
	b := newBench(1, func(o *Options) { o.ConnectionsMax = 100 })
	frame := frameOf(1, 9, 0, 0, epoch, opens(8000)...)
	for range 20 {
		l := b.stopped(frame[:len(frame)-1])
		b.shards[0].OnClose(l, nil)
	}
	k := b.stopped(frame[:1]).context.(*connection)
	if cap(k.partial) > partialMin {
		t.Errorf("one byte takes %d", cap(k.partial))
	}
}

// While others hold all the memory of half-received frames, a client that goes on
// is not refused.
func TestHalfFramesOfOthers(t *testing.T) {
	b := newBench(1, func(o *Options) { o.ConnectionsMax = 1 << 20 })
	frame := frameOf(1, 9, 0, 0, epoch, opens(8000)...)
	for range partialMax/(64<<10) + 1 {
		b.stopped(frame[:len(frame)-1])
	}
	honest := &wireline{}
	b.shards[0].OnOpen(honest)
	r := rand.New(rand.NewPCG(1, 2))
	frames, events := framesOf(r, 1, 7, 300, 8000)
	for left := slices.Concat(frames...); len(left) > 0; {
		n := min(1+r.IntN(200_000), len(left))
		honest.came, left = left[:n], left[n:]
		b.shards[0].OnTraffic(honest)
	}
	if why := honest.told(); why != wire.Accepted {
		t.Errorf("it is told %v", why)
	}
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: events, storage.Accepted: events}}, 0)
}

func TestStreamDoesNotAllocate(t *testing.T) {
	b := newBench(1, nil)
	k := &connection{via: overTCP}
	sequence := uint64(0)
	frame := frameOf(1, 9, 0, 0, epoch, opens(50)...)
	send := func() {
		for i := range 8 {
			frame[24+i] = byte(sequence >> (8 * i))
			frame[32+i] = byte(sequence * 50 >> (8 * i))
		}
		sequence++
		if b.stream(0, k, frame[:100]) != wire.Accepted || b.stream(0, k, frame[100:]) != wire.Accepted {
			t.Fatal("refused")
		}
	}
	send()
	if n := testing.AllocsPerRun(1000, send); n != 0 {
		t.Errorf("%v allocations a frame that comes in two pieces", n)
	}
}
