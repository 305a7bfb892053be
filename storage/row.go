package storage

import (
	"cmp"
	"math"
)

// Row is what one reader did with one piece of content in one minute, or, where
// Variant is not 0, how often that variant of the content's headline was shown and
// followed. Of what a row is not of, it has zeros.
type Row struct {
	Content     uint64
	User        uint64
	Dwell       uint64 // milliseconds read
	First       int64  // earliest event, Unix milliseconds
	Last        int64  // latest event, Unix milliseconds
	Minute      uint32 // the minute's start, Unix seconds, a multiple of 60
	Opens       uint32
	Reads       uint32
	Finishes    uint32
	Saves       uint32
	Shares      uint32
	Impressions uint32
	Clicks      uint32
	Skipped     uint32 // where a sender samples, how many events it left out for each that is counted, below 1<<24; 0: none
	Stream      uint16
	ResumeLag   uint16 // how long before Last the progress in Resume was seen, milliseconds
	Variant     uint8  // of the headline, 1 to 255; 0: the row is of reading
	Progress    uint8  // the furthest seen, percent
	Resume      uint8  // the latest progress seen, percent plus 1, the further of two in one millisecond; 0: none (Columns and stores have it without the 1, and 255 for none)
	Coarse      Coarse
}

// Coarse says what a row adds up beside one reader of one content. Where the room
// for keys is short, the events of a stream above its share are counted so: their
// number stays exact, and who read, or what, is given up.
type Coarse uint8

// How coarse a row is.
const (
	CoarseNot      Coarse = iota // one content, one reader
	CoarseUsers                  // one content, and readers who have no row of their own; User is 0
	CoarseContents               // contents and readers who have none; Content and User are 0
	Coarses        = iota
)

// coarseWords are the words of docs/METRICS.md.
var coarseWords = [Coarses]string{CoarseNot: "not", CoarseUsers: "users", CoarseContents: "contents"}

// String is the word that metrics have.
func (c Coarse) String() string { return coarseWords[c] }

// Weight is how many events each that the row counts stands for.
func (r *Row) Weight() uint64 { return 1 + uint64(r.Skipped) }

// Events is the number of accepted events that the row adds up.
func (r *Row) Events() uint64 {
	return uint64(r.Opens) + uint64(r.Reads) + uint64(r.Finishes) + uint64(r.Saves) + uint64(r.Shares) + uint64(r.Impressions) + uint64(r.Clicks)
}

// Day is the partition that the row belongs to: days since 1970-01-01 UTC.
func (r *Row) Day() uint32 { return r.Minute / SecondsPerDay }

// SecondsPerDay is how many seconds of Unix time a day has.
const SecondsPerDay = 24 * 60 * 60

// CompareKeys orders rows by their key: day, stream, content, minute, user, then the
// variant of a headline, how coarse they are and how they were sampled.
// The day comes first so that the rows of a partition stand together; content
// before minute so that what is read together lies together and packs well.
func CompareKeys(a, b *Row) int {
	if c := cmp.Compare(a.Day(), b.Day()); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Stream, b.Stream); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Content, b.Content); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Minute, b.Minute); c != 0 {
		return c
	}
	if c := cmp.Compare(a.User, b.User); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.Variant, b.Variant), cmp.Compare(a.Coarse, b.Coarse), cmp.Compare(a.Skipped, b.Skipped))
}

// fits says that the counters of both rows together stay within 32 bits.
func (r *Row) fits(o *Row) bool {
	return r.Events()+o.Events() <= math.MaxUint32
}

// Add adds to r another row of the same key. The counters must fit.
func (r *Row) Add(o *Row) {
	r.Opens += o.Opens
	r.Reads += o.Reads
	r.Finishes += o.Finishes
	r.Saves += o.Saves
	r.Shares += o.Shares
	r.Impressions += o.Impressions
	r.Clicks += o.Clicks
	r.Dwell += o.Dwell
	r.Progress = max(r.Progress, o.Progress)
	r.addResume(o)
	r.First = min(r.First, o.First)
	r.Last = max(r.Last, o.Last)
}

// addResume makes the later progress of both the row's, and its lag that behind the
// later Last.
func (r *Row) addResume(o *Row) {
	at, other := r.Last-int64(r.ResumeLag), o.Last-int64(o.ResumeLag)
	if o.Resume > 0 && (r.Resume == 0 || other > at || other == at && o.Resume > r.Resume) {
		r.Resume, at = o.Resume, other
	}
	if r.Resume > 0 {
		r.ResumeLag = uint16(min(max(r.Last, o.Last)-at, math.MaxUint16)) // within a minute it always fits
	}
}
