package collector

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// Streams say which streams there are, and what each of them may do. The zero value
// takes every stream.
type Streams struct {
	Known []Stream // those with a name; no two have the same number
	// Unknown is what holds for every other number. Its share, keys and rate are of
	// all of these together; they have no name, no number and no secret.
	Unknown Stream
	// RefuseUnknown has frames of every other number refused.
	RefuseUnknown bool
	// Audience is what emitters call this collector, or its cluster, where they seal.
	Audience string
}

// Stream is one application or site, and what the operator says of it.
type Stream struct {
	Name    string         // what people call it
	Number  uint16         // what frames call it
	Seal    Seal           // whether its frames must be sealed
	Secrets []*wire.Secret // those that are live, of one epoch each
	Share   int            // its weight when room is short; 0 counts as 1
	KeysMax int            // keys between two cuts, of all loops together; 0: no limit of its own
	RateMax int            // events a second; those above it are counted without their users; 0: no limit
	Users   Users          // what is kept of who read
	// Clients are the names in certificates by which clients of TLS may send it, and
	// nobody else may; nil: anybody.
	Clients []string
}

// Seal says whether a stream's frames must be sealed.
type Seal uint8

// What a stream can ask for.
const (
	SealOff     Seal = iota // sealed frames are refused: there is no key
	SealAllow               // sealed frames and others are taken
	SealRequire             // only sealed frames are taken
)

// Users says what is kept of who read.
type Users uint8

// What can be kept.
const (
	UsersStored Users = iota // the user ids, as they come
	UsersDaily               // a hash of them under the salt of the day of their arrival: see Options.Salt
	UsersNone                // nothing: all events count under user 0
)

// ruled is a stream, and what the loops need to go by what is said of it.
type ruled struct {
	Stream
	keys  [wire.Epochs]*streamKey // of its secrets, by epoch
	rate  rate
	names [storage.Classes]pace // of new names
}

// streamTable finds what holds for a stream by its number. It never changes: a
// reload makes another.
type streamTable struct {
	of     [wire.StreamReserved + 1]uint16 // places in list, 0 for every unknown number
	list   []ruled                         // the first holds for the unknown ones
	refuse bool                            // the unknown ones
	shares int                             // of those in list, together
}

// anyStream takes every stream, and all share alike.
var anyStream = newStreamTable(&Streams{}, nil)

// newStreamTable makes the table. The former one is nil for the first.
func newStreamTable(s *Streams, former *streamTable) *streamTable {
	t := &streamTable{list: make([]ruled, 1+len(s.Known)), refuse: s.RefuseUnknown}
	t.list[0].Stream = s.Unknown
	for i := range s.Known {
		t.list[i+1].Stream = s.Known[i]
		t.of[s.Known[i].Number] = uint16(i + 1)
	}
	for i := range t.list {
		of := &t.list[i]
		of.Share = max(1, of.Share)
		t.shares += of.Share
		of.rate.set(of.RateMax)
		of.deriveKeys(s.Audience, former)
	}
	return t
}

// find is what holds for a stream.
func (t *streamTable) find(number uint16) *ruled { return &t.list[t.of[number]] }

// known says whether there is such a stream here.
func (t *streamTable) known(number uint16) bool { return !t.refuse || t.of[number] != 0 }

// admits says whether a stream's frames are taken from somebody with these names in a
// certificate.
func (t *streamTable) admits(number uint16, names []string) bool {
	clients := t.find(number).Clients
	return t.known(number) && (clients == nil || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(clients, name) }))
}

// rules are what the operator says of streams, for all loops.
type rules struct {
	streams atomic.Pointer[streamTable]
	salts   salts
}

func newRules(o *Options) *rules {
	r := &rules{salts: salts{draw: o.Salt}}
	r.streams.Store(newStreamTable(&o.Streams, nil))
	return r
}

// SetStreams replaces what Options.Streams said. Frames that are taken from now on
// are taken by it, and Options.Salt is asked again.
func (c *Collector) SetStreams(s Streams) {
	c.rules.streams.Store(newStreamTable(&s, c.rules.streams.Load()))
	c.rules.salts.current.Store(nil)
}

// SetConfig names the configuration that is in force from now on by its hash, for the
// windows that cuts end.
func (c *Collector) SetConfig(hash uint64) { c.cuts.config.Store(hash) }

// nameless is what a shard remembers of a frame whose stream there is not: none, or
// its number.
const nameless = math.MaxUint32

// refuseStream counts a frame of a stream that there is not, or that its sender may
// not send. Anybody can make up numbers of streams that there are not, so it stands
// in the books of the reserved one then.
func (s *shard) refuseStream(h *wire.Header) wire.Refusal {
	if s.streams.known(h.Stream) {
		return s.refuseUnplaced(h, wire.RefusedStream)
	}
	s.refuseIn(wire.StreamReserved, wire.RefusedStream, h.Count)
	s.unknownStream = uint32(h.Stream)
	return wire.RefusedStream
}

// tellEvery is how often the log says the same of frames that are refused, at the most.
const tellEvery = time.Minute

// lately is what one of the shards remembers of a frame that was refused, at the place
// that of says, unless the log may not speak of it again yet. Then it is forgotten.
func (c *Collector) lately(told *int64, now int64, of func(*shard) *uint32) (name uint32, ok bool) {
	if now < *told {
		return 0, false
	}
	name = nameless
	for _, s := range c.shards {
		s.Lock()
		if last := of(s); *last != nameless {
			name, *last = *last, nameless
		}
		s.Unlock()
	}
	if name != nameless {
		*told = now + tellEvery.Milliseconds()
	}
	return name, name != nameless
}

// tellUnknown has the log say an unknown stream that was refused, if any was since it
// last did. Called about once a second.
func (c *Collector) tellUnknown(now int64) {
	if number, ok := c.lately(&c.unknownTold, now, func(s *shard) *uint32 { return &s.unknownStream }); ok {
		c.options.Logger.Warn("frames are refused whose stream has no [stream.NAME]; name it in the configuration, or set streams.unknown to take it",
			"stream", number)
	}
}

// explain says more of a refusal than its word, where there is more to say.
func (s *shard) explain(k *connection, h *wire.Header, why wire.Refusal) string {
	switch {
	case why != wire.RefusedStream:
		return s.explainSeal(h, why)
	case s.streams.admits(h.Stream, k.names):
		return "" // the word says it: the source belongs to another stream
	case !s.streams.known(h.Stream):
		return fmt.Sprintf("this collector has no stream %d; it takes those that its configuration names", h.Stream)
	}
	return fmt.Sprintf("stream %d is taken over TLS alone, from clients whose certificates have the right name", h.Stream)
}
