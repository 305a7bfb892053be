package parquet

import (
	"context"
	"slices"

	"github.com/lectern/lectern/storage"
)

// topKeysMax bounds how many groups, and then how many pairs, Top holds at once.
// Where there are more it goes over the rows several times, for a part of them
// each: time, in place of memory. A group takes some 90 bytes, a pair 25.
const topKeysMax = 1 << 19

// Top implements storage.Reader. It goes over the rows twice: for the sums of
// all groups, and for the number of different others of the few that are the
// answer, so that memory goes by groups and not by pairs. Files and row groups
// whose statistics say that nothing in them is asked for are not read.
func (r *Reader) Top(ctx context.Context, q storage.TopQuery) ([]storage.TopRow, error) {
	if q.Limit <= 0 {
		return nil, nil
	}
	var top []storage.TopRow
	err := r.again(ctx, func() (err error) {
		top, err = r.top(ctx, &q, topKeysMax)
		return err
	})
	return top, err
}

func (r *Reader) top(ctx context.Context, q *storage.TopQuery, keysMax int) ([]storage.TopRow, error) {
	files, err := r.snapshot(ctx, reads, q.Since/secondsPerDay)
	if err != nil {
		return nil, err
	}
	t := topping{query: q, wanted: wantedRows(q), ids: colContent, others: colUser, coarsest: uint64(storage.CoarseUsers), keysMax: keysMax}
	if q.By == storage.ByUser {
		t.ids, t.others, t.coarsest = colUser, colContent, uint64(storage.CoarseNot)
	}
	t.seek = seeker{reader: r, files: files, wanted: t.wanted, passes: 2}
	top, err := t.sums(ctx)
	if err == nil {
		err = t.count(ctx, top)
	}
	return top, err
}

// topping is one question that is being answered.
type topping struct {
	query       *storage.TopQuery
	wanted      rowRange
	ids, others int    // columns
	coarsest    uint64 // of the rows that have an id
	keysMax     int
	seek        seeker
}

// sums returns the answer without the others.
func (t *topping) sums(ctx context.Context) ([]storage.TopRow, error) {
	best := newBest(t.query)
	table := newKeyTable(t.keysMax)
	var rows []storage.TopRow // beside the table's keys
	columns := []int{colStream, colMinute, t.ids, colOpens, colReads, colFinishes, colSaves, colShares, colDwell, colCoarse, colSkipped, colVariant}
	for part := (part{}); ; {
		table.clear()
		rows = rows[:0]
		err := t.seek.scan(ctx, columns, func(s *scan) {
			v := &s.values
			last := -1 // of the row before: rows of a content lie together
			for i := range s.rows {
				stream, id := v[colStream][i], v[t.ids][i]
				if !t.wanted.has(stream, v[colMinute][i]) || v[colCoarse][i] > t.coarsest || v[colVariant][i] > 0 {
					continue
				}
				if last < 0 || rows[last].ID != id || uint64(rows[last].Stream) != stream {
					hash := table.hash(id, stream)
					if !part.has(hash) {
						continue
					}
					var fresh bool
					if last, fresh = table.find(hash, id, stream); fresh {
						rows = append(rows, storage.TopRow{Stream: uint16(stream), ID: id})
					}
					if table.full() {
						rows = splitRows(table, rows, &part)
						t.seek.passes = 1 + part.passes()
						last = -1
						if !part.has(hash) {
							continue
						}
						last, _ = table.find(hash, id, stream)
					}
				}
				sum := &rows[last]
				weight := 1 + v[colSkipped][i]
				sum.Opens += v[colOpens][i] * weight
				sum.Reads += v[colReads][i] * weight
				sum.Finishes += v[colFinishes][i] * weight
				sum.Saves += v[colSaves][i] * weight
				sum.Shares += v[colShares][i] * weight
				sum.Dwell += v[colDwell][i] * weight
			}
		})
		if err != nil {
			return nil, err
		}
		for i := range rows {
			best.offer(&rows[i])
		}
		if !part.next() {
			return best.rows(), nil
		}
	}
}

// splitRows halves the part that is being added up, and forgets the rows of the
// other half.
func splitRows(table *keyTable, rows []storage.TopRow, part *part) []storage.TopRow {
	part.split()
	table.clear()
	kept := rows[:0]
	for i := range rows {
		if hash := table.hash(rows[i].ID, uint64(rows[i].Stream)); part.has(hash) {
			table.find(hash, rows[i].ID, uint64(rows[i].Stream))
			kept = append(kept, rows[i])
		}
	}
	return kept
}

// count adds the others to the answer: how many different ones each row has.
func (t *topping) count(ctx context.Context, top []storage.TopRow) error {
	answer := newKeyTable(len(top) + 1)
	for i := range top {
		answer.find(answer.hash(top[i].ID, uint64(top[i].Stream)), top[i].ID, uint64(top[i].Stream))
	}
	if t.ids == colContent {
		t.seek.wanted.contents = make([]uint64, 0, len(top)) // files lie in their order
		for i := range top {
			t.seek.wanted.contents = append(t.seek.wanted.contents, top[i].ID)
		}
		slices.Sort(t.seek.wanted.contents)
	}
	pairs := newKeyTable(t.keysMax)
	first := t.seek.passes - 1
	for part := (part{}); ; {
		pairs.clear()
		err := t.seek.scan(ctx, []int{colStream, colMinute, t.ids, t.others, colCoarse, colVariant}, func(s *scan) {
			v := &s.values
			for i := range s.rows {
				stream, id := v[colStream][i], v[t.ids][i]
				if !t.wanted.has(stream, v[colMinute][i]) || v[colCoarse][i] != uint64(storage.CoarseNot) || v[colVariant][i] > 0 {
					continue
				}
				at, ok := answer.lookup(answer.hash(id, stream), id, stream)
				if !ok {
					continue
				}
				other := v[t.others][i]
				hash := pairs.hash(other, uint64(at))
				if !part.has(hash) {
					continue
				}
				pairs.find(hash, other, uint64(at))
				if pairs.full() {
					part.split()
					pairs.keep(part)
					t.seek.passes = first + part.passes()
				}
			}
		})
		if err != nil {
			return err
		}
		for _, pair := range pairs.keys {
			top[pair.b].Others++
		}
		if !part.next() {
			return nil
		}
	}
}
