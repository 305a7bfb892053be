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
		k := new(connection)
		for left := slices.Concat(frames...); len(left) > 0; {
			n := min(1+r.IntN(most), len(left))
			if why := b.stream(0, k, left[:n]); why != wire.Accepted {
				t.Fatalf("pieces of %d: refused: %v", most, why)
			}
			left = left[n:]
		}
		b.want(t, 1, storage.Book{Sent: events, Accepted: events}, 0)
		if s := b.shards[0]; s.conns.buffered != 0 || len(k.partial) != 0 || s.tally.frames[overTCP] != 200 {
			t.Errorf("pieces of %d: %d bytes are still put aside after %d frames", most, s.conns.buffered, s.tally.frames[overTCP])
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
				k := new(connection)
				all := slices.Concat(first, c.second)
				why := wire.Accepted
				for left := all; len(left) > 0 && why == wire.Accepted; left = left[min(piece, len(left)):] {
					why = b.stream(0, k, left[:min(piece, len(left))])
				}
				if why != c.why {
					t.Errorf("pieces of %d: %v, want %v", piece, why, c.why)
				}
				b.cuts.cut(causeTime)
				if k := b.book(1); k.Accepted != 2 || !k.Balanced() {
					t.Errorf("pieces of %d: the frame before it: %+v", piece, k)
				}
			}
		})
	}
}

// What clients that stop inside a frame can make a loop keep is bounded.
func TestPartialFramesAreBounded(t *testing.T) {
	b := newBench(1, nil)
	frame := frameOf(1, 9, 0, 0, epoch, opens(8000)...)
	part := frame[:len(frame)-1]
	most := partialMax / len(part)
	for i := range most {
		if why := b.stream(0, new(connection), part); why != wire.Accepted {
			t.Fatalf("client %d of %d: %v", i, most, why)
		}
	}
	if why := b.stream(0, new(connection), part); why != wire.RefusedConnections {
		t.Errorf("one more: %v, want %v", why, wire.RefusedConnections)
	}
	// Also when it grows a byte at a time.
	k, why := new(connection), wire.Accepted
	for _, c := range part {
		if why = b.stream(0, k, []byte{c}); why != wire.Accepted {
			break
		}
	}
	if why != wire.RefusedConnections {
		t.Errorf("byte by byte: %v, want %v", why, wire.RefusedConnections)
	}
	if n := b.shards[0].conns.buffered; n > partialMax {
		t.Errorf("%d bytes are put aside, %d are allowed", n, partialMax)
	}
}

func TestStreamDoesNotAllocate(t *testing.T) {
	b := newBench(1, nil)
	k := new(connection)
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
