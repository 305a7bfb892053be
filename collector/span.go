package collector

import (
	"time"

	"github.com/lectern/lectern/storage"
)

// How often a source that goes on leaves a span: one that was met in the middle or
// has lost something, since it may be another collector's too; and the others, to
// say how far they have come should this collector never tell more. And after
// which silence a source counts as gone from here: emitters send a beat every 16
// seconds.
const (
	spanDoubtful = time.Minute
	spanOthers   = 10 * time.Minute
	spanQuiet    = time.Minute
)

// notedBefore is when a source that another process has met left a span: long
// ago, so that it leaves one with its first frame. What that process said of it
// last may be its end.
const notedBefore = 1

// closing is what a source's newest frames say of its end: how many of them are
// beats in quick succession, up to closingLast.
type closing uint8

const (
	closingNot  closing = iota // events
	closingBeat                // a beat
	closingDone                // two: it is at its end
	closingLast                // as many as an emitter sends then: nothing more is on its way
)

// closingGap is less than the time between the beats of a source that is silent,
// and more than that between its last ones, in milliseconds.
const closingGap = 500

func (c closing) end() storage.SpanEnd {
	if c >= closingDone {
		return storage.SpanEnded
	}
	return storage.SpanLeft
}

// hear takes the newest frame of a source: whether it is a beat, and its time by the
// source's own clock. Frames may have waited for their reader together, so their
// arrival says nothing.
func (s *source) hear(beat bool, time int64) {
	if !beat {
		s.closing = closingNot
		return
	}
	at := uint16(time)
	if s.closing != closingNot && at-s.beat < closingGap {
		s.closing = min(s.closing+1, closingLast)
	} else {
		s.closing = closingBeat
	}
	s.beat = at
}

// leave has a source leave a span with the next cut, as it was at the end of the window
// of this generation. The source's stripe is locked.
func (s *sources) leave(src *source, generation uint64, end storage.SpanEnd) {
	x, now := src.at(generation), s.heard.Load()
	s.mu.Lock()
	book := s.left.of(src.account())
	book.Spans = append(book.Spans, storage.Span{
		Source: src.id, Met: millis(src.met), Base: x.base, End: x.end,
		Sent: x.end - x.base - src.apartAt(generation), Lost: x.lost, At: now, Ended: end,
	})
	s.mu.Unlock()
	s.spans.Add(1)
	src.noted = seconds(now)
	src.told = src.generation <= generation && end != storage.SpanLive
}

// spanDue says whether a source that moved, to this state, leaves a span now. The
// first of one that may be another's does so at once: the other may not know.
func (s *source) spanDue(x *state, now int64) bool {
	if !s.spans(x) {
		return false
	}
	since, wait := s.noted, spanOthers
	if x.base > 0 || x.lost > 0 {
		if s.noted == 0 {
			return true
		}
		wait = spanDoubtful
	}
	if s.noted == 0 {
		since = s.met
	}
	return seconds(now)-since >= uint32(wait/time.Second) // also where the clock was set back
}

// spans says whether a source can be another collector's too, at this state. What
// is acknowledged is one collector's alone; and of who sent nothing there is
// nothing to tell.
func (s *source) spans(x *state) bool { return !s.session && x.end > 0 }

// leavesSpan says whether a source that goes on here no more leaves a span. It
// need not where all that it ever sent came here: every event, and every beat too,
// since whoever else got one of these knows how many events there were, and leaves a
// span that says so.
func (s *source) leavesSpan() bool {
	whole := s.window.whole() && s.base == 0 && s.lost == 0 && s.closing == closingLast && s.noted == 0
	return s.spans(&s.state) && !s.told && !whole
}

// apartAt is apart at the end of the window of this generation.
func (s *source) apartAt(generation uint64) uint64 {
	if s.generation > generation {
		return s.apartBefore
	}
	return s.apart
}

// rest has every source leave its span, since the collector ends, as far as room (in
// rows, which are as large as a span) goes. It returns for how many there was none.
func (s *sources) rest(generation uint64, room int) (untold int) {
	for i := range s.stripe {
		st := &s.stripe[i]
		st.Lock()
		for src := range st.all() {
			switch {
			case !src.leavesSpan():
			case room > 0:
				s.leave(src, generation, src.closing.end())
				room--
			default:
				untold++
			}
		}
		st.Unlock()
	}
	return untold
}

func seconds(millis int64) uint32 { return uint32(millis / 1000) }

func millis(seconds uint32) int64 { return int64(seconds) * 1000 }
