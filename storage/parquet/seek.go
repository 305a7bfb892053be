package parquet

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/lectern/lectern/storage"
)

// rowRange says which rows a question is about.
type rowRange struct {
	since   uint64         // minutes from this one on, milliseconds
	streams *[1 << 16]bool // nil for all
	low, up uint16         // the lowest and the highest of them
	// contents are those that the rows may have, sorted; nil for all. Rows of others
	// may be among those that are given.
	contents []uint64
}

func wantedRows(q *storage.TopQuery) rowRange {
	w := rowRange{since: uint64(q.Since) * 1000, up: 1<<16 - 1}
	if len(q.Streams) == 0 {
		return w
	}
	w.streams, w.low, w.up = new([1 << 16]bool), 1<<16-1, 0
	for _, s := range q.Streams {
		w.streams[s] = true
		w.low, w.up = min(w.low, s), max(w.up, s)
	}
	return w
}

// has says of a row, by its stream and its minute, whether it is one of them.
func (w *rowRange) has(stream, minute uint64) bool {
	return minute >= w.since && (w.streams == nil || w.streams[uint16(stream)])
}

// groups returns the row groups of a file that may have such rows, by what their
// statistics say; one without any may.
func (w *rowRange) groups(o *opened) (all []parquet.RowGroup) {
	for i, g := range o.parquet.RowGroups() {
		columns := o.parquet.Metadata().RowGroups[i].Columns
		_, last, ok := bounds(&columns[colMinute].MetaData.Statistics)
		if ok && last >= 0 && uint64(last) < w.since {
			continue
		}
		first, last, ok := bounds(&columns[colStream].MetaData.Statistics)
		if ok && (last < int64(w.low) || first > int64(w.up)) {
			continue
		}
		first, last, ok = bounds(&columns[colContent].MetaData.Statistics)
		if ok && w.contents != nil && !anyWithin(w.contents, uint64(first), uint64(last)) {
			continue
		}
		all = append(all, g)
	}
	return all
}

// anyWithin reports whether one of the sorted values is from first to last. Where
// they are in no order, they are not what was asked for, and rule nothing out.
func anyWithin(sorted []uint64, first, last uint64) bool {
	i, _ := slices.BinarySearch(sorted, first)
	return first > last || i < len(sorted) && sorted[i] <= last
}

// bounds reads the smallest and the largest value of a column of whole numbers.
func bounds(s *format.Statistics) (first, last int64, ok bool) {
	switch {
	case len(s.MinValue) == 8 && len(s.MaxValue) == 8:
		return int64(binary.LittleEndian.Uint64(s.MinValue)), int64(binary.LittleEndian.Uint64(s.MaxValue)), true
	case len(s.MinValue) == 4 && len(s.MaxValue) == 4:
		return int64(int32(binary.LittleEndian.Uint32(s.MinValue))), int64(int32(binary.LittleEndian.Uint32(s.MaxValue))), true
	}
	return 0, 0, false
}

// seeker goes over the rows of files that may be asked for, once or more often.
type seeker struct {
	reader *Reader
	files  []entry
	wanted rowRange
	passes int   // how many it will be
	done   int64 // rows that were read or left out
}

// scan calls visit with each batch of rows of the wanted columns.
func (s *seeker) scan(ctx context.Context, columns []int, visit func(*scan)) error {
	var all int64
	for i := range s.files {
		all += s.files[i].rows
	}
	before := s.done
	for i := range s.files {
		e := &s.files[i]
		after := s.done + e.rows
		err := s.reader.scanFile(ctx, e, s.wanted.groups, columns, func(b *scan) {
			visit(b)
			s.done += int64(b.rows)
			s.reader.tell(s.done, max(all*int64(s.passes), s.done))
		})
		if err != nil {
			return err
		}
		s.done = after
	}
	s.done = before + all
	return nil
}
