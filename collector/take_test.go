package collector

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// What is brought to Take from several goroutines, while datagrams and connections
// come, is counted once, and refused by the same words.
func TestTake(t *testing.T) {
	r := start(t, nil)
	const takers, frames = 8, 200
	u, c := dial(t, "udp", r.Address()), dial(t, "tcp", r.Address())
	var all sync.WaitGroup
	for taker := range uint64(takers) {
		all.Go(func() {
			for i := range uint64(frames) {
				frame := frameOf(3, 100+taker, i, i*10, epoch, opens(10)...)
				if err := r.Collector.Take(frame); err != nil {
					t.Errorf("taker %d: %v", taker, err)
				}
				clear(frame) // it is ours again
			}
		})
	}
	for i := range uint64(frames) {
		write(t, u, frameOf(1, 1, i, i*10, epoch, opens(10)...))
		write(t, c, frameOf(2, 2, i, i*10, epoch, opens(10)...))
	}
	all.Wait()
	halfClose(t, c)
	answer(t, c)

	whole := frameOf(3, 100, 0, 0, epoch, opens(10)...)
	bad := frameOf(3, 100, frames, frames*10, epoch, opens(1)...)
	bad[wire.HeaderSize+1] = 7 // a kind without a name
	for _, c := range []struct {
		name  string
		bytes []byte
		why   error
	}{
		{"nothing", nil, wire.RefusedShort},
		{"no frame", make([]byte, 100), wire.RefusedMagic},
		{"a part of a frame", whole[:len(whole)-1], wire.RefusedSize},
		{"a duplicate", whole, nil},
		{"a hello", wire.AppendHello(nil, 3, 9, 0), wire.RefusedUnexpected},
		{"a bad one and another", append(slices.Clone(bad), whole...), wire.RefusedKind},
	} {
		if err := r.Collector.Take(c.bytes); err != c.why {
			t.Errorf("%s: %v, want %v", c.name, err, c.why)
		}
	}
	if n := r.count(`lectern_frames_total{transport="internal"}`); n != takers*frames+3 {
		t.Errorf("%d frames came by Take", n)
	}
	r.stop()
	if err := r.Collector.Take(whole); !errors.Is(err, ErrStopped) {
		t.Errorf("after Stop: %v", err)
	}
	for stream, events := range map[uint16]uint64{1: frames * 10, 2: frames * 10, 3: takers * frames * 10} {
		if b := r.book(stream); b.Counts[storage.Accepted] != events || b.Net(storage.Lost) != 0 || !b.Balanced() {
			t.Errorf("stream %d: %+v, want %d accepted", stream, b, events)
		}
	}
	b := r.book(3)
	if frames, events := refused(b, wire.RefusedKind); frames != 1 || events != 1 || b.Counts[storage.Duplicate] != 10 {
		t.Errorf("%+v", b)
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	b := newBench(2, nil)
	c := &Collector{shards: b.shards, sources: b.shards[0].sources}
	frame := frameOf(1, 9, 0, 0, epoch, opens(50)...)
	var sequence uint64
	if n := testing.AllocsPerRun(1000, func() {
		binary.LittleEndian.PutUint64(frame[24:], sequence)
		binary.LittleEndian.PutUint64(frame[32:], sequence*50)
		sequence++
		if err := c.Take(frame); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
