//go:build go1.26

package emit

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// A queue on disk keeps for how many others an event stands: in frames that are
// numbered, and in the open one, which a kill leaves.
func TestQueueKeepsWhatEventsStandFor(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	q := newQueue(0, 300, 1<<16)
	q.mapped = true
	q.saveHead()
	var want []Event
	for n := range 500 {
		e := Event{Time: instant + int64(n), Content: uint64(r.IntN(3)), User: uint64(n), Skipped: []uint16{0, 9, 9, 65535}[r.IntN(4)]}
		if !q.add(&e) && (!q.finish(0) || !q.add(&e)) {
			t.Fatal("no room")
		}
		want = append(want, e)
		if r.IntN(10) > 0 {
			continue
		}
		mem := slices.Clone(q.mem)
		copy(mem, queueMagic)
		binary.LittleEndian.PutUint32(mem[versionAt:], queueVersion)
		binary.LittleEndian.PutUint64(mem[16:], uint64(len(q.records)/recordSize))
		binary.LittleEndian.PutUint64(mem[24:], uint64(len(q.ring)))
		readdress(mem, "x")
		q = &queue{frameSize: 300, mapped: true}
		if err := q.load(mem); err != nil {
			t.Fatal(err)
		}
	}
	if q.opened() > 0 && !q.finish(0) {
		t.Fatal("no room")
	}
	var frames []byte
	for m := q.head; m.serial != q.next.serial; m = q.behind(m) {
		m = q.follow(m)
		frames = append(frames, q.frame(m)...)
	}
	headers, got := unpack(t, frames)
	checkNumbers(t, headers)
	if !slices.Equal(got, want) {
		t.Errorf("%d events came back, not the %d that were added, or other ones", len(got), len(want))
	}
}
