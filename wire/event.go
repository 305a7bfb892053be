package wire

// Kind says what a reader did.
type Kind uint8

// The kinds. 7 is refused until it is named.
const (
	KindOpen   Kind = 0 // opened the content
	KindRead   Kind = 1 // kept reading: a heartbeat
	KindFinish Kind = 2 // reached the end
	KindSave   Kind = 3 // kept it for later
	KindShare  Kind = 4 // passed it on

	// What follows is no reading: it is of the content's headline, in one of its
	// variants, where others are listed with it.
	KindImpression Kind = 5 // was shown the headline
	KindClick      Kind = 6 // followed it

	Kinds = 7 // the number of named kinds
)

// VariantMax is the largest number of a headline's variant.
const VariantMax = 255

var kindWords = [Kinds]string{"open", "read", "finish", "save", "share", "impression", "click"}

// OfHeadline says whether the kind is one of a headline, and not of reading.
func (k Kind) OfHeadline() bool { return k >= KindImpression }

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
	// Dwell is how many milliseconds were read since this reader's previous event
	// on this content, at most DwellMax. Of a headline's event it is the variant,
	// where 0 is 1: Variant returns it.
	Dwell uint32
	Kind  Kind
	// Progress is how far the reader got, 0 to 100. It is meaningful if and
	// only if HasProgress.
	Progress    uint8
	HasProgress bool
}

// Variant is which variant of the headline an impression or a click is of, 1 to
// VariantMax. It is 0 for all other kinds.
func (e *Event) Variant() uint8 {
	if !e.Kind.OfHeadline() {
		return 0
	}
	return max(1, uint8(e.Dwell))
}
