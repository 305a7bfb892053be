package collector

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// sample makes a frame one of events for each of which so many were left out.
func sample(frame []byte, skipped uint16) []byte {
	frame = slices.Insert(frame, wire.HeaderSize, byte(skipped), byte(skipped>>8))
	frame[3] |= wire.FlagSampled
	binary.LittleEndian.PutUint16(frame[4:], uint16(len(frame)))
	return frame
}

// sampledKey is what is counted together.
type sampledKey struct {
	content, user uint64
	minute        uint32
	skipped       uint32
}

// Frames that are sampled, in any way, come among others of the same contents, readers
// and minutes: what each stands for is in the row, and no row adds up events that stand
// for different numbers. Books count what came. A plain map is kept beside.
func TestSampled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	b := newBench(1, nil)
	want := map[sampledKey]uint32{}
	var from voice
	for range 2000 {
		events := make([]wire.Event, 1+r.IntN(30))
		at := b.now.Add(-time.Duration(r.IntN(120)) * time.Second)
		skipped := []uint16{0, 0, 1, 9, 99, 65535}[r.IntN(6)]
		for i := range events {
			events[i] = wire.Event{Content: r.Uint64N(5), User: r.Uint64N(20), Kind: wire.KindOpen, At: uint32(r.IntN(90_000))}
			minute := uint32(at.Add(time.Duration(events[i].At)*time.Millisecond).Unix() / 60 * 60)
			if ahead := at.Add(time.Duration(events[i].At) * time.Millisecond); ahead.After(b.now) {
				events[i].At = 0
				minute = uint32(at.Unix() / 60 * 60)
			}
			want[sampledKey{events[i].Content, events[i].User, minute, uint32(skipped)}]++
		}
		frame := frameOf(1, 7, from.sequence, from.events, at, events...)
		if skipped > 0 || r.IntN(2) == 0 {
			frame = sample(frame, skipped)
		}
		b.receive(0, frame)
		from.sequence++
		from.events += uint64(len(events))
	}
	if !b.cuts.cut(causeTime) {
		t.Fatal("no cut")
	}
	got := map[sampledKey]uint32{}
	for _, row := range b.rows {
		got[sampledKey{row.Content, row.User, row.Minute, row.Skipped}] += row.Opens
		if row.Coarse != storage.CoarseNot {
			t.Errorf("%+v is coarse", row)
		}
	}
	if len(got) != len(b.rows) {
		t.Errorf("%d rows of %d keys", len(b.rows), len(got))
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%+v: %d events, want %d", k, got[k], n)
		}
		delete(got, k)
	}
	if len(got) > 0 {
		t.Errorf("%d keys that no event has, such as %+v", len(got), got)
	}
	if book := b.book(1); book.Counts[storage.Accepted] != from.events || book.Counts[storage.Sent] != from.events {
		t.Errorf("the books have %d of %d events", book.Counts[storage.Accepted], from.events)
	}
}

// However many numbers are named, no event is lost and no key taken beyond the table's:
// what has no room stands in coarser rows, and at last in that of the whole stream. For
// how many others an event stands is in its row, or the books say that it is in none.
func TestSampledInAnyWay(t *testing.T) {
	b := newBench(1, nil)
	b.room = 0 // no cut
	var from voice
	var weight uint64 // of all events
	keys := b.shards[0].table.limit
	for n := range 8 * keys / 100 {
		events := make([]wire.Event, 100)
		for i := range events {
			events[i] = wire.Event{Content: uint64(n), User: uint64(i), Kind: wire.KindRead}
		}
		b.receive(0, sample(frameOf(1, 7, from.sequence, from.events, b.now, events...), uint16(1+n)))
		from.sequence++
		from.events += 100
		weight += 100 * uint64(2+n)
	}
	if used := b.shards[0].table.used; used > keys {
		t.Errorf("%d keys are used, of %d", used, keys)
	}
	b.room = 1 << 30
	b.pass(time.Minute)
	if !b.cuts.cut(causeTime) {
		t.Fatal("no cut")
	}
	var coarse [storage.Coarses]uint64
	var sum, weighed uint64
	for _, row := range b.rows {
		sum += uint64(row.Reads)
		weighed += uint64(row.Reads) * row.Weight()
		coarse[row.Coarse] += uint64(row.Reads)
	}
	book := b.book(1)
	if sum != from.events || book.Counts[storage.Accepted] != from.events || book.Counts[storage.Shed] != 0 {
		t.Errorf("%d events in rows, %d in the books, of %d", sum, book.Counts[storage.Accepted], from.events)
	}
	if given := book.Counts[storage.Unweighted]; weighed+given != weight || given == 0 {
		t.Errorf("rows stand for %d events, and the books say that %d are in none, of %d", weighed, given, weight)
	}
	if coarse[storage.CoarseUsers] == 0 || coarse[storage.CoarseContents] == 0 {
		t.Errorf("nothing became coarse: %v", coarse)
	}
}
