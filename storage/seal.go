package storage

// Source is the durable state of one numbering: what the books need to know of
// its positions, and which frames are new. The collector's; a spool keeps it by
// ID and gives it back after a restart.
type Source struct {
	ID       uint64
	Base     uint64 // smallest position seen
	End      uint64 // largest position + count seen
	Newest   uint64 // position of the frame with the largest sequence
	Lost     uint64 // events of the span that have not come
	Next     uint64 // one above the largest sequence seen
	LastSeen int64  // milliseconds of its spool's running time: comparable with that of the spool's other sources alone
	Stream   uint16
	Session  bool // it is acknowledged
}

// Seal is all that one cut brought, of one instant: what becomes durable
// together, or not at all.
type Seal struct {
	Window    Window
	Rows      []Row
	Books     []Book
	Sources   []Source // those that moved
	Forgotten []uint64 // ids of those that the collector let go
}
