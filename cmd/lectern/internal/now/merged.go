package now

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"github.com/lectern/lectern/storage/live"
)

// merged adds up what several daemons say of the same streams and contents.
type merged struct {
	question *question
	own      *reply
	streams  map[uint16]*mergedStream
	contents []mergedCounts // in the order of the question
}

type mergedStream struct {
	mergedCounts
	coarse uint64
}

// mergedCounts are sums, and the samples by which readers are counted once.
type mergedCounts struct {
	counts
	ofMinute, ofFive []live.Sample
}

func newMerged(q *question, own *reply) *merged {
	m := &merged{question: q, own: own, streams: make(map[uint16]*mergedStream), contents: make([]mergedCounts, len(q.Contents))}
	_ = m.add(own) // it makes sense
	return m
}

// add adds what one daemon says, or nothing of it where it makes no sense.
func (m *merged) add(r *reply) error {
	if len(r.Contents) != len(m.question.Contents) || len(r.Streams) > len(m.question.Streams) {
		return errors.New("its answer is not to what it was asked")
	}
	seen := make(map[uint16]bool)
	for i := range r.Streams {
		s := &r.Streams[i]
		if _, _, ok := s.samples(); !ok || seen[s.Number] || !slices.Contains(m.question.Streams, s.Number) {
			return errors.New("its answer makes no sense: a stream that was not asked for, or a sample that is none")
		}
		seen[s.Number] = true
	}
	for i := range r.Contents {
		if _, _, ok := r.Contents[i].samples(); !ok {
			return errors.New("its answer makes no sense: a sample that is none")
		}
	}
	p := periodOf(&live.Figures{Time: r.Time, Since: r.Since, OpensSeconds: r.Seconds})
	shift := m.own.Time/60_000 - r.Time/60_000
	for i := range r.Streams {
		s := &r.Streams[i]
		to := m.streams[s.Number]
		if to == nil {
			to = new(mergedStream)
			m.streams[s.Number] = to
		}
		to.add(&s.peerCounts, &p, shift)
		to.coarse = sum(to.coarse, s.Coarse)
	}
	for i := range r.Contents {
		m.contents[i].add(&r.Contents[i].peerCounts, &p, shift)
	}
	return nil
}

// add adds counts whose last minute is shift minutes before ours.
func (c *mergedCounts) add(o *peerCounts, p *period, shift int64) {
	known := o.counts()
	x := p.counts(&known)
	c.opens, c.rate, c.lately, c.before = sum(c.opens, x.opens), c.rate+x.rate, c.lately+x.lately, c.before+x.before
	for i, n := range x.minutes {
		if at := int64(i) - shift; at >= 0 && at < live.MinutesKept {
			c.minutes[at] = sum(c.minutes[at], n)
		}
	}
	minute, five, _ := o.samples()
	if minute.Count > 0 {
		c.ofMinute = append(c.ofMinute, minute)
	}
	if five.Count > 0 {
		c.ofFive = append(c.ofFive, five)
	}
}

// sum adds what fits: a peer may say anything. What comes of it is a whole number in
// JavaScript, too.
func sum(a, b uint64) uint64 { return min(a+min(b, math.MaxUint32<<20), 1<<53-1) }

func (c *mergedCounts) united() counts {
	c.minute, c.minuteError = live.Union(c.ofMinute)
	c.five, c.fiveError = live.Union(c.ofFive)
	if c.five < c.minute { // both are estimates
		c.five = c.minute
	}
	return c.counts
}

// figures are those of all.
func (m *merged) figures() *figures {
	f := &figures{time: m.own.Time, since: m.own.Since, cluster: true, more: make(map[live.Key]counts)}
	contents := make(map[uint16][]contentFigures)
	for i, k := range m.question.Contents {
		c := m.contents[i].united()
		f.more[k] = c
		if c.five == 0 && c.minutes == [live.MinutesKept]uint64{} {
			continue // asked for, and not known
		}
		contents[k.Stream] = append(contents[k.Stream], contentFigures{k.ID, c})
	}
	for number, s := range m.streams {
		x := streamFigures{number: number, counts: s.united(), coarse: s.coarse, contents: contents[number]}
		slices.SortFunc(x.contents, compareContents)
		f.streams = append(f.streams, x)
	}
	slices.SortFunc(f.streams, compareStreams)
	return f
}

// compareContents puts those with the most readers first.
func compareContents(a, b contentFigures) int {
	return cmp.Or(cmp.Compare(b.minute, a.minute), cmp.Compare(b.five, a.five), cmp.Compare(b.opens, a.opens), cmp.Compare(a.id, b.id))
}
