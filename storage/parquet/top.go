package parquet

import (
	"cmp"
	"context"
	"slices"

	"github.com/lectern/lectern/storage"
)

// group is what Top adds up by.
type group struct {
	id     uint64
	stream uint16
}

// Top implements storage.Reader. It goes over the rows twice: for the sums of
// all groups, and for the number of different others of the few that are the
// answer, so that memory goes by groups and not by pairs.
func (r *Reader) Top(ctx context.Context, q storage.TopQuery) ([]storage.TopRow, error) {
	if q.Limit <= 0 {
		return nil, nil
	}
	var top []storage.TopRow
	err := r.again(ctx, func() (err error) {
		top, err = r.top(ctx, &q)
		return err
	})
	return top, err
}

func (r *Reader) top(ctx context.Context, q *storage.TopQuery) ([]storage.TopRow, error) {
	files, err := r.snapshot(ctx, reads, q.Since/secondsPerDay)
	if err != nil {
		return nil, err
	}
	ids, others := colContent, colUser
	if q.By == storage.ByUser {
		ids, others = colUser, colContent
	}
	wanted := selector(q)

	sums := make(map[group]*storage.TopRow)
	columns := []int{colStream, colMinute, ids, colOpens, colReads, colFinishes, colSaves, colShares, colDwell}
	err = r.scan(ctx, files, columns, func(s *scan) {
		v := &s.values
		for i := range s.rows {
			if !wanted(v[colStream][i], v[colMinute][i]) {
				continue
			}
			g := group{v[ids][i], uint16(v[colStream][i])}
			sum, ok := sums[g]
			if !ok {
				sum = &storage.TopRow{Stream: g.stream, ID: g.id}
				sums[g] = sum
			}
			sum.Opens += v[colOpens][i]
			sum.Reads += v[colReads][i]
			sum.Finishes += v[colFinishes][i]
			sum.Saves += v[colSaves][i]
			sum.Shares += v[colShares][i]
			sum.Dwell += v[colDwell][i]
		}
	})
	if err != nil {
		return nil, err
	}
	top := best(sums, q.Limit)

	different := make(map[group]map[uint64]struct{}, len(top))
	for i := range top {
		different[group{top[i].ID, top[i].Stream}] = make(map[uint64]struct{})
	}
	err = r.scan(ctx, files, []int{colStream, colMinute, ids, others}, func(s *scan) {
		v := &s.values
		for i := range s.rows {
			if set, ok := different[group{v[ids][i], uint16(v[colStream][i])}]; ok && wanted(v[colStream][i], v[colMinute][i]) {
				set[v[others][i]] = struct{}{}
			}
		}
	})
	for i := range top {
		top[i].Others = uint64(len(different[group{top[i].ID, top[i].Stream}]))
	}
	return top, err
}

// selector says of a row, by its stream and its minute in milliseconds, whether
// the question is about it.
func selector(q *storage.TopQuery) func(stream, minute uint64) bool {
	since := uint64(q.Since) * 1000
	if len(q.Streams) == 0 {
		return func(_, minute uint64) bool { return minute >= since }
	}
	var streams [1 << 16]bool
	for _, s := range q.Streams {
		streams[s] = true
	}
	return func(stream, minute uint64) bool { return minute >= since && streams[uint16(stream)] }
}

// best returns the first rows in the order that storage.Reader promises. Of
// equal ones of different streams the lower stream comes first.
func best(sums map[group]*storage.TopRow, limit int) []storage.TopRow {
	top := make([]storage.TopRow, 0, len(sums))
	for _, sum := range sums {
		top = append(top, *sum)
	}
	slices.SortFunc(top, func(a, b storage.TopRow) int {
		return cmp.Or(
			cmp.Compare(b.Opens, a.Opens), cmp.Compare(b.Reads, a.Reads), cmp.Compare(b.Dwell, a.Dwell),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.Stream, b.Stream),
		)
	})
	return slices.Clone(top[:min(limit, len(top))])
}
