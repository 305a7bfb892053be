package storage

import (
	"cmp"
	"math"
)

// Row is what one reader did with one piece of content in one minute.
type Row struct {
	Content  uint64
	User     uint64
	Dwell    uint64 // milliseconds read
	First    int64  // earliest event, Unix milliseconds
	Last     int64  // latest event, Unix milliseconds
	Minute   uint32 // the minute's start, Unix seconds, a multiple of 60
	Opens    uint32
	Reads    uint32
	Finishes uint32
	Saves    uint32
	Shares   uint32
	Stream   uint16
	Progress uint8 // the furthest seen, percent
}

// Events is the number of accepted events that the row adds up.
func (r *Row) Events() uint64 {
	return uint64(r.Opens) + uint64(r.Reads) + uint64(r.Finishes) + uint64(r.Saves) + uint64(r.Shares)
}

// Day is the partition that the row belongs to: days since 1970-01-01 UTC.
func (r *Row) Day() uint32 { return r.Minute / secondsPerDay }

const secondsPerDay = 24 * 60 * 60

// CompareKeys orders rows by their key: day, stream, content, minute, user.
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
	return cmp.Compare(a.User, b.User)
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
	r.Dwell += o.Dwell
	r.Progress = max(r.Progress, o.Progress)
	r.First = min(r.First, o.First)
	r.Last = max(r.Last, o.Last)
}
