package parquet

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/lectern/lectern/storage"
)

// With room for few groups and pairs the answer is the same, in more passes.
func TestTopInParts(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	r := rand.New(rand.NewPCG(1, 2))
	want := newOracle()
	for n := range uint64(6) {
		b := randomBlock(r, s.Collector(), n+1)
		mustStore(t, s, b)
		want.take(b)
	}
	reader, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []storage.TopQuery{{Limit: 2}, {Limit: 100, By: storage.ByUser, Sort: storage.SortDwell}} {
		for _, keysMax := range []int{1, 3, 8} {
			var last, all int64
			reader.Progress = func(done, of int64) {
				if done < last || of < done {
					t.Errorf("%d rows of %d are done behind %d", done, of, last)
				}
				last, all = done, of
			}
			top, err := reader.top(t.Context(), &q, keysMax)
			if err != nil || !reflect.DeepEqual(top, want.top(q)) {
				t.Errorf("%+v with room for %d keys: %v\n got %v\nwant %v", q, keysMax, err, top, want.top(q))
			}
			if all == 0 {
				t.Error("no progress")
			}
		}
	}
}

// What the statistics rule out is not even opened to its end: of a file whose rows
// are damaged, an answer about others can be had.
func TestTopLeavesOutFiles(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	r := rand.New(rand.NewPCG(1, 2))
	hour := uint32(testDay*secondsPerDay + 12*3600)
	for n := range uint64(3) {
		b := crowdBlock(r, 6*n+1, 2000) // of minute n
		b.Collector = s.Collector()
		mustStore(t, s, b)
	}
	reader, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		q    storage.TopQuery
		rows int64 // blocks that are looked at, in both passes; of an answer without rows in the first
	}{
		{storage.TopQuery{Limit: 1}, 6}, {storage.TopQuery{Limit: 1, Since: hour + 60}, 4}, {storage.TopQuery{Limit: 1, Since: hour + 120}, 2},
		{storage.TopQuery{Limit: 1, Since: hour + 180}, 0}, {storage.TopQuery{Limit: 1, Streams: []uint16{0, 2}}, 3}, {storage.TopQuery{Limit: 1, Streams: []uint16{2, 9}}, 0},
	} {
		var got int64
		before := int64(0)
		reader.Progress = func(done, _ int64) {
			if done-before > 0 {
				got += min(done-before, batchRows)
			}
			before = done
		}
		if _, err := reader.Top(t.Context(), test.q); err != nil {
			t.Fatal(err)
		}
		// A block has some 2,000 rows less those of one key.
		if blocks := (got + 1000) / 1990; blocks != test.rows {
			t.Errorf("%+v: %d rows, some %d blocks, were looked at, want %d", test.q, got, blocks, test.rows)
		}
	}
}
