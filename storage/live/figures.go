package live

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Counts is what is known of a content, or of a stream.
type Counts struct {
	Minute, Five uint64              // different readers of the last minute, and of the last five
	Opens        uint64              // of the last seconds: Figures.OpensSeconds
	Minutes      [MinutesKept]uint64 // opens by minute, the oldest first, the running one last
}

// Key names a content.
type Key struct {
	Stream uint16
	ID     uint64
}

// Content is what is known of one.
type Content struct {
	Key
	Counts
}

// Stream is what is known of one.
type Stream struct {
	Number uint16
	Counts
	Coarse   uint64    // events of the last seconds that are in no figure of readers: Figures.OpensSeconds
	Contents []Content // most readers first
}

// Figures are those of one moment.
type Figures struct {
	Time, Since  int64   // Unix milliseconds: the end of the last cut, the beginning of the first; 0 without one
	OpensSeconds float64 // how many seconds Opens and Coarse are of: the running span of ten, as far as it has come, and the five before it
	Streams      []Stream
}

// rateSeconds is how long the spans of a rate are at a moment, if it was counted since
// then.
func rateSeconds(time, since int64, now uint32) float64 {
	begin := (int64(now)/spanSeconds - spans + 1) * spanSeconds * 1000
	return float64(max(1000, time-max(begin, since))) / 1000
}

// StreamsMax is how many streams Top returns.
const StreamsMax = 32

// Top returns those of the given streams that are known, or, if none is given, the
// StreamsMax with the most readers, and at most limit contents of each, those with the
// most readers. The stream with the most readers is first. What it costs does not depend
// on how many readers there are.
func (r *Readers) Top(limit int, only ...uint16) Figures {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.top(limit, only)
}

// Latest returns figures that are a second old at most, with as many contents of each
// stream as are ever shown: Top(ContentsMost). While somebody has called it within the last
// ten cuts, figures are made at the end of each cut, and Latest returns them without
// waiting.
func (r *Readers) Latest() *Figures {
	r.asked.Store(r.cuts.Load())
	if f := r.published.Load(); f != nil && r.ended.Load()-f.Time < publishRest {
		return f
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.top(ContentsMost, nil)
	r.published.Store(&f)
	return &f
}

const (
	// ContentsMost is how many contents of each stream Latest has.
	ContentsMost = 100

	publishRest  = 900 // milliseconds between two figures that are made for Latest
	publishAsked = 10  // cuts at whose end they are made, after somebody has asked
)

// publish makes figures for Latest. The caller has mu.
func (r *Readers) publish() {
	before := r.published.Load()
	if before == nil || r.cuts.Load()-r.asked.Load() > publishAsked {
		return
	}
	if since := r.time - before.Time; since < 0 || since >= publishRest {
		f := r.top(ContentsMost, nil)
		r.published.Store(&f)
	}
}

// top is Top. The caller has mu.
func (r *Readers) top(limit int, only []uint16) Figures {
	f := r.figures()
	places := r.streams.places(only)
	tops := make([]*top, len(r.streams.list))
	for _, at := range places {
		tops[at] = &top{of: r.contents, now: r.now}
	}
	if limit > 0 {
		for i := range r.contents.list {
			if x := &r.contents.list[i]; x.used && tops[x.stream] != nil && x.minute >= tops[x.stream].least {
				tops[x.stream].offer(uint32(i), limit)
			}
		}
	}
	for _, at := range places {
		s := r.streams.list[at]
		x := Stream{Number: s.number, Counts: r.counts(s.minute, s.all, &s.series), Coarse: s.recentCoarse(r.now)}
		for _, i := range tops[at].first(limit) {
			x.Contents = append(x.Contents, r.contentAt(i))
		}
		f.Streams = append(f.Streams, x)
	}
	return f
}

// places are where these streams are, or those with the most readers.
func (s *streams) places(only []uint16) (all []uint16) {
	if len(only) == 0 {
		only = slices.Collect(maps.Keys(s.of))
	}
	for _, number := range only {
		if at, ok := s.of[number]; ok {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, func(a, b uint16) int {
		x, y := s.list[a], s.list[b]
		return cmp.Or(cmp.Compare(y.minute, x.minute), cmp.Compare(y.all, x.all), cmp.Compare(x.number, y.number))
	})
	return all[:min(len(all), StreamsMax)]
}

// Of returns what is known of some contents, in their order, zeros of those that are
// not known.
func (r *Readers) Of(keys []Key) []Content {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Content, len(keys))
	for i, k := range keys {
		all[i].Key = k
		if at, ok := r.find(k); ok {
			all[i] = r.contentAt(at)
		}
	}
	return all
}

func (r *Readers) find(k Key) (at uint32, ok bool) {
	stream, ok := r.streams.of[k.Stream]
	if !ok {
		return 0, false
	}
	return r.contents.find(stream, k.ID)
}

func (r *Readers) figures() Figures {
	return Figures{Time: r.time, Since: r.since, OpensSeconds: rateSeconds(r.time, r.since, r.now)}
}

func (r *Readers) contentAt(i uint32) Content {
	x := &r.contents.list[i]
	return Content{Key{r.streams.list[x.stream].number, x.id}, r.counts(x.minute, x.all, &r.contents.series[i])}
}

func (r *Readers) counts(minute, all uint32, s *series) Counts {
	c := Counts{Minute: uint64(minute), Five: uint64(all), Opens: s.recentOpens(r.now)}
	for i, n := range s.byMinute(r.now) {
		c.Minutes[i] = uint64(n)
	}
	return c
}

// Compare is below zero where c stands before o: most readers first, then most opens,
// then the lower id.
func (c *Content) Compare(o *Content) int {
	return cmp.Or(cmp.Compare(o.Minute, c.Minute), cmp.Compare(o.Five, c.Five), cmp.Compare(o.Opens, c.Opens), cmp.Compare(c.ID, o.ID))
}

// top keeps the contents that stand first.
type top struct {
	list  []uint32
	least uint32 // readers of the last minute that one has to have to be among them
	of    *contents
	now   uint32
}

func (t *top) offer(i uint32, limit int) {
	if t.list = append(t.list, i); len(t.list) >= 4*limit {
		t.list = t.first(limit)
		t.least = t.of.list[t.list[limit-1]].minute
	}
}

// first are the first ones, in order, at most limit.
func (t *top) first(limit int) []uint32 {
	slices.SortFunc(t.list, func(a, b uint32) int { return t.of.compare(a, b, t.now) })
	return t.list[:min(limit, len(t.list))]
}

// Size is how much Readers hold.
type Size struct {
	Readers, Contents, Streams int
	Unplaced                   uint64        // events that are in no figure of readers, since the start
	Took                       time.Duration // what following the cuts has taken since then
}

// Size says how much is held.
func (r *Readers) Size() Size {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Size{Readers: r.readers(), Contents: r.contents.used(), Streams: len(r.streams.of), Unplaced: r.unplaced, Took: r.took}
}
