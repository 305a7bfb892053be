// Package codec has how rows and books are written, in the records of the log and in
// segments. FORMAT.md, beside package spool, draws it.
package codec

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/lectern/lectern/storage"
)

// FORMAT.md draws how rows are encoded: a row of one event takes little more than
// the event did on the wire.

const (
	// RowSizeMin is the least bytes of a row, without its period.
	RowSizeMin = 2 + 2

	// RowSizeMax is the most bytes of a row, with its period in front.
	RowSizeMax = PeriodSize + 2 + 2*8 + 5*binary.MaxVarintLen32 + 2*8 + binary.MaxVarintLen64 + 1 + 3

	periodMark = 0xFF // in place of lengths: the period of the rows behind it follows
	// PeriodSize is the bytes of a period.
	PeriodSize = 1 + 4 + 2 + 1 + 3 + 1

	sameContent = 15 // length of a content that is that of the row before

	shapeKinds    = 7      // bits of the kind, where the row is one event,
	shapeCounters = 5      // or this: all counters follow
	shapeLast     = 1 << 3 // last follows, it is not first
	shapeDwell    = 4      // where the bytes of dwell are, 3 for a varint
	shapeProgress = 1 << 6 // progress follows
	shapeOutside  = 1 << 7 // first and last in full: one is outside of the minute

	progressApart = 1 << 7 // of progress: the latest is another, or was before last

	millisPerMinute = 60_000
)

// period is what rows that stand together have in common.
type period struct {
	minute, skipped uint32
	stream          uint16
	coarse          storage.Coarse
	variant         uint8
}

func periodOf(r *storage.Row) period {
	return period{r.Minute, r.Skipped, r.Stream, r.Coarse, r.Variant}
}

// RowEncoder appends rows to buf. The zero value is ready.
type RowEncoder struct {
	Buf     []byte
	period  period
	begun   bool // a period was written
	content uint64
}

// Add appends a row.
func (e *RowEncoder) Add(r *storage.Row) {
	if !e.runs(r) {
		e.begun, e.period, e.content = true, periodOf(r), 0
		e.Buf = le.AppendUint16(le.AppendUint32(append(e.Buf, periodMark), r.Minute), r.Stream)
		e.Buf = append(e.Buf, byte(r.Coarse), byte(r.Skipped), byte(r.Skipped>>8), byte(r.Skipped>>16), r.Variant)
	}
	e.Buf = slices.Grow(e.Buf, RowSizeMax)
	n := len(e.Buf)
	e.Buf = e.Buf[:n+e.encode(e.Buf[n:n+RowSizeMax], r)]
}

// encode writes a row of the running period to b and returns its length.
func (e *RowEncoder) encode(b []byte, r *storage.Row) int {
	content := sameContent
	n := 2
	if r.Content != e.content {
		content = byteLen(r.Content)
		le.PutUint64(b[n:], r.Content)
		n += content
		e.content = r.Content
	}
	user := byteLen(r.User)
	le.PutUint64(b[n:], r.User)
	n += user
	b[0] = byte(content<<4 | user)

	shape, single := oneEvent(r)
	if !single {
		shape = shapeCounters
		for _, c := range countersOf(r) {
			n += binary.PutUvarint(b[n:], uint64(*c))
		}
	}
	start := int64(r.Minute) * 1000
	switch first, last := uint64(r.First-start), uint64(r.Last-start); {
	case first >= millisPerMinute || last >= millisPerMinute:
		shape |= shapeOutside
		le.PutUint64(b[n:], uint64(r.First))
		le.PutUint64(b[n+8:], uint64(r.Last))
		n += 16
	case first == last:
		le.PutUint16(b[n:], uint16(first))
		n += 2
	default:
		shape |= shapeLast
		le.PutUint16(b[n:], uint16(first))
		le.PutUint16(b[n+2:], uint16(last))
		n += 4
	}
	if r.Dwell <= math.MaxUint16 {
		size := byteLen(r.Dwell)
		shape |= byte(size << shapeDwell)
		le.PutUint16(b[n:], uint16(r.Dwell))
		n += size
	} else {
		shape |= 3 << shapeDwell
		n += binary.PutUvarint(b[n:], r.Dwell)
	}
	if r.Progress|r.Resume > 0 {
		shape |= shapeProgress
		b[n] = r.Progress
		n++
		if r.Resume != r.Progress+1 || r.ResumeLag > 0 {
			b[n-1] |= progressApart
			b[n] = r.Resume
			le.PutUint16(b[n+1:], r.ResumeLag)
			n += 3
		}
	}
	b[1] = shape
	return n
}

// countersOf are the counters that a row has, in the order in which they are written:
// those of reading, or of a headline.
func countersOf(r *storage.Row) []*uint32 {
	if r.Variant > 0 {
		return []*uint32{&r.Impressions, &r.Clicks}
	}
	return []*uint32{&r.Opens, &r.Reads, &r.Finishes, &r.Saves, &r.Shares}
}

// RowGroups encodes the rows of a seal, which come in no order, each period's
// together. The zero value is ready, and keeps its memory for the next seal.
type RowGroups struct {
	encoders []RowEncoder // the first used ones have something
	used     int
	recent   int    // where the row before went
	Newest   uint32 // of the minutes of the rows
}

// groupsMax bounds the search for a period: rows of more have their periods in front.
const groupsMax = 64

// Encode takes all rows.
func (g *RowGroups) Encode(rows []storage.Row) {
	g.trim()
	g.used, g.recent, g.Newest = 0, 0, 0
	for i := range rows {
		r := &rows[i]
		g.of(r).Add(r)
		g.Newest = max(g.Newest, r.Minute)
	}
}

// trim releases memory where it is far more than the rows of the last seal took:
// each of the encoders may have had a large period once.
func (g *RowGroups) trim() {
	const spare = 1 << 20
	kept := 0
	for i := range g.encoders {
		kept += cap(g.encoders[i].Buf)
	}
	if kept > 4*g.Size()+spare {
		g.encoders = nil
		g.used = 0
	}
}

// of returns the encoder of a row's period.
func (g *RowGroups) of(r *storage.Row) *RowEncoder {
	if g.recent < g.used && g.encoders[g.recent].runs(r) {
		return &g.encoders[g.recent]
	}
	for g.recent = 0; g.recent < g.used; g.recent++ {
		if g.encoders[g.recent].runs(r) {
			return &g.encoders[g.recent]
		}
	}
	if g.used == groupsMax {
		g.recent = groupsMax - 1
		return &g.encoders[g.recent]
	}
	if g.used == len(g.encoders) {
		g.encoders = append(g.encoders, RowEncoder{})
	}
	e := &g.encoders[g.used]
	*e = RowEncoder{Buf: e.Buf[:0]}
	g.used++
	return e
}

// Size is how many bytes AppendTo appends.
func (g *RowGroups) Size() (n int) {
	for i := range g.encoders[:g.used] {
		n += len(g.encoders[i].Buf)
	}
	return n
}

// AppendTo appends the rows that were encoded.
func (g *RowGroups) AppendTo(b []byte) []byte {
	for i := range g.encoders[:g.used] {
		b = append(b, g.encoders[i].Buf...)
	}
	return b
}

// runs says that a row is of the running period.
func (e *RowEncoder) runs(r *storage.Row) bool {
	return e.begun && e.period == periodOf(r)
}

// byteLen is the number of bytes of n without the zeros in front.
func byteLen(n uint64) int {
	return (bits.Len64(n) + 7) / 8
}

// oneEvent is which counter, of those that the row has, counts its only event.
func oneEvent(r *storage.Row) (kind byte, ok bool) {
	if r.Events() != 1 {
		return 0, false
	}
	return byte(r.Clicks + r.Reads + 2*r.Finishes + 3*r.Saves + 4*r.Shares), true
}

// RowDecoder reads what a RowEncoder wrote. Whatever the bytes are, it reads no
// others.
type RowDecoder struct {
	Rest    []byte
	period  period
	begun   bool
	content uint64
}

// Next reads the next row into r, and says whether there is a good one.
func (d *RowDecoder) Next(r *storage.Row) bool {
	if len(d.Rest) >= RowSizeMax {
		n := d.decode(d.Rest, r)
		d.Rest = d.Rest[max(0, n):]
		return n > 0
	}
	// The last rows: with zeros behind, so that nothing is read beyond the end.
	var b [RowSizeMax]byte
	left := copy(b[:], d.Rest)
	n := d.decode(b[:], r)
	if n <= 0 || n > left {
		return false
	}
	d.Rest = d.Rest[n:]
	return true
}

// decode reads a row, with its period where that is in front, and returns its
// length, 0 where it is not good. b has RowSizeMax bytes at least.
func (d *RowDecoder) decode(b []byte, r *storage.Row) int {
	n := 0
	if b[0] == periodMark {
		d.begun, d.content = true, 0
		d.period = period{le.Uint32(b[1:]), le.Uint32(b[7:]) >> 8, le.Uint16(b[5:]), storage.Coarse(b[7]), b[11]}
		n = PeriodSize
	}
	content, user, shape := int(b[n]>>4), int(b[n]&15), b[n+1]
	n += 2
	if !d.begun || d.period.coarse >= storage.Coarses || content > 8 && content != sameContent || user > 8 {
		return 0
	}
	if content != sameContent {
		d.content = le.Uint64(b[n:]) & mask(content)
		n += content
	}
	p := &d.period
	*r = storage.Row{Content: d.content, User: le.Uint64(b[n:]) & mask(user), Minute: p.minute, Skipped: p.skipped, Stream: p.stream, Coarse: p.coarse, Variant: p.variant}
	n += user
	if n = d.counters(b, n, shape, r); n == 0 {
		return 0
	}
	start := int64(p.minute) * 1000
	switch {
	case shape&shapeOutside != 0:
		r.First, r.Last = int64(le.Uint64(b[n:])), int64(le.Uint64(b[n+8:]))
		n += 16
	case shape&shapeLast != 0:
		r.First, r.Last = start+int64(le.Uint16(b[n:])), start+int64(le.Uint16(b[n+2:]))
		n += 4
	default:
		r.First = start + int64(le.Uint16(b[n:]))
		r.Last = r.First
		n += 2
	}
	if dwell := int(shape >> shapeDwell & 3); dwell < 3 {
		r.Dwell = uint64(le.Uint16(b[n:])) & mask(dwell)
		n += dwell
	} else {
		value, bytes := binary.Uvarint(b[n:])
		if bytes <= 0 {
			return 0
		}
		r.Dwell = value
		n += bytes
	}
	if shape&shapeProgress != 0 {
		r.Progress, r.Resume = b[n]&^progressApart, b[n]&^progressApart+1
		n++
		if b[n-1]&progressApart != 0 {
			r.Resume, r.ResumeLag = b[n], le.Uint16(b[n+1:])
			n += 3
			if r.Progress|r.Resume == 0 {
				return 0
			}
		}
	}
	return n
}

// counters reads the counters at n and returns what is behind them, 0 where one is
// not good.
func (d *RowDecoder) counters(b []byte, n int, shape byte, r *storage.Row) int {
	all := countersOf(r)
	switch kind := int(shape & shapeKinds); {
	case kind < len(all):
		*all[kind] = 1
	case kind != shapeCounters:
		return 0
	default:
		for _, to := range all {
			if b[n] < 0x80 { // as nearly all are
				*to = uint32(b[n])
				n++
				continue
			}
			value, size := binary.Uvarint(b[n:])
			if size <= 0 || size > binary.MaxVarintLen32 || value > math.MaxUint32 {
				return 0
			}
			*to = uint32(value)
			n += size
		}
	}
	return n
}

// mask keeps that number of bytes of a number, the lowest.
func mask(bytes int) uint64 { return 1<<(8*bytes) - 1 }
