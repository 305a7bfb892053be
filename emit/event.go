package emit

import (
	"errors"
	"fmt"
	"time"

	"github.com/lectern/lectern/wire"
)

// Kind says what a reader did.
type Kind = wire.Kind

// The kinds.
const (
	Open   = wire.KindOpen   // opened the content
	Read   = wire.KindRead   // kept reading: a heartbeat
	Finish = wire.KindFinish // reached the end
	Save   = wire.KindSave   // kept it for later
	Share  = wire.KindShare  // passed it on

	Impression = wire.KindImpression // was shown the content's headline, where others are listed with it
	Click      = wire.KindClick      // followed it
)

// Event is one thing that one reader did with one piece of content.
type Event struct {
	// Time is when, in Unix milliseconds (time.Time.UnixMilli). Zero is now, as
	// the event is added. What looks like seconds is refused.
	Time    int64
	Content uint64 // id of the content: its number, or ID of its text
	User    uint64 // id of the reader, likewise
	// Dwell is how long the reader has read since the previous event on this
	// content, in milliseconds. What is above wire.DwellMax (4 h 39 min) counts
	// as wire.DwellMax.
	Dwell uint32
	Kind  Kind
	// Variant is which variant of the headline an Impression or a Click is of. 0 and
	// 1 are the one that it has where nothing is tried. These have no Dwell and no
	// Progress, and all other kinds no Variant.
	Variant uint8
	// Progress is how far the reader got: Percent(0) to Percent(100). The zero
	// value says that it is not known.
	Progress Progress
	// Skipped is how many events the caller left out for this one, where it has only a
	// sample of them: 9 where it adds one of ten. Estimates multiply by one more than
	// that; positions, books and acknowledgements know only what was added. Events of
	// another number go into another frame.
	Skipped uint16
}

// Progress is how far a reader got, if that is known. The zero value is not
// known, which is not the same as Percent(0).
type Progress struct {
	percent uint8
	known   bool
}

// Percent returns the progress of percent, 0 to 100. An event with more is not
// taken.
func Percent(percent uint8) Progress { return Progress{percent, true} }

// Percent returns how many percent that are, and whether it is known.
func (p Progress) Percent() (percent uint8, known bool) { return p.percent, p.known }

// ErrEvent is what the error for an event that no collector would take wraps.
// The event is not taken; the emitter goes on.
var ErrEvent = errors.New("emit: event not taken")

// secondsMax bounds what is taken for seconds: as seconds it is in the year
// 5138, as milliseconds in March 1973.
const secondsMax = 100_000_000_000

// Made once: a caller's mistake may come with every event.
var (
	errKind     = fmt.Errorf("%w: its kind has no name; use Open, Read, Finish, Save, Share, Impression or Click", ErrEvent)
	errHeadline = fmt.Errorf("%w: an Impression or a Click has no Dwell and no Progress", ErrEvent)
	errVariant  = fmt.Errorf("%w: only an Impression or a Click has a Variant", ErrEvent)
	errProgress = fmt.Errorf("%w: its progress is above %d percent", ErrEvent, wire.ProgressMax)
	errTime     = fmt.Errorf("%w: its time is not in Unix milliseconds, 0 to 2^48-1", ErrEvent)
	errSeconds  = fmt.Errorf("%w: its time is before March 1973 in Unix milliseconds, so these may be seconds; use time.Time.UnixMilli, or zero for now", ErrEvent)
)

// prepare sets the time of an event without one, puts a variant where it stands in
// a frame, which is in dwell's place, and returns why a collector would refuse its
// whole frame, or nil.
func (e *Event) prepare() error {
	if e.Time == 0 {
		e.Time = time.Now().UnixMilli()
	}
	switch {
	case !e.Kind.OfHeadline():
		if e.Variant > 0 {
			return errVariant
		}
	case e.Dwell > 0:
		return errHeadline
	case e.Variant > 1:
		e.Dwell = uint32(e.Variant)
	}
	return e.check()
}

// check returns what is wrong with an event that is prepared.
func (e *Event) check() error {
	switch {
	case e.Kind >= wire.Kinds:
		return errKind
	case e.Kind.OfHeadline() && (e.Progress.known || e.Dwell > wire.VariantMax):
		return errHeadline
	case e.Progress.known && e.Progress.percent > wire.ProgressMax:
		return errProgress
	case uint64(e.Time) > wire.TimeMax:
		return errTime
	case e.Time < secondsMax:
		return errSeconds
	}
	return nil
}
