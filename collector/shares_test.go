package collector

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// userless is how many events were counted without a reader of their own, by content.
func (b *bench) userless() uint64 { return b.cuts.total().Counts[storage.Userless] }

// voice is a source that sends datagrams of one event.
type voice struct {
	stream           uint16
	id               uint64
	sequence, events uint64
}

func (v *voice) say(b *bench, at time.Time, events ...wire.Event) {
	b.receive(0, frameOf(v.stream, v.id, v.sequence, v.events, at, events...))
	v.sequence++
	v.events += uint64(len(events))
}

// ten are streams 1 to 10 of equal shares.
func ten() (s Streams) {
	for n := range uint16(10) {
		s.Known = append(s.Known, Stream{Name: string('a' + rune(n)), Number: n + 1, Share: 11})
	}
	s.RefuseUnknown = true
	return s
}

// sharedKey is what is counted together.
type sharedKey struct {
	stream        uint16
	minute        uint32
	content, user uint64
}

// Ten streams have shares, and one sends a thousand times its own, while no cut can be
// made: the rows of the nine are exact, and so are the events of the tenth, also those
// of each content. A plain map is kept beside.
func TestOneStreamAboveItsShare(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	b := newBench(1, func(o *Options) { o.Streams = ten(); o.Streams.Unknown.Share = 1 })
	share := b.shards[0].table.shares.of(1).sure
	if want := b.shards[0].table.shares.detail / 111 * 11; share < want {
		t.Fatalf("a stream is sure of %d keys, want %d", share, want)
	}
	voices := make([]voice, 11)
	for i := range voices {
		voices[i] = voice{stream: uint16(i), id: uint64(i)}
	}
	exact, byContent := map[sharedKey]uint64{}, map[sharedKey]uint64{}
	for window := range 4 {
		b.room = 0
		for i := range 60_000 {
			quiet := uint16(1 + i%9)
			if i/9 < share {
				e := wire.Event{Content: r.Uint64N(9), User: uint64(i / 9), Kind: wire.KindRead, Dwell: 10}
				voices[quiet].say(b, b.now, e)
				exact[sharedKey{quiet, uint32(b.now.Unix() / 60 * 60), e.Content, e.User}]++
			}
			flood := make([]wire.Event, 100)
			for n := range flood {
				flood[n] = wire.Event{Content: r.Uint64N(40), User: r.Uint64(), Kind: wire.KindRead, Dwell: 7}
				byContent[sharedKey{10, uint32(b.now.Unix() / 60 * 60), flood[n].Content, 0}]++
			}
			voices[10].say(b, b.now, flood...)
		}
		b.room = 1 << 30
		b.pass(time.Minute)
		if !b.cuts.cut(causeTime) {
			t.Fatalf("window %d: no cut", window)
		}
	}
	got := map[sharedKey]uint64{}
	coarse := 0
	for _, row := range b.rows {
		k := sharedKey{row.Stream, row.Minute, row.Content, row.User}
		if row.Stream == 10 {
			k.user = 0
			coarse += int(row.Coarse)
		} else if row.Coarse != storage.CoarseNot {
			t.Fatalf("a row of a stream within its share is coarse: %+v", row)
		}
		got[k] += uint64(row.Reads)
		if row.Dwell != uint64(row.Reads)*map[bool]uint64{true: 7, false: 10}[row.Stream == 10] {
			t.Fatalf("%+v", row)
		}
	}
	if coarse == 0 {
		t.Error("nothing is coarse")
	}
	for k, n := range byContent {
		exact[k] = n
	}
	for k, n := range exact {
		if got[k] != n {
			t.Errorf("%+v has %d events, want %d", k, got[k], n)
		}
		delete(got, k)
	}
	for k, n := range got {
		t.Errorf("%+v has %d events, want none", k, n)
	}
	for stream := uint16(1); stream <= 10; stream++ {
		v, book := voices[stream], b.book(stream)
		if book.Counts[storage.Sent] != v.events || book.Counts[storage.Accepted] != v.events || !book.Balanced() {
			t.Errorf("stream %d: %+v, of %d events", stream, book, v.events)
		}
	}
}

// Whatever a stream invents, users, contents, minutes, while no cut can be made: its
// events are all there, and none is shed; what was known before goes on with its own
// rows. A stream beside it that comes last still finds a row.
func TestWhateverIsInvented(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, c := range []struct {
		name                     string
		contents, users, minutes uint64
		coarsest                 storage.Coarse
	}{
		{"users", 1, 1 << 40, 1, storage.CoarseUsers},
		{"contents", 1 << 40, 1, 1, storage.CoarseContents},
		{"minutes", 1, 1, 1 << 20, storage.CoarseContents},
		{"all", 1 << 40, 1 << 40, 1 << 20, storage.CoarseContents},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(1, func(o *Options) { o.LateMax = 0 })
			s := b.shards[0]
			b.room = 0
			flood, known, late := voice{stream: 1, id: 1}, voice{stream: 1, id: 2}, voice{stream: 2, id: 3}
			reader := wire.Event{Content: 1 << 60, User: 1 << 61, Kind: wire.KindFinish}
			often := slices.Repeat([]wire.Event{reader}, 100)
			known.say(b, b.now, reader)
			for range 2000 {
				events := make([]wire.Event, 100)
				for i := range events {
					events[i] = wire.Event{Content: r.Uint64N(c.contents), User: r.Uint64N(c.users), Dwell: 3, At: uint32(r.Uint64N(c.minutes)) * 16}
				}
				flood.say(b, b.now.Add(-time.Duration(r.Uint64N(c.minutes))*time.Minute), events...)
				known.say(b, b.now, often...)
			}
			late.say(b, b.now, opens(5)...)
			if s.table.free() < 0 {
				t.Errorf("the table has %d keys, at most %d", s.table.used, s.table.limit)
			}
			b.room = 1 << 30
			b.cuts.cut(causeTime)
			if book := b.book(2); book.Counts[storage.Accepted] != 5 || book.Counts[storage.Clamped] != 0 || !book.Balanced() {
				t.Errorf("of 5 events beside: %+v", book)
			}
			book := b.book(1)
			if all := flood.events + known.events; book.Counts[storage.Accepted] != all || book.Counts[storage.Shed] != 0 || !book.Balanced() {
				t.Errorf("%+v, of %d events", book, all)
			}
			var opened, dwell, finished uint64
			coarsest, sheltered := storage.CoarseNot, uint64(0)
			for _, row := range b.rows {
				opened, dwell, finished = opened+uint64(row.Opens), dwell+row.Dwell, finished+uint64(row.Finishes)
				coarsest = max(coarsest, row.Coarse)
				if row.Coarse != storage.CoarseNot && row.User != 0 || row.Coarse == storage.CoarseContents && row.Content != 0 {
					t.Fatalf("a coarse row has an id: %+v", row)
				}
				if row.Finishes > 0 && (row.Coarse != storage.CoarseNot || row.User != reader.User) {
					t.Errorf("what was known before is in %+v", row)
				}
				if row.Coarse != storage.CoarseNot && row.Stream == 1 {
					sheltered += row.Events()
				}
			}
			if opened != flood.events+5 || dwell != 3*flood.events || finished != known.events {
				t.Errorf("the rows are %d opens, %d ms and %d finishes; want %d, %d, %d", opened, dwell, finished, flood.events+5, 3*flood.events, known.events)
			}
			if coarsest != c.coarsest {
				t.Errorf("the coarsest row is %v, want %v", coarsest, c.coarsest)
			}
			if n := book.Counts[storage.Userless] + book.Counts[storage.Contentless]; n != sheltered {
				t.Errorf("%d events count as coarse, and %d are in coarse rows", n, sheltered)
			}
		})
	}
}

// A stream takes what others leave, gives it back when they want it, and has no more
// keys than its own limit.
func TestWhatOthersLeave(t *testing.T) {
	streams := ten()
	streams.Known[2].KeysMax = 500
	b := newBench(1, func(o *Options) { o.Streams = streams })
	s := b.shards[0]
	voices := make([]voice, 11)
	for i := range voices {
		voices[i] = voice{stream: uint16(i), id: uint64(i)}
	}
	user := uint64(0)
	wants := func(stream uint16, keys int) (got int) {
		b.room = 0
		for range keys {
			user++
			voices[stream].say(b, b.now, wire.Event{Content: 1, User: user})
		}
		return s.table.shares.of(stream).used
	}
	next := func() {
		b.room = 1 << 30
		b.cuts.cut(causeTime)
	}
	all := s.table.shares.detail
	if got := wants(1, all); got > all/5 {
		t.Errorf("at the start one stream has %d of %d keys: the others' shares are not lent yet", got, all)
	}
	for range 8 {
		next() // the others are silent
	}
	alone := wants(1, all)
	if alone < all*7/10 {
		t.Errorf("one stream alone has %d of %d keys", alone, all)
	}
	if got := wants(2, all/100); got != all/100 {
		t.Errorf("another, of which less than its share came, has %d keys of %d", got, all/100)
	}
	next()
	for range 5 { // both want all of it, one after the other
		wants(1, all/20)
		wants(2, all/20)
		next()
	}
	first, second := 0, 0
	for range 20 {
		first = wants(1, all/20)
		second = wants(2, all/20)
	}
	if first+second < all*7/10 || second < first*7/10 || first < second*7/10 {
		t.Errorf("two that want all of it have %d and %d of %d keys", first, second, all)
	}
	next()
	if got := wants(3, 2000); got != 500 {
		t.Errorf("a stream of at most 500 keys has %d", got)
	}
	if n := s.cuts.denied.Load(); n != 0 {
		t.Errorf("%d cuts were denied", n)
	}
}

// Where one frame has waited for a cut in vain, no other does before the next one: the
// loop's other senders would wait with it.
func TestOneFrameWaitsForACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(1, nil)
		flood := voice{stream: 1, id: 1}
		user := uint64(0)
		began := time.Now()
		for range 1000 { // nobody runs the cutter
			events := opens(1000)
			for i := range events {
				user++
				events[i].User = user
			}
			flood.say(b, b.now, events...)
		}
		if waited := time.Since(began); waited != roomWaitMax[overUDP] {
			t.Errorf("the loop was held for %v, want %v", waited, roomWaitMax[overUDP])
		}
		if b.userless() == 0 {
			t.Error("nothing is coarse")
		}
	})
}

func TestCoarseFrameDoesNotAllocate(t *testing.T) {
	b := newBench(1, nil)
	b.room = 0
	flood := voice{stream: 1, id: 1}
	for user := range uint64(70_000) {
		flood.say(b, b.now, wire.Event{Content: 1, User: user})
	}
	if b.userless() == 0 {
		t.Fatal("nothing is coarse")
	}
	frame := frameOf(1, 9, 0, 0, b.now, opens(50)...)
	h, _ := wire.ParseHeader(frame)
	s := b.shards[0]
	events := opens(50)
	if n := testing.AllocsPerRun(1000, func() {
		for i := range events {
			events[i].User++
		}
		s.countEach(&h, events, 0, new(storage.Book), storage.CoarseNot)
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

// A flood of strangers' frames, of new sources, of frames under honest numbers and of
// invented keys comes from many addresses, while no cut can be made half of the time:
// an honest session and an honest stream of datagrams beside it lose nothing, and the
// books are exact.
func TestFloodBesideTheHonest(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	b := newBench(1, func(o *Options) {
		o.SourcesMax, o.AddressSourcesMax, o.CreditMax = 2000, 500, 1<<20
		o.Streams.Known = []Stream{{Name: "honest", Number: 1, Share: 1}}
		o.Streams.Unknown.Share = 1
	})
	honest := voice{stream: 1, id: 7}
	b.at("192.0.2.1", 1)
	for range 3 {
		honest.say(b, b.now)
	}
	// Before anybody can have seen its number.
	k := b.session("192.0.2.2", 8, frameOf(1, 8, 0, 0, b.now))
	frames, in := uint64(1), uint64(0)
	seen := map[sharedKey]uint64{}
	for window := range 6 {
		if window%2 == 1 {
			b.room = 0
		}
		for i := range 10_000 {
			b.at("198.51.100."+string('1'+rune(r.IntN(9))), 1+r.IntN(1000))
			events := make([]wire.Event, 10)
			for n := range events {
				events[n] = wire.Event{Content: r.Uint64(), User: r.Uint64()}
			}
			switch r.IntN(3) {
			case 0:
				b.receive(0, frameOf(uint16(2+r.IntN(50)), r.Uint64(), 0, 0, b.now, events...))
			case 1: // under an honest number, far ahead
				b.receive(0, frameOf(1, 7+r.Uint64N(2), 1<<20+r.Uint64N(1<<20), r.Uint64N(1<<40), b.now, events...))
			case 2:
				b.receive(0, frameOf(uint16(2+r.IntN(50)), r.Uint64N(100)+100, r.Uint64N(1<<40), r.Uint64N(1<<40), b.now, events...))
			}
			if i%10 > 0 {
				continue
			}
			e := wire.Event{Content: 1, User: uint64(i), Kind: wire.KindRead}
			b.at("192.0.2.1", 1)
			honest.say(b, b.now, e)
			seen[sharedKey{1, uint32(b.now.Unix() / 60 * 60), 1, uint64(i)}]++
			if b.room > 0 { // else it has no credit
				b.stream(0, k, frameOf(1, 8, frames, in, b.now, e))
				frames, in = frames+1, in+1
				seen[sharedKey{1, uint32(b.now.Unix() / 60 * 60), 1, uint64(i)}]++
			}
		}
		b.room = 1 << 30
		if !b.cuts.cut(causeTime) {
			t.Fatal("no cut")
		}
		b.pass(20 * time.Second)
	}
	book := b.book(1)
	if all := honest.events + in; book.Counts[storage.Accepted] != all || book.Counts[storage.Sent] != all || !book.Balanced() {
		t.Errorf("%+v, of %d honest events", book, all)
	}
	for _, row := range b.rows {
		if row.Stream != 1 {
			continue
		}
		key := sharedKey{1, row.Minute, row.Content, row.User}
		if row.Coarse != storage.CoarseNot || seen[key] < uint64(row.Reads) {
			t.Fatalf("%+v, of %d events", row, seen[key])
		}
		seen[key] -= uint64(row.Reads)
	}
	for key, n := range seen {
		if n > 0 {
			t.Fatalf("%d events of %+v are in no row", n, key)
		}
	}
	for stream := uint16(2); stream < 52; stream++ {
		if book := b.book(stream); !book.Balanced() || book.Counts[storage.Shed] > 0 {
			t.Errorf("%+v", book)
		}
	}
	if n := b.shards[0].sources.live.Load(); n > 2000 {
		t.Errorf("%d sources are known, at most 2000 may be", n)
	}
}
