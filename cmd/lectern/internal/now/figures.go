package now

import (
	"cmp"

	"github.com/lectern/lectern/storage/live"
)

// counts is what is known of a content or a stream, of one daemon or of several.
type counts struct {
	minute, five           uint64 // readers
	minuteError, fiveError float64
	rate                   float64 // opens a second
	lately, before         float64 // opens a minute, in the last five and in the hour before them
	opens                  uint64  // in the span of rate, to put contents in order
	minutes                [live.MinutesKept]uint64
}

type contentFigures struct {
	id uint64
	counts
}

type streamFigures struct {
	number uint16
	counts
	coarse   uint64
	contents []contentFigures // those that stand first
}

// figures are those of one moment, and do not change.
type figures struct {
	latest      *live.Figures // of this daemon, that they are
	time, since int64
	cluster     bool
	streams     []streamFigures     // those that stand first
	more        map[live.Key]counts // of several daemons: contents that were asked for
	period      period              // of one
	nodes       []Node
	unasked     int
}

// ownFigures are those of this daemon alone.
func ownFigures(f *live.Figures) *figures {
	p := periodOf(f)
	return &figures{latest: f, time: f.Time, since: f.Since, period: p, streams: streamsFrom(f, &p)}
}

// streamsFrom are the streams of one daemon.
func streamsFrom(f *live.Figures, p *period) (all []streamFigures) {
	for i := range f.Streams {
		s := &f.Streams[i]
		x := streamFigures{number: s.Number, counts: p.counts(&s.Counts), coarse: s.Coarse}
		for j := range s.Contents {
			x.contents = append(x.contents, contentFigures{s.Contents[j].ID, p.counts(&s.Contents[j].Counts)})
		}
		all = append(all, x)
	}
	return all
}

// compareStreams puts those with the most readers first.
func compareStreams(a, b streamFigures) int {
	return cmp.Or(cmp.Compare(b.minute, a.minute), cmp.Compare(b.five, a.five), cmp.Compare(a.number, b.number))
}

// period is what the figures of one daemon are of.
type period struct {
	seconds float64 // of a rate
	hour    float64 // minutes of the hour before the last five that were counted; 0: too few
}

const (
	latelyMinutes = 5
	hourMinutes   = 60
	// hourMinutesMin is how much of the hour must have been counted.
	hourMinutesMin = 5
)

func periodOf(f *live.Figures) period {
	p := period{seconds: max(1, f.OpensSeconds)}
	first := (f.Since + 59_999) / 60_000 // whole minutes that were counted begin here
	known := f.Time/60_000 - latelyMinutes - first
	if known >= hourMinutesMin {
		p.hour = float64(min(known, hourMinutes))
	}
	return p
}

func (p *period) counts(c *live.Counts) counts {
	x := counts{minute: c.Minute, five: c.Five, rate: float64(c.Opens) / p.seconds, opens: c.Opens, minutes: c.Minutes}
	if p.hour > 0 {
		for i, n := range c.Minutes[:hourMinutes+latelyMinutes] {
			if i < hourMinutes {
				x.before += float64(n) / p.hour
			} else {
				x.lately += float64(n) / latelyMinutes
			}
		}
	}
	return x
}
