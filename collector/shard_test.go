package collector

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// ear is a sink that keeps everything it takes.
type ear struct {
	mu        sync.Mutex
	room      int
	asked     int // for more of it
	fails     bool
	pending   *storage.Seal // that is not written yet,
	durable   func()        // and who hears when it is
	taken     func(*storage.Seal)
	rows      []storage.Row
	books     map[uint16]*storage.Book // without spans, the classes of a stream added up
	accounts  map[storage.Account]*storage.Book
	spans     map[storage.Account][]storage.Span
	sources   []storage.Source // as they were sealed, one after the other
	forgotten []uint64
	end       int64
}

func newEar() *ear {
	return &ear{room: 1 << 30, books: map[uint16]*storage.Book{}, accounts: map[storage.Account]*storage.Book{}}
}

func (e *ear) Room() int { e.mu.Lock(); defer e.mu.Unlock(); return e.room }
func (e *ear) MakeRoom() { e.asked++ }

func (e *ear) Seal(seal *storage.Seal, durable func()) error {
	e.mu.Lock()
	if e.pending != nil {
		panic("a cut comes before the last one is durable")
	}
	e.pending, e.durable = seal, durable
	e.mu.Unlock()
	return e.Retry()
}

// Retry is part of Sink.
func (e *ear) Retry() error {
	e.mu.Lock()
	seal, durable := e.pending, e.durable
	if seal == nil || e.fails {
		e.mu.Unlock()
		if seal == nil {
			return nil
		}
		return errors.New("disk full")
	}
	e.pending = nil
	e.keep(seal)
	e.mu.Unlock()
	durable()
	if e.taken != nil {
		e.taken(seal)
	}
	return nil
}

// keep adds a seal up. The caller has mu.
func (e *ear) keep(seal *storage.Seal) {
	w := seal.Window
	e.sources = append(e.sources, seal.Sources...)
	e.forgotten = append(e.forgotten, seal.Forgotten...)
	setBack := w.Start == w.End && w.End < e.end // the clock was
	if e.end != 0 && w.Start != e.end && !setBack || w.End < w.Start {
		panic(fmt.Sprintf("window %v does not follow the one that ended at %d", w, e.end))
	}
	e.end = w.End
	e.rows = append(e.rows, seal.Rows...)
	for i := range seal.Books {
		b := seal.Books[i]
		if len(b.Spans) > 0 {
			if e.spans == nil {
				e.spans = map[storage.Account][]storage.Span{}
			}
			e.spans[b.Account()] = storage.CompactSpans(append(e.spans[b.Account()], b.Spans...))
			b.Spans = nil
		}
		if mine, ok := e.accounts[b.Account()]; ok {
			mine.Add(&b)
		} else {
			c := b
			e.accounts[b.Account()] = &c
		}
		if mine, ok := e.books[b.Stream]; ok {
			mine.Add(&b)
		} else {
			e.books[b.Stream] = &b
		}
	}
}

// book returns what was heard of a stream.
func (e *ear) book(stream uint16) storage.Book {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b, ok := e.books[stream]; ok {
		return *b
	}
	return storage.Book{Stream: stream}
}

// refused is how many frames of a stream were refused for this reason.
func refused(b storage.Book, why wire.Refusal) (frames, events uint64) {
	return b.Counts[storage.RefusedFrames.Of(why)], b.Counts[storage.RefusedEvents.Of(why)]
}

// epoch is the collector's time in tests that have a clock of their own.
var epoch = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// bench is shards without sockets: what loops would be given is given by hand.
type bench struct {
	*ear
	cuts   *cutter
	shards []*shard
	now    time.Time     // of the wall
	steady time.Duration // of the clock that nobody sets
	from   address       // of datagrams

	sourcesMade uint64
}

// pass lets both clocks go on.
func (b *bench) pass(d time.Duration) {
	b.now = b.now.Add(d)
	b.steady += d
}

func newBench(loops int, change func(*Options)) *bench {
	o := Options{Loops: loops, KeysMax: 1 << 16, SourcesMax: 1000, ConnectionsMax: 10, LateMax: 48 * time.Hour, FutureMax: 5 * time.Minute}
	if change != nil {
		change(&o)
	}
	b := &bench{ear: newEar(), now: epoch}
	o.Clock = func() (time.Time, time.Duration) { return b.now, b.steady }
	o.Sink, o.Metrics = b.ear, metrics.NewSet()
	clocks := newClocks(&o, 0)
	src, rules := newSources(&o), newRules(&o)
	b.cuts = newCutter(&o, src, clocks)
	b.cuts.start = epoch.UnixMilli()
	for range loops {
		b.shards = append(b.shards, doubled(newShard(&o, rules, src, b.cuts, clocks)))
	}
	b.cuts.shards = b.shards
	return b
}

// receive gives a datagram to a loop.
func (b *bench) receive(loop int, datagram []byte) {
	s := b.shards[loop]
	s.Lock()
	defer s.Unlock()
	s.tick()
	s.datagram(datagram, b.from)
}

// stream gives bytes of a connection to a loop.
func (b *bench) stream(loop int, k *connection, bytes []byte) wire.Refusal {
	s := b.shards[loop]
	s.Lock()
	defer s.Unlock()
	s.tick()
	_, why := s.stream(k, bytes)
	return why
}

// frameOf makes a frame of events.
func frameOf(stream uint16, source, sequence, position uint64, at time.Time, events ...wire.Event) []byte {
	b := wire.AppendHeader(nil, wire.Header{
		Type: wire.TypeEvents, Count: len(events), Stream: stream, Time: at.UnixMilli(),
		Source: source, Sequence: sequence, Position: position,
	})
	for i := range events {
		var before *wire.Event
		if i > 0 {
			before = &events[i-1]
		}
		b = wire.AppendEvent(b, &events[i], before)
	}
	b[4], b[5] = byte(len(b)), byte(len(b)>>8)
	return b
}

// namesFrame makes a frame of names.
func namesFrame(stream uint16, source, sequence, position uint64, at time.Time, all ...wire.Name) []byte {
	b := wire.AppendHeader(nil, wire.Header{
		Type: wire.TypeNames, Stream: stream, Time: at.UnixMilli(), Source: source, Sequence: sequence, Position: position,
	})
	for i := range all {
		b = wire.AppendName(b, &all[i])
	}
	b[4], b[5] = byte(len(b)), byte(len(b)>>8)
	return b
}

// named is the name of a content that is called so.
func named(text string) wire.Name {
	return wire.Name{Content: xxhash.Sum64String(text), Text: []byte(text)}
}

func opens(n int) []wire.Event {
	events := make([]wire.Event, n)
	for i := range events {
		events[i] = wire.Event{Content: uint64(i), User: 1}
	}
	return events
}

// want compares a stream's book with what it should be: what is refused as the sum of
// its events, and what is lost as ledgers have it.
func (b *bench) want(t *testing.T, stream uint16, want storage.Book, refusedEvents uint64) {
	t.Helper()
	b.cuts.cut(causeTime)
	got := b.book(stream)
	if got.RefusedEvents() != refusedEvents {
		t.Errorf("stream %d: %d events refused, want %d (%v)", stream, got.RefusedEvents(), refusedEvents, got.ByReason(storage.RefusedEvents))
	}
	if !got.Balanced() {
		t.Errorf("stream %d: the book does not balance: %+v", stream, got)
	}
	for _, c := range storage.LedgerCounters {
		if got.Net(c) != want.Net(c) {
			t.Errorf("stream %d: %d %s, want %d", stream, got.Net(c), c, want.Net(c))
		}
	}
	if len(got.Spans) != len(want.Spans) {
		t.Errorf("stream %d: %d spans, want %d", stream, len(got.Spans), len(want.Spans))
	}
}

func TestLossIsCountedInEventsAndTakenBack(t *testing.T) {
	b := newBench(1, nil)
	f := func(sequence, position uint64, n int) []byte {
		return frameOf(1, 9, sequence, position, b.now, opens(n)...)
	}
	b.receive(0, f(0, 0, 3))
	b.receive(0, f(2, 8, 2)) // the frame with 5 events between them is missing
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 5, storage.Lost: 5}}, 0)
	b.receive(0, f(1, 3, 5)) // late, in another window
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 10, storage.Reordered: 5}}, 0)
	b.receive(0, f(1, 3, 5)) // twice
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 10, storage.Accepted: 10, storage.Duplicate: 5, storage.Reordered: 5}}, 0)
	b.receive(0, f(4, 17, 0)) // a beat: a tail of 7 is missing
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 17, storage.Accepted: 10, storage.Lost: 7, storage.Duplicate: 5, storage.Reordered: 5}}, 0)
	// Both only ever grow, so that a rate of them is right over a restart.
	if n := b.cuts.total().Counts; n[storage.Lost] != 12 || n[storage.Found] != 5 {
		t.Errorf("%d lost and %d found, want 12 and 5", n[storage.Lost], n[storage.Found])
	}
}

// What forged numbers say is lost fills the room that sums have for it, and then
// changes no sum: every book balances, what honest sources bring is counted as ever,
// and what is sealed is in another account.
func TestForgedLossDoesNotWrap(t *testing.T) {
	b := newBench(1, func(o *Options) { withKeys(o); o.SourceIdleMax = time.Hour })
	s := b.shards[0]
	if total := s.losses[storage.Unsealed]; total != storage.LostMax || total*uint64(storage.Classes) > 1<<53 {
		t.Fatalf("there is room for %d lost events, which is more than a float64 counts", total)
	}
	s.losses = [storage.Classes]uint64{100, 100}
	honest := func(sequence, position uint64, n int) {
		b.receive(0, frameOf(1, 9, sequence, position, b.now, opens(n)...))
	}
	forged := func(id uint64) {
		b.receive(0, frameOf(1, id, 0, 0, b.now))
		b.receive(0, frameOf(1, id, 2, 1<<25, b.now))
	}
	honest(0, 0, 1)
	honest(2, 61, 1) // 60 are missing
	for id := range uint64(900) {
		forged(100 + id)
	}
	honest(4, 92, 1)  // 30 more: there is room
	honest(6, 113, 1) // 20 more: there is none
	honest(1, 1, 60)  // late
	honest(5, 93, 20) // late, of those that had no room
	key := frameKey(t, older, 1, audience)
	b.receive(0, sealed(key, frameOf(1, 7, 0, 0, b.now, opens(1)...)))
	b.receive(0, sealed(key, frameOf(1, 7, 2, 41, b.now, opens(1)...)))
	b.cuts.cut(causeTime)
	want := map[storage.Account]storage.Counts{
		{Stream: 1}:                        {storage.Sent: 94, storage.Accepted: 84, storage.Lost: 90, storage.Found: 80, storage.Reordered: 80, storage.Saturated: 900<<25 + 20},
		{Stream: 1, Class: storage.Sealed}: {storage.Sent: 42, storage.Accepted: 2, storage.Lost: 40},
	}
	totals := b.cuts.totals()
	for a, counts := range want {
		if totals[a.Class].Counts[storage.Lost] != counts[storage.Lost] || !totals[a.Class].Balanced() {
			t.Errorf("%s: %+v in all, want %v", a.Class, totals[a.Class], counts)
		}
		got := b.accounts[a]
		if got == nil || got.Counts != counts || !got.Balanced() {
			t.Errorf("%v: %+v, want %v", a, got, counts)
		}
	}
}

func TestSourceMetInTheMiddle(t *testing.T) {
	b := newBench(1, nil)
	b.receive(0, frameOf(1, 9, 100, 1000, b.now, opens(3)...))
	if n := b.shards[0].sources.middle.Load(); n != 1 {
		t.Errorf("%d sources met in the middle, want 1", n)
	}
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 3, storage.Accepted: 3}}, 0)
	b.receive(0, frameOf(1, 9, 99, 990, b.now, opens(8)...)) // its base moves; 2 between them are missing
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 13, storage.Accepted: 11, storage.Lost: 2, storage.Reordered: 8}}, 0)
	b.receive(0, frameOf(1, 8, 0, 0, b.now)) // an opening beat, then its first frame is lost
	b.receive(0, frameOf(1, 8, 2, 4, b.now, opens(1)...))
	if n := b.shards[0].sources.middle.Load(); n != 1 {
		t.Errorf("%d sources met in the middle, want 1", n)
	}
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 18, storage.Accepted: 12, storage.Lost: 6, storage.Reordered: 8}}, 0)
}

func TestPositionsThatContradict(t *testing.T) {
	for _, c := range []struct {
		name               string
		sequence, position uint64
		events             int
	}{
		{"the next sequence leaves a gap", 3, 20, 1},
		{"the next sequence goes back", 3, 5, 1},
		{"a later sequence goes back", 9, 11, 1},
		{"a late frame reaches over the newest", 1, 3, 8},
		{"a late frame larger than the gap", 1, 0, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(1, nil)
			b.receive(0, frameOf(1, 9, 0, 0, b.now, opens(3)...))
			b.receive(0, frameOf(1, 9, 2, 8, b.now, opens(4)...)) // up to 12, 5 are missing
			b.receive(0, frameOf(1, 9, c.sequence, c.position, b.now, opens(c.events)...))
			b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 12, storage.Accepted: 7, storage.Lost: 5}}, 0)
			if frames, _ := refused(b.book(1), wire.RefusedPosition); frames != 1 {
				t.Errorf("%d frames refused for their position", frames)
			}
		})
	}
}

func TestRefusalsByName(t *testing.T) {
	good := frameOf(1, 9, 0, 0, epoch, opens(2)...)
	edit := func(change func(b []byte)) []byte {
		b := slices.Clone(good)
		change(b)
		return b
	}
	for _, c := range []struct {
		why      wire.Refusal
		stream   uint16 // whose book it stands in
		events   uint64
		datagram []byte
	}{
		{wire.RefusedShort, wire.StreamReserved, 0, good[:39]},
		{wire.RefusedShort, wire.StreamReserved, 0, nil},
		{wire.RefusedMagic, wire.StreamReserved, 0, edit(func(b []byte) { b[0]++ })},
		{wire.RefusedVersion, wire.StreamReserved, 0, edit(func(b []byte) { b[2] = 0x21 })},
		{wire.RefusedType, wire.StreamReserved, 0, edit(func(b []byte) { b[2] = 0x1F })},
		{wire.RefusedFlags, wire.StreamReserved, 0, edit(func(b []byte) { b[3] = 2 })},
		{wire.RefusedSize, wire.StreamReserved, 0, edit(func(b []byte) { b[4]++ })},
		{wire.RefusedCount, wire.StreamReserved, 0, edit(func(b []byte) { b[6] = 200 })},
		{wire.RefusedCount, 1, 3, edit(func(b []byte) { b[6] = 3 })},
		{wire.RefusedLength, 1, 2, edit(func(b []byte) { b[40] = 0x91 })},
		{wire.RefusedInherit, 1, 2, edit(func(b []byte) { b[40] = 0x01 })},
		{wire.RefusedKind, 1, 2, edit(func(b []byte) { b[41] = 7 })},
		{wire.RefusedSealed, 1, 0, edit(func(b []byte) { b[3] = 1 })},
		{wire.RefusedUnexpected, 1, 0, wire.AppendAck(nil, 1, 9, 0, wire.Ack{})},
		{wire.RefusedUnexpected, 1, 0, wire.AppendHello(nil, 1, 9, 0)},
	} {
		t.Run(c.why.String(), func(t *testing.T) {
			b := newBench(1, nil)
			if c.why == wire.RefusedSealed { // a tag follows
				c.datagram = append(c.datagram, make([]byte, wire.TagSize)...)
				c.datagram[4] += wire.TagSize
			}
			b.receive(0, c.datagram)
			b.receive(0, frameOf(1, 8, 0, 0, epoch, opens(5)...)) // somebody else
			b.cuts.cut(causeTime)
			frames, events := refused(b.book(c.stream), c.why)
			if frames != 1 || events != c.events {
				t.Errorf("%d frames and %d events refused as %s, want 1 and %d; the book is %+v", frames, events, c.why, c.events, b.book(c.stream))
			}
			if got := b.book(1); got.Counts[storage.Accepted] != 5 || !got.Balanced() {
				t.Errorf("somebody else's events: %+v", got)
			}
		})
	}
}

func TestRestOfDatagram(t *testing.T) {
	b := newBench(1, nil)
	bad := frameOf(1, 9, 1, 2, epoch, opens(2)...)
	bad[41] = 7
	datagram := slices.Concat(frameOf(1, 9, 0, 0, epoch, opens(2)...), bad, frameOf(1, 9, 2, 4, epoch, opens(2)...))
	b.receive(0, datagram)
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 4, storage.Accepted: 2}}, 2)
	if frames, _ := refused(b.book(wire.StreamReserved), wire.RefusedRest); frames != 1 {
		t.Errorf("the rest is refused %d times", frames)
	}
	b.receive(0, frameOf(1, 9, 3, 6, epoch)) // the beat shows what the rest held
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 6, storage.Accepted: 2, storage.Lost: 2}}, 2)
}

func TestSourceKeepsItsStream(t *testing.T) {
	b := newBench(1, nil)
	b.receive(0, frameOf(1, 9, 0, 0, epoch, opens(2)...))
	b.receive(0, frameOf(2, 9, 1, 2, epoch, opens(3)...))
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 5, storage.Accepted: 2}}, 3)
	if frames, _ := refused(b.book(1), wire.RefusedStream); frames != 1 {
		t.Errorf("%d frames refused for their stream", frames)
	}
}

// What is foreseen of a source is a guess: another's place, one that was let go
// of, and one that is taken again are all found to be wrong.
func TestGuessIsChecked(t *testing.T) {
	for _, c := range []struct {
		name  string
		guess func(s *shard) *source
	}{
		{"another", func(s *shard) *source { return s.sources.of(8).known(8) }},
		{"forgotten", func(s *shard) *source {
			st := s.sources.of(0)
			src := st.add(0)
			st.remove(src)
			return src
		}},
		{"none", func(*shard) *source { return nil }},
	} {
		b := newBench(1, nil)
		s := b.shards[0]
		b.receive(0, frameOf(1, 8, 0, 0, epoch, opens(2)...))
		s.guess = c.guess(s)
		for sequence := range uint64(3) { // 0 is an id like any other
			s.guessID = 0
			b.receive(0, frameOf(2, 0, sequence, sequence*3, epoch, opens(3)...))
		}
		b.want(t, 2, storage.Book{Counts: storage.Counts{storage.Sent: 9, storage.Accepted: 9}}, 0)
		b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 2, storage.Accepted: 2}}, 0)
		if n := s.sources.live.Load(); n != 2 {
			t.Errorf("%s: %d live sources, want 2", c.name, n)
		}
	}
}

func TestSourcesMax(t *testing.T) {
	b := newBench(1, func(o *Options) { o.SourcesMax = 3; o.SourceIdleMax = time.Hour })
	for source := range uint64(5) {
		b.receive(0, frameOf(1, source, 0, 0, epoch, opens(1)...))
	}
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 3, storage.Accepted: 3}}, 0)
	// Silent ones make room.
	b.now = epoch.Add(2 * time.Hour)
	for n := range stripes {
		b.shards[0].sources.forget(n, epoch.Add(time.Hour).UnixMilli(), 0)
	}
	b.receive(0, frameOf(1, 100, 0, 0, b.now, opens(1)...))
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 4, storage.Accepted: 4}}, 0)
	if n := b.shards[0].sources.live.Load(); n != 1 {
		t.Errorf("%d live sources, want 1", n)
	}
}

func TestEventTime(t *testing.T) {
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	for _, c := range []struct {
		name         string
		late, future time.Duration
		frame, want  time.Time
		clamped      uint64
	}{
		{"now", 48 * time.Hour, 5 * time.Minute, at(0), at(0), 0},
		{"just not late", 48 * time.Hour, 5 * time.Minute, at(-48 * time.Hour), at(-48 * time.Hour), 0},
		{"late", 48 * time.Hour, 5 * time.Minute, at(-48*time.Hour - time.Millisecond), at(0), 1},
		{"just not ahead", 48 * time.Hour, 5 * time.Minute, at(5 * time.Minute), at(5 * time.Minute), 0},
		{"ahead", 48 * time.Hour, 5 * time.Minute, at(5*time.Minute + time.Millisecond), at(0), 1},
		{"years ago, no limit", 0, 0, at(-20 * 365 * 24 * time.Hour), at(-20 * 365 * 24 * time.Hour), 0},
		{"in 1970, no limit", 0, 0, time.UnixMilli(0), time.UnixMilli(0), 0},
		{"past what a row can say", 0, 0, time.UnixMilli(wire.TimeMax), at(0), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, n := range []uint64{1, 2 * nearFrom} { // few wait for others, many do not
				b := newBench(1, func(o *Options) { o.LateMax, o.FutureMax = c.late, c.future })
				b.receive(0, frameOf(1, 9, 0, 0, c.frame, opens(int(n))...))
				b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: n, storage.Accepted: n, storage.Clamped: n * c.clamped}}, 0)
				for _, r := range b.rows {
					if r.First != c.want.UnixMilli() || int64(r.Minute) != c.want.Unix()/60*60 {
						t.Errorf("first %v in minute %v, want %v", time.UnixMilli(r.First).UTC(), time.Unix(int64(r.Minute), 0).UTC(), c.want)
					}
				}
			}
		})
	}
}

// A limit may fall inside a frame, whose keys are known in the minute on both
// sides of it.
func TestLimitInsideFrame(t *testing.T) {
	for _, limit := range []time.Duration{-48 * time.Hour, 5 * time.Minute} {
		b := newBench(1, nil)
		bound := epoch.Add(limit)
		want := map[key]storage.Row{}
		var clamped, sequence uint64
		for _, ahead := range []int64{0, -8} { // milliseconds
			start := bound.UnixMilli() + ahead
			events := opens(2 * nearFrom)
			for i := range events {
				events[i].Content %= 4
				if ahead != 0 {
					events[i].At = uint32(i)
				}
				at := start + int64(events[i].At)
				if late := limit < 0 && at < bound.UnixMilli(); late || limit > 0 && at > bound.UnixMilli() {
					at = epoch.UnixMilli()
					clamped++
				}
				tabulate(want, &events[i], 1, at)
			}
			b.receive(0, frameOf(1, 9, sequence, sequence*uint64(len(events)), time.UnixMilli(start), events...))
			sequence++
		}
		b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 4 * nearFrom, storage.Accepted: 4 * nearFrom, storage.Clamped: clamped}}, 0)
		sameRows(t, b.rows, want)
	}
}

// One frame may reach over minutes, and over midnight.
func TestFrameOverMinutes(t *testing.T) {
	b := newBench(1, nil)
	start := time.Date(2026, 3, 13, 23, 59, 59, 999e6, time.UTC)
	want := map[key]storage.Row{}
	var events []wire.Event
	for n := range uint64(2 * nearFrom) {
		for _, ms := range []uint32{0, 1, 60_000, 60_001, wire.AtMax} {
			e := wire.Event{Content: 1, User: n / 4, At: ms, Dwell: 7}
			events = append(events, e)
			tabulate(want, &e, 1, start.UnixMilli()+int64(ms))
		}
	}
	b.receive(0, frameOf(1, 9, 0, 0, start, events...))
	b.cuts.cut(causeTime)
	sameRows(t, b.rows, want)
}

// A full table is emptied by a cut; where none can be made events are counted more
// coarsely, and none is shed.
func TestFullTable(t *testing.T) {
	b := newBench(1, nil)
	fill := func(source uint64, send func(frame []byte)) {
		for user := range uint64(400) {
			events := opens(1000)
			for i := range events {
				events[i].User = source<<32 + user*1000 + uint64(i)
			}
			send(frameOf(1, source, user, user*1000, epoch, events...))
		}
	}
	b.room = 0 // and nobody runs the cutter: the wait for a datagram ends
	fill(1, func(datagram []byte) { b.receive(0, datagram) })
	coarse := b.userless()
	if coarse == 0 {
		t.Fatal("nothing is coarse in a full table")
	}
	b.room = 1 << 30
	b.want(t, 1, storage.Book{Counts: storage.Counts{storage.Sent: 400_000, storage.Accepted: 400_000, storage.Userless: coarse}}, 0)

	stop := make(chan struct{})
	var cutter sync.WaitGroup
	cutter.Go(func() { b.cuts.run(time.Hour, stop) })
	// A stream waits for long enough, whatever the machine does.
	k := &connection{via: overTCP}
	fill(2, func(frame []byte) { b.stream(0, k, frame) })
	if b.userless() != coarse {
		t.Error("coarse although a cut could make room")
	}
	close(stop)
	cutter.Wait()
	if b.cuts.made[causeFull].Load() == 0 {
		t.Error("no cut because of a full table")
	}
}

func TestFrameDoesNotAllocate(t *testing.T) {
	b := newBench(1, nil)
	s := b.shards[0]
	frame := frameOf(1, 9, 0, 0, epoch, opens(50)...)
	b.receive(0, frame)
	var sequence uint64
	if n := testing.AllocsPerRun(1000, func() {
		sequence++
		position := sequence * 50
		for i := range 8 {
			frame[24+i] = byte(sequence >> (8 * i))
			frame[32+i] = byte(position >> (8 * i))
		}
		b.receive(0, frame)
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
	if accepted := s.cuts.total().Counts[storage.Accepted]; accepted != 50*(sequence+1) {
		t.Errorf("%d events accepted, want %d", accepted, 50*(sequence+1))
	}
}

// TestSimulation sends frames of several sources through a network that loses,
// doubles, delays and damages, to two loops, with cuts at random. An account is
// kept beside, by plain maps.
func TestSimulation(t *testing.T) {
	seed := rand.Uint64()
	for round := range uint64(30) {
		t.Run(fmt.Sprintf("seed %d round %d", seed, round), func(t *testing.T) { simulate(t, rand.New(rand.NewPCG(seed, round))) })
	}
}

type sender struct {
	stream             uint16
	id                 uint64
	sequence, position uint64
}

type sent struct {
	frame  []byte
	from   *sender
	events []wire.Event
	bad    bool
	at     time.Time
	number uint64
}

func simulate(t *testing.T, r *rand.Rand) {
	b := newBench(2, func(o *Options) { o.LateMax, o.FutureMax = 0, 0 })
	var senders []*sender
	for range 1 + r.IntN(8) {
		senders = append(senders, &sender{stream: uint16(r.IntN(3)), id: r.Uint64()})
	}
	for _, s := range senders { // the opening beat, which arrives
		b.receive(0, frameOf(s.stream, s.id, s.sequence, 0, epoch))
		s.sequence++
	}
	rows := map[key]storage.Row{}
	want := map[uint16]*storage.Book{}
	refusedWant := map[uint16]uint64{}
	for _, s := range senders {
		want[s.stream] = &storage.Book{}
	}
	came := map[*sender]map[uint64]bool{}
	newest := map[*sender]uint64{}
	arrive := func(f *sent) {
		b.receive(r.IntN(2), f.frame)
		book, n := want[f.from.stream], uint64(len(f.events))
		if came[f.from] == nil {
			came[f.from] = map[uint64]bool{}
		}
		switch {
		case newest[f.from] >= f.number+windowFrames:
			book.Counts[storage.Stale] += n
			return
		case came[f.from][f.number]:
			book.Counts[storage.Duplicate] += n
			return
		}
		came[f.from][f.number] = true
		if f.number < newest[f.from] {
			book.Counts[storage.Reordered] += n
		}
		newest[f.from] = max(newest[f.from], f.number)
		if f.bad {
			refusedWant[f.from.stream] += n
			return
		}
		book.Counts[storage.Accepted] += n
		for i := range f.events {
			tabulate(rows, &f.events[i], f.from.stream, f.at.UnixMilli()+int64(f.events[i].At))
		}
	}
	var air []*sent
	for range 3000 {
		s := senders[r.IntN(len(senders))]
		f := &sent{from: s, number: s.sequence, at: epoch.Add(time.Duration(r.IntN(1e9)) * time.Microsecond)}
		for range r.IntN([]int{3, 20, 100}[r.IntN(3)]) {
			f.events = append(f.events, randomEvent(r, 1<<(4*r.IntN(5))))
		}
		f.frame = frameOf(s.stream, s.id, s.sequence, s.position, f.at, f.events...)
		s.sequence++
		s.position += uint64(len(f.events))
		want[s.stream].Counts[storage.Sent] += uint64(len(f.events))
		if len(f.events) > 0 && r.IntN(20) == 0 {
			f.bad = true
			f.frame[41] |= 7 // no such kind
		}
		switch r.IntN(10) {
		case 0: // lost
		case 1:
			air = append(air, f) // late
		case 2:
			air = append(air, f, f)
			arrive(f)
		default:
			arrive(f)
		}
		for len(air) > 0 && r.IntN(4) == 0 {
			i := r.IntN(len(air))
			arrive(air[i])
			air = slices.Delete(air, i, i+1)
		}
		if r.IntN(100) == 0 {
			b.cuts.cut(causeTime)
		}
	}
	for _, s := range senders { // the closing beat
		b.receive(0, frameOf(s.stream, s.id, s.sequence, s.position, epoch))
	}
	for _, stream := range slices.Sorted(maps.Keys(want)) {
		w := want[stream]
		w.Counts[storage.Lost] = w.Counts[storage.Sent] - w.Counts[storage.Accepted] - refusedWant[stream]
		b.want(t, stream, *w, refusedWant[stream])
	}
	sameRows(t, b.rows, rows)
}

// A cut that is too large for the room there is asks for more: there is no other
// that would.
func TestDeniedCutAsksForRoom(t *testing.T) {
	b := newBench(1, nil)
	b.receive(0, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	b.room = 2
	if b.cuts.cut(causeTime) || b.asked != 1 {
		t.Errorf("the cut was made without room, or asked %d times for it", b.asked)
	}
	b.room = 3
	if !b.cuts.cut(causeTime) || b.asked != 1 {
		t.Errorf("the cut was not made, or asked %d times for room that there is", b.asked)
	}
}

// The metrics page has every counter of the closed lists, in sum and by class.
func TestMetricsHaveEveryCounter(t *testing.T) {
	var of [storage.Classes]storage.Book
	for class := range of {
		for c := range of[class].Counts {
			of[class].Counts[c] = uint64(1000*(class+1) + c)
		}
	}
	var count tally
	for m := range count {
		count[m] = 50_000 + uint64(m)
	}
	var page strings.Builder
	writeAccount(&page, of)
	writeMeters(&page, &count)
	has := func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); !strings.Contains("\n"+page.String(), "\n"+line+"\n") {
			t.Errorf("the page does not have %q", line)
		}
	}
	for k := range storage.Plain {
		sum := of[storage.Unsealed].Counts[k] + of[storage.Sealed].Counts[k]
		if !writtenElsewhere[k] {
			has("%s %d", k.Metric(), sum)
		}
		for class := range of {
			if k != storage.Damaged {
				has("lectern_events_by_class_total{class=%q,counter=%q} %d", storage.Class(class), k, of[class].Counts[k])
			}
		}
	}
	for f := range storage.Families {
		for why := wire.Accepted + 1; int(why) < wire.Refusals; why++ {
			has("%s{reason=%q} %d", f.Metric(), why.String(), of[storage.Unsealed].Counts[f.Of(why)]+of[storage.Sealed].Counts[f.Of(why)])
		}
	}
	for m, n := range count {
		has("%s%s %d", meterOf[m].metric, meterOf[m].label, n)
	}
}
