package collector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// crowd has so many streams that nobody named send, while no cut can be made, that another
// of them finds no room for a row of its own.
func (b *bench) crowd(t *testing.T) {
	b.room = 0
	for i := range uint64(10_000) {
		if !b.shards[0].shelters(999) {
			return
		}
		v := voice{stream: uint16(1000 + i), id: 1<<40 + i}
		for user := range uint64(20) {
			v.say(b, b.now, wire.Event{Content: 1, User: i<<32 + user})
		}
	}
	t.Fatal("there is still room for the row of a whole stream")
}

// Where there is no room for a row of a whole stream, what is left goes to the sources
// of a stream by max-min: those that send little have all of theirs counted, though they
// come last, and those that send much nearly the same, whoever of them sends more. An
// oracle pours what was counted in all over the sources as water. What is not counted is
// shed, and the books say so.
func TestSheddingIsFairBySource(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed(t), 0))
	b := newBench(1, func(o *Options) { o.SourcesMax = 1 << 14 })
	b.crowd(t)
	const heavy, light, perFrame = 4, 20, 5
	var voices [heavy + light]voice
	var demand, got [heavy + light]uint64
	for i := range voices {
		voices[i] = voice{stream: 999, id: 1<<50 + uint64(i)}
	}
	say := func(i, n int) {
		events := make([]wire.Event, n)
		for k := range events {
			events[k] = wire.Event{Content: uint64(i), User: r.Uint64()}
		}
		voices[i].say(b, b.now, events...)
		demand[i] += uint64(n)
	}
	for range 2000 { // those that send much begin long before most others
		i := r.IntN(heavy)
		for range 1 + i { // and some of them more than others
			say(i, perFrame)
		}
		if r.IntN(200) == 0 {
			say(heavy+r.IntN(light), 1)
		}
	}
	for i := range light {
		say(heavy+i, 1)
	}
	b.room = 1 << 30
	if !b.cuts.cut(causeTime) {
		t.Fatal("no cut")
	}
	var all uint64
	for _, row := range b.rows {
		if row.Stream == 999 {
			got[row.Content] += row.Events()
			all += row.Events()
			if row.Coarse != storage.CoarseNot {
				t.Errorf("%+v is coarse", row)
			}
		}
	}
	level := waterLevel(demand[:], all)
	for i := range voices {
		if i >= heavy && got[i] != demand[i] || i < heavy && (got[i] > level*3/2+perFrame || got[i]+perFrame < level/2) {
			t.Errorf("of the %d events of source %d %d are counted, by max-min %d (%v of %v)", demand[i], i, got[i], min(demand[i], level), got, demand)
		}
	}
	var sent uint64
	for _, n := range demand {
		sent += n
	}
	book := b.book(999)
	if level == 0 || book.Counts[storage.Sent] != sent || book.Counts[storage.Accepted] != all || book.Counts[storage.Shed] != sent-all || sent == all || !book.Balanced() {
		t.Errorf("%+v, of %d events, of which rows have %d", book, sent, all)
	}
}

// waterLevel is up to where so much water stands in vessels of these heights.
func waterLevel(heights []uint64, water uint64) uint64 {
	heights = slices.Sorted(slices.Values(heights))
	for i, h := range heights {
		if n := uint64(len(heights) - i); h*n > water {
			return water / n
		}
		water -= h
	}
	return heights[len(heights)-1]
}

// Streams that nobody named take no room from one that has a name: above its share, and
// when all of theirs is taken, its events are all counted.
func TestUnnamedStreamsShedNoNamed(t *testing.T) {
	b := newBench(1, func(o *Options) {
		o.SourcesMax = 1 << 14
		o.Streams.Known = []Stream{{Name: "news", Number: 7, Share: 1}}
	})
	b.crowd(t)
	news, events := voice{stream: 7, id: 1}, uint64(0)
	for user := uint64(0); user < uint64(b.shards[0].table.limit); user += 100 {
		all := make([]wire.Event, 100)
		for i := range all {
			all[i] = wire.Event{Content: user, User: user + uint64(i)}
		}
		news.say(b, b.now, all...)
		events += 100
	}
	b.room = 1 << 30
	b.cuts.cut(causeTime)
	if book := b.book(7); book.Counts[storage.Accepted] != events || book.Counts[storage.Shed] != 0 || book.Counts[storage.Contentless] == 0 || !book.Balanced() {
		t.Errorf("%+v, of %d events", book, events)
	}
}

// Whatever comes while no cut can be made, no part of a table gives more keys than it
// has, and what is booked of them is what the slots say.
func TestNoKeyTooMany(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed(t), 0))
	b := newBench(1, func(o *Options) {
		o.SourcesMax, o.LateMax = 1<<14, 0
		o.Streams.Known = []Stream{{Name: "a", Number: 1, Share: 3}, {Name: "b", Number: 2, KeysMax: 700}}
		for n := range uint16(498) { // many accounts leave nothing over
			o.Streams.Known = append(o.Streams.Known, Stream{Name: fmt.Sprint(n), Number: 3 + n})
		}
	})
	s := b.shards[0]
	parts := func() [5]int {
		sh := &s.table.shares
		return [5]int{sh.spare, sh.coarse[storage.CoarseUsers], sh.coarse[storage.CoarseContents], sh.last, s.table.free()}
	}
	voices := make([]voice, 600)
	for i := range voices {
		voices[i] = voice{stream: uint16(1 + i), id: uint64(i + 1)}
	}
	for window := range 20 {
		begin, most := parts(), r.IntN(20)
		b.room, b.rows = 0, nil
		for n := range 12_000 {
			events := make([]wire.Event, 1+r.IntN(12))
			for i := range events {
				events[i] = wire.Event{Content: r.Uint64N(1 << (1 + n%20)), User: r.Uint64N(1 << 40), Kind: wire.KindRead, At: uint32(r.IntN(1+most)) * 60_000}
				if r.IntN(8) == 0 {
					events[i] = wire.Event{Content: r.Uint64N(100), User: r.Uint64(), Kind: wire.KindClick, Dwell: uint32(1 + r.IntN(255))}
				}
			}
			v := &voices[r.IntN(1+r.IntN(len(voices)))]
			v.say(b, b.now.Add(-time.Duration(20+r.IntN(1<<(n%16)))*time.Minute), events...)
			for i, left := range parts() {
				if left < 0 {
					t.Fatalf("window %d, frame %d: of part %d %d keys too many are given: %v, at first %v", window, n, i, -left, parts(), begin)
				}
			}
		}
		used, left := s.table.used, parts()
		b.room = 1 << 30
		b.pass(time.Minute)
		b.cuts.cut(causeTime)
		var coarse [storage.Coarses]int
		for _, row := range b.rows {
			coarse[row.Coarse]++
		}
		if coarse[storage.CoarseUsers] != begin[1]-left[1] || coarse[storage.CoarseContents] != begin[2]-left[2] || len(b.rows) != used || used != begin[4]-left[4] {
			t.Errorf("%d rows, %v of them coarse; of %v is left %v", len(b.rows), coarse, begin, left)
		}
		if left[2] > begin[2]/8 || left[3] == begin[3] {
			t.Errorf("it never came to the last keys: of %v is left %v", begin, left)
		}
	}
}

func TestLastKeysDoNotAllocate(t *testing.T) {
	b := newBench(1, func(o *Options) { o.SourcesMax = 1 << 14 })
	b.crowd(t)
	v := voice{stream: 999, id: 7}
	v.say(b, b.now, opens(1)...)
	s, events := b.shards[0], opens(2)
	h, _ := wire.ParseHeader(frameOf(999, 7, 0, 0, b.now, events...))
	st, k, taken := s.sources.of(7), new(storage.Book), 0
	if n := testing.AllocsPerRun(1000, func() {
		events[0].User, events[1].User = events[0].User+2, events[1].User+2
		if s.countLast(&h, st, events, 0, k) {
			taken++
		}
	}); n != 0 || taken == 0 || taken > 1000 {
		t.Errorf("%v allocations a frame, of which %d were taken", n, taken)
	}
}
