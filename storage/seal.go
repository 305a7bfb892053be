package storage

// Source is the durable state of one numbering: what the books need to know of
// its positions, and which frames are new. The collector's; a spool keeps it by
// ID and gives it back after a restart.
type Source struct {
	ID       uint64
	Base     uint64 // smallest position seen
	End      uint64 // largest position + count seen
	Newest   uint64 // position of the frame with the largest sequence
	Lost     uint64 // events that have not come, of those that this collector's books have as sent
	Next     uint64 // one above the largest sequence seen
	Apart    uint64 // of End − Base, events that another collector's books have: its spool was taken over
	Met      int64  // Unix milliseconds: when it was met
	LastSeen int64  // milliseconds of its spool's running time: comparable with that of the spool's other sources alone
	Stream   uint16
	Session  bool // it is acknowledged
	Standing Standing
}

// Standing is what a source has shown for itself, and so what may go for its sake
// where room is short. The greater, the more.
type Standing uint8

// What sources have shown.
const (
	Stranger Standing = iota + 1 // nothing: anybody can make it up; 0 counts as this, too
	Lived                        // it has been heard for some time
	Proved                       // its frames are sealed, by somebody who has the stream's secret
)

// Seal is all that one cut brought, of one instant: what becomes durable
// together, or not at all.
type Seal struct {
	Window    Window
	Rows      []Row
	Books     []Book
	Sources   []Source // those that moved
	Forgotten []uint64 // ids of those that the collector forgot
}

// Span is what a collector that runs no more has seen of the source. seal is a
// number behind its last.
func (s *Source) Span(at int64, seal uint64) Span {
	return Span{Source: s.ID, Met: s.Met, Base: s.Base, End: s.End, Sent: s.End - s.Base - s.Apart, Lost: s.Lost, At: at, Seal: seal, Ended: SpanLeft}
}
