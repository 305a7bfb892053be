package collector

import "github.com/lectern/lectern/wire"

// Streams say which streams there are, and what each of them may do. The zero value
// takes every stream.
type Streams struct {
	Known []Stream // those with a name; no two have the same number
	// Unknown is what holds for every other number. Its share, keys and rate are of
	// all of these together; they have no name, no number and no secret.
	Unknown Stream
	// RefuseUnknown has frames of every other number refused.
	RefuseUnknown bool
}

// Stream is one application or site, and what the operator says of it.
type Stream struct {
	Name    string // what people call it
	Number  uint16 // what frames call it
	Seal    Seal   // whether its frames must be sealed
	Secret  string // the directory of the keys that they are sealed with; "" without
	Share   int    // its weight when room is short; 0 counts as 1
	KeysMax int    // keys between two cuts, of all loops together; 0: no limit of its own
	RateMax int    // events a second; 0: no limit
	Users   Users  // what is kept of who read
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
	UsersDaily               // a hash of them that nobody can make again once the day is over
	UsersNone                // nothing: all events count under user 0
)

// streamTable finds what holds for a stream by its number. It never changes: a
// reload makes another.
type streamTable struct {
	of     [wire.StreamReserved + 1]uint16 // places in list, 0 for every unknown number
	list   []Stream                        // the first holds for the unknown ones
	refuse bool                            // the unknown ones
}

func newStreamTable(s *Streams) *streamTable {
	t := &streamTable{list: append([]Stream{s.Unknown}, s.Known...), refuse: s.RefuseUnknown}
	for i := range s.Known {
		t.of[s.Known[i].Number] = uint16(i + 1)
	}
	return t
}

// find is what holds for a stream.
func (t *streamTable) find(number uint16) *Stream { return &t.list[t.of[number]] }

// refuses says whether a stream's frames are refused for its number.
func (t *streamTable) refuses(number uint16) bool { return t.refuse && t.of[number] == 0 }
