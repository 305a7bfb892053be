// Package readers makes up believable reading: people who open something,
// perhaps read on, sometimes reach its end, and now and then save or share it.
package readers

import (
	"math/rand/v2"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/emit"
)

// How people read. Chances are out of 256.
const (
	heartbeatMS  = 15_000 // between two heartbeats, give or take a quarter
	beatsMax     = 12     // heartbeats that the longest content takes
	bounceChance = 77     // leave right after opening: three in ten
	leaveChance  = 20     // leave between two heartbeats
	saveChance   = 12     // save what was read to its end
	shareChance  = 8      // share it

	// A Zipf law with this exponent, whose head this many ranks soften.
	popularity     = 1.1
	popularityHead = 3
)

// visitsMax is how many visits go on at once: their state stays in the cache.
const visitsMax = 1 << 14

// eventsPerVisitSlot keeps a short run from being all opens.
const eventsPerVisitSlot = 32

// Crowd is a number of readers. It is not safe for concurrent use.
type Crowd struct {
	random   *rand.Rand
	popular  *rand.Zipf
	users    uint64
	contents uint64
	visits   []visit
	name     []byte // scratch
}

// visit is one reader with one piece of content.
type visit struct {
	content, user uint64
	step          uint8 // progress, in percent, of one heartbeat
	progress      uint8
	state         state
}

type state uint8

const (
	away state = iota
	reading
	finished
)

// New returns a crowd of users readers of contents pieces of content, each at
// least 1, who do events things before it gets late: a short run has fewer
// visits going on at once. The same arguments make the same events.
//
// The ids are xxHash64 of "/content/0", "/content/1", …, the most read first,
// and of "user-0", "user-1", ….
func New(events, users, contents, seed uint64) *Crowd {
	random := rand.New(rand.NewPCG(seed, 0x9E3779B97F4A7C15))
	return &Crowd{
		random:   random,
		popular:  rand.NewZipf(random, popularity, popularityHead, contents-1),
		users:    users,
		contents: contents,
		visits:   make([]visit, min(visitsMax, users, max(1, events/eventsPerVisitSlot))),
	}
}

// Next writes what happens next to e, all but its time.
func (c *Crowd) Next(e *emit.Event) {
	dice := c.random.Uint64()
	// The high half chooses who, the low bytes what.
	v := &c.visits[dice>>32*uint64(len(c.visits))>>32]
	chance, jitter := uint8(dice), uint32(dice>>8)&0xffff
	e.Dwell, e.Progress = 0, emit.Progress{}
	switch {
	case v.state == away,
		v.state == reading && chance < v.leave(),
		v.state == finished && chance >= saveChance+shareChance:
		c.open(v)
		e.Kind = emit.Open
	case v.state == reading:
		v.progress = min(100, v.progress+v.step)
		e.Kind = emit.Read
		if v.progress == 100 {
			e.Kind = emit.Finish
			v.state = finished
		}
		e.Dwell = heartbeatMS*3/4 + jitter*(heartbeatMS/2)>>16
		e.Progress = emit.Percent(v.progress)
	default:
		e.Kind = emit.Save
		if chance >= saveChance {
			e.Kind = emit.Share
		}
		e.Dwell = 500 + jitter>>4 // a few seconds to find the button
		v.state = away
	}
	e.Content, e.User = v.content, v.user
}

// leave is the chance that the reader does not read on.
func (v *visit) leave() uint8 {
	if v.progress == 0 {
		return bounceChance
	}
	return leaveChance
}

// open begins another visit in v's place.
func (c *Crowd) open(v *visit) {
	rank := c.popular.Uint64()
	// How long a piece of content is belongs to it: any fixed mix will do.
	beats := 1 + ((rank+1)*0x9E3779B97F4A7C15>>32)%beatsMax
	*v = visit{
		content: c.id("/content/", rank),
		user:    c.id("user-", c.random.Uint64N(c.users)),
		step:    uint8((100 + beats - 1) / beats),
		state:   reading,
	}
}

func (c *Crowd) id(prefix string, n uint64) uint64 {
	c.name = strconv.AppendUint(append(c.name[:0], prefix...), n, 10)
	return xxhash.Sum64(c.name)
}
