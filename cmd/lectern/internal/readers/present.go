package readers

import (
	"iter"
	"math/rand/v2"
	"time"

	"github.com/lectern/lectern/emit"
)

// Heartbeat is how far apart the heartbeats of a reader who is present are.
const Heartbeat = 10 * time.Second

// Present is a number of readers who are there at once. Each opens a piece of
// content, sends a heartbeat every Heartbeat with what was read since the one
// before, and finishes or leaves; another then takes the place, so that there are
// always as many. Their heartbeats are spread evenly over time. It is not safe
// for concurrent use.
type Present struct {
	crowd  *Crowd
	random *rand.Rand
	places []presence
	turn   uint64 // of a place, counted from the start
	opens  bool   // the place whose turn it is opens again
	people uint64 // who have come so far
}

// presence is one reader in a place.
type presence struct {
	visit
	here bool
}

// NewPresent returns that number of readers, at least 1, of that number of contents,
// whose ids and popularity are those of New. The same arguments make the same
// events.
func NewPresent(readers, contents, seed uint64) *Present {
	c := New(0, 1, contents, seed)
	return &Present{crowd: c, random: c.random, places: make([]presence, readers)}
}

// Next writes what happens next to e, all but its time, and returns when that is
// after the beginning. It never goes back.
func (p *Present) Next(e *emit.Event) (after time.Duration) {
	place := &p.places[p.turn%uint64(len(p.places))]
	after = p.at(p.turn)
	switch {
	case !place.here || p.opens, uint8(p.random.Uint32()) < place.leave():
		p.opens = false
		p.open(place)
		*e = emit.Event{Content: place.content, User: place.user, Kind: emit.Open}
		p.turn++
		return after
	}
	place.progress = min(100, place.progress+place.step)
	*e = emit.Event{
		Content: place.content, User: place.user, Kind: emit.Read,
		Dwell: uint32(Heartbeat.Milliseconds()), Progress: emit.Percent(place.progress),
	}
	if place.progress < 100 {
		p.turn++
		return after
	}
	// The next one opens in the same moment.
	e.Kind, p.opens = emit.Finish, true
	return after
}

// at is when a turn is, spread over the heartbeats without a rounding that adds up.
func (p *Present) at(turn uint64) time.Duration {
	n := uint64(len(p.places))
	return time.Duration(turn/n)*Heartbeat + time.Duration(uint64(Heartbeat)/n*(turn%n)+uint64(Heartbeat)%n*(turn%n)/n)
}

// open has somebody new open something in a place.
func (p *Present) open(place *presence) {
	p.crowd.open(&place.visit)
	place.here = true
	place.user = p.crowd.id("user-", p.people)
	p.people++
}

// All is an iterator over what happens, without an end: when after the
// beginning, and what, all but its time.
func (p *Present) All() iter.Seq2[time.Duration, emit.Event] {
	return func(yield func(time.Duration, emit.Event) bool) {
		var e emit.Event
		for {
			if after := p.Next(&e); !yield(after, e) {
				return
			}
		}
	}
}
