package collector

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// town is several collectors, each with books of its own, and sources whose
// datagrams come to any of them, or to none. It counts by itself what was sent and
// what came.
type town struct {
	*testing.T
	rand    *rand.Rand
	now     time.Time
	pods    []*pod
	ended   []*ear // of pods that run no more
	emitter []*pilgrim
	events  []wire.Event
	counts  map[string]int
}

// pod is one collector.
type pod struct {
	*Collector
	*ear
}

// pilgrim is a source, with what it has sent.
type pilgrim struct {
	source, sequence, position uint64

	pod   *pod
	stays int      // so many datagrams before it goes to another; below zero for good
	late  [][]byte // on their way to the pod
	ended bool

	known uint64 // up to this position its datagrams came to somebody
	came  uint64 // events
	wrong uint64 // of these, refused with their frames, which were placed
}

func (w *town) pick() *pod { return w.pods[w.rand.IntN(len(w.pods))] }

// begin starts a collector, with the sources that another, whose spool it has,
// knew.
func (w *town) begin(e *ear, known []storage.Source) *pod {
	start := w.now
	o := Options{
		SourcesMax: 1000, ConnectionsMax: 10,
		Clock: func() (time.Time, time.Duration) { return w.now, w.now.Sub(start) }, Sink: e, Metrics: metrics.NewSet(),
	}
	clocks := newClocks(&o, runningTime(known))
	src := newSources(&o)
	src.restore(known)
	p := &pod{ear: e, Collector: &Collector{options: o, sources: src, cuts: newCutter(&o, src, clocks), clocks: clocks}}
	p.shards = []*shard{shardOf(4096, w.events, &p.options, newRules(&o), src, p.cuts, clocks)}
	p.cuts.shards = p.shards
	p.cuts.start, e.end = w.now.UnixMilli(), 0
	w.pods = append(w.pods, p)
	return p
}

// end ends a collector: with a last cut, or killed with all since the one before.
// What it was sent and did not count is lost.
func (w *town) end(p *pod, killed bool) {
	if killed {
		w.counts["killed"]++
	} else {
		w.counts["stopped"]++
		p.cuts.final = true
		p.cuts.cut(causeStop)
	}
	w.pods = slices.DeleteFunc(w.pods, func(o *pod) bool { return o == p })
	for _, m := range w.emitter {
		if m.pod == p {
			m.pod, m.late = nil, nil
		}
	}
}

// known is what the seals of a collector say of its sources.
func known(e *ear) (all []storage.Source) {
	last := map[uint64]storage.Source{}
	for _, s := range e.sources {
		last[s.ID] = s
	}
	for _, s := range last {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b storage.Source) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// receive gives a collector a datagram, and counts it where it will be sealed:
// before a kill there is a cut.
func (w *town) receive(m *pilgrim, datagram []byte) {
	s := m.pod.shards[0]
	before := s.cuts.total()
	s.Lock()
	s.tick()
	s.datagram(datagram, address{})
	s.Unlock()
	h, _ := wire.ParseHeader(datagram)
	m.known = max(m.known, h.Position+uint64(h.Count))
	after := s.cuts.total()
	refused := after.Counts[storage.RefusedEvents.Of(wire.RefusedKind)] - before.Counts[storage.RefusedEvents.Of(wire.RefusedKind)]
	m.came += after.Counts[storage.Accepted] - before.Counts[storage.Accepted] + refused
	m.wrong += refused
}

// refuse gives a collector a datagram that it refuses and does not place: by its
// numbers nobody knows anything of the source.
func (w *town) refuse(m *pilgrim, why wire.Refusal, datagram []byte) {
	s := m.pod.shards[0]
	before := s.cuts.total()
	s.Lock()
	s.tick()
	s.datagram(datagram, address{})
	s.Unlock()
	after, frames := s.cuts.total(), storage.RefusedFrames.Of(why)
	if after.Counts[storage.Sent] != before.Counts[storage.Sent] || after.Counts[frames] != before.Counts[frames]+1 {
		w.Errorf("a frame that is to be refused as %s: %d sent, %d before, frames %v", why.String(),
			after.Counts[storage.Sent], before.Counts[storage.Sent], after.ByReason(storage.RefusedFrames))
	}
	w.counts[why.String()]++
}

// withoutRoom is refuse where there is no room for another source.
func (w *town) withoutRoom(m *pilgrim, datagram []byte) {
	sources := m.pod.Collector.sources
	open := sources.full()
	w.refuse(m, wire.RefusedSources, datagram)
	open()
}

// knows returns what the source's collector knows of it.
func (m *pilgrim) knows() *source {
	if m.pod == nil {
		return nil
	}
	return m.pod.Collector.sources.of(m.source).known(m.source)
}

// send has a source send one datagram.
func (w *town) send(m *pilgrim, events int, lossy bool) {
	if m.pod == nil || m.stays == 0 {
		if m.pod != nil {
			w.counts["moved"]++
			for _, d := range m.late {
				w.receive(m, d)
			}
		}
		m.late, m.pod, m.stays = nil, nil, 0
		if len(w.pods) > 0 {
			m.pod, m.stays = w.pick(), 1+w.rand.IntN(40)
		}
	}
	m.stays--
	datagram := frameOf(1, m.source, m.sequence, m.position, w.now, make([]wire.Event, events)...)
	if events > 0 {
		datagram = frameOf(1, m.source, m.sequence, m.position, w.now, opens(events)...)
	}
	if lossy && events > 0 && w.rand.IntN(20) == 0 {
		datagram[wire.HeaderSize+1] = 7 // a kind that has no name
	}
	m.sequence++
	m.position += uint64(events)
	src := m.knows()
	if lossy && src != nil && w.rand.IntN(20) == 0 {
		w.refuse(m, wire.RefusedPosition, frameOf(1, m.source, src.next, src.end+1+w.rand.Uint64N(1<<40), w.now, opens(1+events)...))
	}
	switch {
	case m.pod == nil:
		w.counts["nowhere"]++
	case lossy && src == nil && w.rand.IntN(3) == 0:
		w.withoutRoom(m, datagram)
	case lossy && w.rand.IntN(30) == 0:
		w.counts["lost"]++
	case lossy && w.rand.IntN(20) == 0:
		m.late = append(m.late, datagram)
		w.counts["late"]++
	default:
		w.receive(m, datagram)
		if lossy && w.rand.IntN(30) == 0 {
			w.receive(m, datagram)
			w.counts["twice"]++
		}
		if w.rand.IntN(4) == 0 {
			for _, d := range m.late {
				w.receive(m, d)
			}
			m.late = nil
		}
	}
}

// cut ends the windows of all, and looks for sources that are silent.
func (w *town) cut() {
	for _, p := range w.pods {
		p.cuts.cut(causeTime)
		for n := range stripes {
			now := p.Collector.clocks.steady()
			p.Collector.sources.sweep(n, before(now, spanQuiet), before(now, 5*time.Minute), before(now, time.Hour))
		}
	}
}

// settled are the books of all, with the spans of all settled.
func (w *town) settled() storage.BookTotal {
	var t storage.BookTotal
	spans := map[uint64][]storage.Span{}
	books := slices.Clone(w.ended)
	for _, p := range w.pods {
		books = append(books, p.ear)
	}
	for _, e := range books {
		if b, ok := e.books[1]; ok {
			t.Add(b)
		}
		for _, s := range e.spans[storage.Account{Stream: 1}] {
			spans[s.Source] = append(spans[s.Source], s)
		}
	}
	for _, all := range spans {
		t.Settle(storage.Settle(all, w.now.UnixMilli()))
	}
	return t
}

func (w *town) pass(d time.Duration) { w.now = w.now.Add(d) }

// The spans of all collectors, settled, give what the sources themselves have
// counted, however their datagrams were spread: over a hand-over with and without
// a moment in which nobody listens, a surge, sockets that are renewed, collectors
// that take over a spool or start again on their own, and two for good.
func TestSpansSettle(t *testing.T) {
	seed := testSeed(t)
	counts := map[string]int{}
	for round := range uint64(30) {
		w := &town{T: t, rand: rand.New(rand.NewPCG(seed, round)), now: epoch, counts: counts, events: make([]wire.Event, eventsPerFrameMax)}
		for range 1 + w.rand.IntN(3) {
			w.begin(newEar(), nil)
		}
		for i := range uint64(12) {
			w.emitter = append(w.emitter, &pilgrim{source: round*100 + i + 1})
		}
		for range 1500 {
			w.step()
		}
		w.finish()
	}
	t.Log(counts)
	for _, what := range []string{"sources", "position", "refused", "moved", "nowhere", "lost", "late", "twice", "stopped", "killed", "adopted", "restarted", "ended"} {
		if counts[what] == 0 {
			t.Errorf("it never came to this: %s", what)
		}
	}
}

func (w *town) step() {
	w.pass(time.Duration(w.rand.IntN(400)) * time.Millisecond)
	switch n := w.rand.IntN(200); {
	case n < 20:
		w.cut()
	case n == 20:
		w.pass(time.Duration(w.rand.IntN(120)) * time.Second) // long enough to fall silent, or not
	case n == 21 && len(w.pods) < 4:
		w.begin(newEar(), nil)
	case n == 22 && len(w.pods) > 0:
		w.replace(w.pick())
	case n == 23 && len(w.pods) > 1:
		w.adopt()
	default:
		m := w.emitter[w.rand.IntN(len(w.emitter))]
		if m.ended {
			return
		}
		w.send(m, 1+w.rand.IntN(20), m.sequence > 0)
		if w.rand.IntN(300) == 0 {
			w.bye(m)
		}
	}
}

// bye has a source send its last beats, of which two come: one socket, one source,
// to whoever has it.
func (w *town) bye(m *pilgrim) {
	if len(w.pods) == 0 {
		return
	}
	w.counts["ended"]++
	m.ended = true
	for range 3 {
		w.send(m, 0, false)
		w.pass(20 * time.Millisecond)
	}
}

// replace ends a collector, and another follows it: with a spool of its own, or
// with the same.
func (w *town) replace(p *pod) {
	killed := w.rand.IntN(4) == 0
	if killed {
		p.cuts.cut(causeTime) // what a kill takes is not what this is about
	}
	w.end(p, killed)
	if killed || w.rand.IntN(3) == 0 {
		w.counts["restarted"]++
		w.begin(p.ear, known(p.ear))
		return
	}
	w.ended = append(w.ended, p.ear)
	if w.rand.IntN(2) == 0 {
		w.begin(newEar(), nil)
	}
}

// adopt ends a collector whose spool another takes over, as the command does.
func (w *town) adopt() {
	p := w.pick()
	killed := w.rand.IntN(2) == 0
	if killed {
		p.cuts.cut(causeTime)
	}
	w.end(p, killed)
	w.ended = append(w.ended, p.ear)
	w.counts["adopted"]++
	all := known(p.ear)
	for i := range all {
		if p.spans == nil {
			p.spans = map[storage.Account][]storage.Span{}
		}
		p.spans[storage.Account{Stream: 1}] = storage.CompactSpans(append(p.spans[storage.Account{Stream: 1}], all[i].Span(w.now.UnixMilli(), 0)))
	}
	w.pick().Adopt(all)
}

// finish ends all, and wants the books to say what the sources counted.
func (w *town) finish() {
	if len(w.pods) == 0 {
		w.begin(newEar(), nil)
	}
	if b := w.settled(); !b.Balanced() {
		w.Errorf("in the middle of it: %+v", b)
	}
	for _, m := range w.emitter {
		for _, d := range m.late {
			w.receive(m, d)
		}
		m.late = nil
		if !m.ended && w.rand.IntN(2) == 0 {
			w.bye(m)
		}
	}
	for range 6 {
		w.cut()
		w.pass(time.Minute)
	}
	w.cut()
	var sent, came, refused uint64
	for _, m := range w.emitter {
		if m.ended && m.known != m.position {
			w.Fatalf("source %d has sent %d events, and is known up to %d", m.source, m.position, m.known)
		}
		sent, came, refused = sent+m.known, came+m.came, refused+m.wrong
	}
	b := w.settled()
	w.counts["refused"] += int(refused)
	if uint64(b.Net(storage.Sent)) != sent || b.Counts[storage.Accepted] != came-refused || b.RefusedEvents() != refused || b.Net(storage.Lost) != int64(sent-came) || b.Counts[storage.Shed] != 0 || b.Open != 0 || b.OpenSources != 0 || !b.Balanced() {
		w.Errorf("the books say %d sent, %d accepted, %d refused, %d lost, %d open of %d sources; the sources say %d, %d, %d and %d",
			uint64(b.Net(storage.Sent)), b.Counts[storage.Accepted], b.RefusedEvents(), b.Net(storage.Lost), b.Open, b.OpenSources, sent, came-refused, refused, sent-came)
	}
}

// plain sends frames of ten events, of which the collectors named by route get
// their part, nobody where it says so; the clock goes on by the time between.
func (w *town) plain(m *pilgrim, frames int, gap time.Duration, route func(frame int) *pod) {
	for i := range frames {
		m.pod, m.stays = route(i), -1
		if m.pod == nil {
			m.sequence++
			m.position += 10
		} else {
			w.send(m, 10, false)
		}
		w.pass(gap)
		if i%50 == 49 {
			w.cut()
		}
	}
}

func (w *town) want(when string, sent, accepted uint64, lost, open int64, sources uint64) {
	w.Helper()
	w.cutOnly()
	b := w.settled()
	if uint64(b.Net(storage.Sent)) != sent || b.Counts[storage.Accepted] != accepted || b.Net(storage.Lost) != lost || b.Open != open || b.OpenSources != sources || !b.Balanced() {
		w.Errorf("%s: %d sent, %d accepted, %d lost, %d open of %d sources; want %d, %d, %d and %d of %d",
			when, uint64(b.Net(storage.Sent)), b.Counts[storage.Accepted], b.Net(storage.Lost), b.Open, b.OpenSources, sent, accepted, lost, open, sources)
	}
}

func (w *town) cutOnly() {
	for _, p := range w.pods {
		p.cuts.cut(causeTime)
	}
}

func newTown(t *testing.T) *town {
	return &town{T: t, rand: rand.New(rand.NewPCG(1, 1)), now: epoch, counts: map[string]int{}, events: make([]wire.Event, eventsPerFrameMax)}
}

// What lies between two pods is lost, as soon as the second one has told of the
// source; until then it is open whether there is anything. With spools of their
// own nobody else could say.
func TestLossBetweenTwoPods(t *testing.T) {
	w := newTown(t)
	elder := w.begin(newEar(), nil)
	m := &pilgrim{source: 9}
	w.emitter = append(w.emitter, m)
	w.plain(m, 3000, 10*time.Millisecond, func(int) *pod { return elder })
	w.want("before", 30_000, 30_000, 0, 0, 0)
	w.end(elder, false)
	w.ended = append(w.ended, elder.ear)
	w.want("nobody is there", 30_000, 30_000, 0, 0, 1)
	w.plain(m, 441, 10*time.Millisecond, func(int) *pod { return nil })
	newcomer := w.begin(newEar(), nil)
	w.want("the newcomer has heard nothing", 30_000, 30_000, 0, 0, 1)
	w.plain(m, 559, 10*time.Millisecond, func(int) *pod { return newcomer })
	w.want("it goes on", 40_000, 35_590, 4410, 0, 0)
	w.bye(m)
	w.want("it has ended", 40_000, 35_590, 4410, 0, 0)
}

// An emitter that keeps its source and renews its socket comes now to one
// collector, now to the other, and nothing of it is lost. While both have it, what
// one misses is open, and only what came since its last word counts as lost.
func TestRenewedSocketsLoseNothing(t *testing.T) {
	for _, every := range []int{100, 2} { // frames of ten events
		w := newTown(t)
		pods := []*pod{w.begin(newEar(), nil), w.begin(newEar(), nil)}
		m := &pilgrim{source: 9}
		w.emitter = append(w.emitter, m)
		turns := func(i int) *pod { return pods[i/every%2] }
		w.plain(m, 1000, 90*time.Millisecond, turns)
		w.cutOnly()
		if b := w.settled(); b.OpenSources != 1 || b.Counts[storage.Accepted] != 10_000 || !b.Balanced() {
			t.Errorf("every %d frames: %+v", every, b)
		}
		w.plain(m, 3500-1000, 90*time.Millisecond, turns)
		w.bye(m)
		for range 3 {
			w.pass(time.Minute)
			w.cut()
		}
		w.want("it has ended", 35_000, 35_000, 0, 0, 0)
	}
}

// A collector that got no more of a source than a beat knows how many events there
// were, and leaves a span. So whoever has all the events leaves one too, unless every
// single frame came to it.
func TestBeatElsewhereIsNoLoss(t *testing.T) {
	for _, elsewhere := range []int{2, 3, 4, 5} { // the beat of a silence, or one of the last three
		w := newTown(t)
		one, other := w.begin(newEar(), nil), w.begin(newEar(), nil)
		m := &pilgrim{source: 9}
		for frame, events := range []int{20, 7, 0, 0, 0, 0} {
			m.pod, m.stays = one, -1
			if frame == elsewhere {
				m.pod = other
			}
			w.send(m, events, false)
			w.pass(20 * time.Millisecond)
			if frame == 2 {
				w.pass(time.Second)
			}
		}
		for range 6 {
			w.cut()
			w.pass(time.Minute)
		}
		if n := len(other.spans[storage.Account{Stream: 1}]); n != 1 {
			t.Errorf("frame %d went elsewhere, and leaves %d spans there", elsewhere, n)
		}
		w.want("frame "+strconv.Itoa(elsewhere)+" went elsewhere", 27, 27, 0, 0, 0)
	}
}

// Sources that begin and end here, whole, leave no span, however many there are;
// those that are cut off leave one when they have been silent, and a session none.
func TestShortSourcesLeaveFewSpans(t *testing.T) {
	w := newTown(t)
	p := w.begin(newEar(), nil)
	for i := range uint64(200) {
		m := &pilgrim{source: i + 1}
		w.plain(m, 3, 10*time.Millisecond, func(int) *pod { return p })
		switch {
		case i < 100:
			w.bye(m)
			w.pods = []*pod{p}
		case i < 110:
			s := p.shards[0]
			s.Lock()
			s.tick()
			h, _ := wire.ParseHeader(frameOf(1, 1000+i, 0, 0, w.now, opens(1)...))
			s.frame(&h, frameOf(1, 1000+i, 0, 0, w.now, opens(1)...), overTCP, true, address{})
			s.flush()
			s.Unlock()
		}
	}
	w.cut()
	if n := len(p.spans[storage.Account{Stream: 1}]); n != 0 {
		t.Errorf("%d spans are left at once", n)
	}
	for range 10 {
		w.pass(time.Minute)
		w.cut()
	}
	if n := len(p.spans[storage.Account{Stream: 1}]); n != 100 {
		t.Errorf("%d spans are left, want one of each that was cut off, 100", n)
	}
}

// At the end spans take no more room than there is.
func TestSpansOfTheEndFindRoom(t *testing.T) {
	w := newTown(t)
	p := w.begin(newEar(), nil)
	for i := range uint64(100) {
		w.plain(&pilgrim{source: i + 1}, 1, 0, func(int) *pod { return p })
	}
	p.cuts.cut(causeStop)
	p.ear.room, p.cuts.final = 30, true
	p.cuts.cut(causeStop)
	if n := len(p.spans[storage.Account{Stream: 1}]); n != 30 || p.cuts.untold != 70 {
		t.Errorf("%d spans are left and %d are not, with room for 30 of 100", n, p.cuts.untold)
	}
}

// Beats that are on their way together are no end, and an end that is followed by
// events is none either.
func TestWhatCountsAsAnEnd(t *testing.T) {
	type frame struct {
		events uint64
		at     int64 // milliseconds
	}
	for _, test := range []struct {
		name   string
		frames []frame
		want   storage.SpanEnd
		last   bool // nothing more is on its way
	}{
		{"events", []frame{{5, 0}}, storage.SpanLeft, false},
		{"beats of a silence", []frame{{5, 0}, {0, 1000}, {0, 3000}, {0, 7000}, {0, 15000}}, storage.SpanLeft, false},
		{"the end", []frame{{5, 0}, {0, 10}, {0, 30}, {0, 50}}, storage.SpanEnded, true},
		{"the end, with one beat lost", []frame{{5, 0}, {0, 10}, {0, 50}}, storage.SpanEnded, false},
		{"the end, of which one came", []frame{{5, 0}, {0, 50}}, storage.SpanLeft, false},
		{"the end of a silence", []frame{{5, 0}, {0, 1000}, {0, 1100}}, storage.SpanEnded, false},
		{"a long end", []frame{{5, 0}, {0, 1000}, {0, 1100}, {0, 1120}, {0, 1140}}, storage.SpanEnded, true},
		{"it began", []frame{{0, 0}, {0, 0}, {0, 0}, {5, 10}}, storage.SpanLeft, false},
		{"it goes on in silence", []frame{{5, 0}, {0, 10}, {0, 30}, {0, 50}, {0, 1050}}, storage.SpanLeft, false},
	} {
		var s source
		for _, f := range test.frames {
			s.hear(f.events == 0, epoch.UnixMilli()+f.at)
		}
		if got := s.closing.end(); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
		if got := s.closing == closingLast; got != test.last {
			t.Errorf("%s: nothing more is on its way: %v, want %v", test.name, got, test.last)
		}
	}
}
