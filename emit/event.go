package emit

import (
	"errors"
	"fmt"

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
)

// Event is one thing that one reader did with one piece of content.
type Event struct {
	Time    int64  // when, in Unix milliseconds
	Content uint64 // id of the content; xxHash64 (seed 0) of its text where it has no number
	User    uint64 // id of the reader, likewise
	// Dwell is how long the reader has read since the previous event on this
	// content, in milliseconds. What is above wire.DwellMax (4 h 39 min) counts
	// as wire.DwellMax.
	Dwell uint32
	Kind  Kind
	// Progress is how far the reader got, 0 to 100. It is sent if and only if
	// HasProgress.
	Progress    uint8
	HasProgress bool
}

// ErrEvent is what the error for an event that no collector would take wraps.
// The event is not taken; the emitter goes on.
var ErrEvent = errors.New("emit: event not taken")

// Made once: a caller's mistake may come with every event.
var (
	errKind     = fmt.Errorf("%w: its kind has no name; use Open, Read, Finish, Save or Share", ErrEvent)
	errProgress = fmt.Errorf("%w: its progress is above %d percent", ErrEvent, wire.ProgressMax)
	errTime     = fmt.Errorf("%w: its time is not in Unix milliseconds, 0 to 2^48-1", ErrEvent)
)

// check returns why a collector would refuse the event's whole frame, or nil.
func (e *Event) check() error {
	switch {
	case e.Kind >= wire.Kinds:
		return errKind
	case e.HasProgress && e.Progress > wire.ProgressMax:
		return errProgress
	case uint64(e.Time) > wire.TimeMax:
		return errTime
	}
	return nil
}
