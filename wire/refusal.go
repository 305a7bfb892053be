package wire

// Refusal is the reason for which a frame is not taken: one of a closed list.
// The zero value, Accepted, means that there is no reason. The same word stands
// in SPEC.md, in the vectors, in the metric's label, in the ledger, and in the
// refusal frame. A Refusal is an error; compare it with ==.
type Refusal uint8

// The closed list. The first group is found in the header alone, the second in
// the body, the third by the receiver's state.
const (
	Accepted Refusal = iota

	RefusedShort   // fewer bytes than a header
	RefusedMagic   // the first two bytes are not the magic
	RefusedVersion // another protocol version
	RefusedType    // an unknown frame type
	RefusedFlags   // a reserved flag is set
	RefusedSize    // size is smaller than a header (and tag), or larger than what is there
	RefusedCount   // count cannot fit the body, or the body ends before or after count events
	RefusedStream  // the reserved stream
	RefusedNumber  // sequence or position (with count) reaches 2^48

	RefusedLength   // an id length of 9 to 15
	RefusedInherit  // the first event of a frame inherits an id
	RefusedKind     // a kind that has no name yet
	RefusedProgress // progress above 100
	RefusedName     // a name that is cut short, of no known attribute, no such text, or another's id
	RefusedBody     // the body of a hello, ack or refusal frame is not as its type demands

	RefusedSealed      // sealed, and the receiver holds no secret for it, or the tag is wrong
	RefusedUnsealed    // not sealed, where the stream, the source or the session demands it
	RefusedTime        // sealed, and too far ahead of the receiver's clock, or too far behind it to open a source
	RefusedUnexpected  // a type that is not taken in this place: an ack sent to a collector, a hello in a datagram, a datagram of a session's source
	RefusedTruncated   // the datagram was larger than the receiver's buffer
	RefusedRest        // what follows a refused frame in the same datagram
	RefusedSequence    // a stream's sequence did not follow the one before it
	RefusedPosition    // the position contradicts the source's other frames
	RefusedSources     // no room for another source
	RefusedConnections // no room for another connection
	RefusedIdle        // the connection was silent for too long, or stopped inside a frame
	RefusedCredit      // more bytes were sent than the credit of the last acks allows
	RefusedForgotten   // the collector does not know this source, and the frame is not its first

	refusals // the number of values, for tables indexed by Refusal
)

// Refusals is the number of values of Refusal, Accepted included: the size of a
// table indexed by it.
const Refusals = int(refusals)

var refusalWords = [Refusals]string{
	Accepted:           "accepted",
	RefusedShort:       "short",
	RefusedMagic:       "magic",
	RefusedVersion:     "version",
	RefusedType:        "type",
	RefusedFlags:       "flags",
	RefusedSize:        "size",
	RefusedCount:       "count",
	RefusedStream:      "stream",
	RefusedNumber:      "number",
	RefusedLength:      "length",
	RefusedInherit:     "inherit",
	RefusedKind:        "kind",
	RefusedProgress:    "progress",
	RefusedName:        "name",
	RefusedBody:        "body",
	RefusedSealed:      "sealed",
	RefusedUnsealed:    "unsealed",
	RefusedTime:        "time",
	RefusedUnexpected:  "unexpected",
	RefusedTruncated:   "truncated",
	RefusedRest:        "rest",
	RefusedSequence:    "sequence",
	RefusedPosition:    "position",
	RefusedSources:     "sources",
	RefusedConnections: "connections",
	RefusedIdle:        "idle",
	RefusedCredit:      "credit",
	RefusedForgotten:   "forgotten",
}

// String returns the refusal's word.
func (r Refusal) String() string {
	if int(r) < Refusals {
		return refusalWords[r]
	}
	return "unknown"
}

// Error makes a Refusal an error. Accepted is not an error: compare before you
// return it as one.
func (r Refusal) Error() string { return "frame refused: " + r.String() }

// ParseRefusal returns the refusal with this word. The word of Accepted is not
// a refusal.
func ParseRefusal(word string) (Refusal, bool) {
	for r := Accepted + 1; r < refusals; r++ {
		if refusalWords[r] == word {
			return r, true
		}
	}
	return Accepted, false
}
