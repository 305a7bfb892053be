package collector

import (
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// A stream may send its rate, and a second of it at once, whatever the pieces.
func TestRate(t *testing.T) {
	for _, piece := range []int{1, 7, 100} {
		var r rate
		r.set(1000)
		now, taken := int64(1_800_000_000_000), 0
		for range 10_000 { // ten seconds, at ten times the rate
			now++
			for range 10 / min(10, piece) {
				if r.allows(piece, now) {
					taken += piece
				}
			}
		}
		if most := 11_000; taken > most || taken < most-2*piece && piece < 100 {
			t.Errorf("in pieces of %d: %d events of 10 s at 1,000 a second are within the rate", piece, taken)
		}
	}
	if !new(rate).allows(1<<30, 0) {
		t.Error("no rate is a limit")
	}
}

// What is above a stream's rate is counted by content and without its users: nothing
// of it is lost, and other streams' rows are theirs.
func TestStreamAboveItsRate(t *testing.T) {
	b := newBench(1, func(o *Options) {
		o.Streams = ten()
		o.Streams.Known[0].RateMax = 1000
	})
	fast, other := voice{stream: 1, id: 1}, voice{stream: 2, id: 2}
	for i := range uint64(500) {
		events := make([]wire.Event, 100)
		for n := range events {
			events[n] = wire.Event{Content: i % 5, User: 100*i + uint64(n), Kind: wire.KindRead}
		}
		fast.say(b, b.now, events...)
		other.say(b, b.now, wire.Event{Content: 9, User: i, Kind: wire.KindRead})
	}
	b.pass(time.Minute)
	if !b.cuts.cut(causeTime) {
		t.Fatal("no cut")
	}
	fine, coarse, others := uint64(0), map[uint64]uint64{}, 0
	for _, row := range b.rows {
		switch {
		case row.Stream == 2 && row.Coarse == storage.CoarseNot:
			others++
		case row.Stream == 1 && row.Coarse == storage.CoarseNot:
			fine += uint64(row.Reads)
			coarse[row.Content] += uint64(row.Reads)
		case row.Stream == 1 && row.Coarse == storage.CoarseUsers:
			coarse[row.Content] += uint64(row.Reads)
		default:
			t.Fatalf("%+v", row)
		}
	}
	if fine != 1000 || others != 500 {
		t.Errorf("%d events within the rate, want 1000; %d rows of the other stream, want 500", fine, others)
	}
	for content := range uint64(5) {
		if coarse[content] != 10_000 {
			t.Errorf("content %d has %d events, want 10000", content, coarse[content])
		}
	}
	if n := b.userless(); n != 49_000 {
		t.Errorf("%d events stand in the books as coarse, want 49000", n)
	}
}
