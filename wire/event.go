package wire

// Kind says what a reader did.
type Kind uint8

// The kinds. 5 to 7 are refused until they are named.
const (
	KindOpen   Kind = 0 // opened the content
	KindRead   Kind = 1 // kept reading: a heartbeat
	KindFinish Kind = 2 // reached the end
	KindSave   Kind = 3 // kept it for later
	KindShare  Kind = 4 // passed it on

	Kinds = 5 // the number of named kinds
)

var kindWords = [Kinds]string{"open", "read", "finish", "save", "share"}

// String returns the kind's word, or "unknown".
func (k Kind) String() string {
	if k < Kinds {
		return kindWords[k]
	}
	return "unknown"
}

// Event is one thing that one reader did with one piece of content.
type Event struct {
	Content uint64 // id of the content; xxHash64 of its text where it has no number
	User    uint64 // id of the reader, likewise
	At      uint32 // milliseconds after the frame's time, at most AtMax
	Dwell   uint32 // milliseconds read since this reader's previous event on this content, at most DwellMax
	Kind    Kind
	// Progress is how far the reader got, 0 to 100. It is meaningful if and
	// only if HasProgress.
	Progress    uint8
	HasProgress bool
}
