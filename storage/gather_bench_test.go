package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// BenchmarkMergeRows adds up the rows of ten cuts of the same minute and the
// next, in the order in which tables give them: none.
func BenchmarkMergeRows(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, keys := range []int{n, n / 10} {
			b.Run(fmt.Sprintf("rows=%d/keys=%d", n, keys), func(b *testing.B) {
				rows := randomRows(rand.New(rand.NewPCG(1, 1)), n, keys)
				work := make([]Row, n)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					copy(work, rows)
					b.StartTimer()
					mergeRows(work)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
			})
		}
	}
}

func randomRows(r *rand.Rand, n, keys int) []Row {
	ids := make([][2]uint64, keys)
	for i := range ids {
		ids[i] = [2]uint64{r.Uint64() >> r.IntN(2) * 8, r.Uint64()}
	}
	rows := make([]Row, n)
	for i := range rows {
		id := ids[r.IntN(keys)]
		rows[i] = Row{Stream: 1, Minute: 29_000_040 * 60 % (1 << 31) / 60 * 60, Content: id[0] % 5000, User: id[1], Reads: 1, Dwell: 5000, First: 1, Last: 2}
		if r.IntN(10) == 0 {
			rows[i].Minute += 60
		}
	}
	return rows
}

// The merged rows are those of a plain sort and a plain map.
func TestMergeRowsAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		n := r.IntN(3000)
		rows := make([]Row, n)
		type key struct {
			stream        uint16
			minute        uint32
			content, user uint64
		}
		want := map[key]Row{}
		for i := range rows {
			rows[i] = Row{
				Stream: uint16(r.IntN(3)), Minute: 60 * (28_000_000 + r.Uint32N(3)*1440 + r.Uint32N(3)),
				Content: r.Uint64N(1<<r.IntN(10)) << (8 * r.IntN(8)), User: r.Uint64N(4) << (8 * r.IntN(8)),
				Opens: r.Uint32N(5), Reads: r.Uint32N(3), Dwell: r.Uint64N(100), Progress: uint8(r.IntN(100)), First: r.Int64N(9), Last: r.Int64N(9),
			}
			k := key{rows[i].Stream, rows[i].Minute, rows[i].Content, rows[i].User}
			if w, ok := want[k]; ok {
				w.Opens, w.Reads, w.Dwell = w.Opens+rows[i].Opens, w.Reads+rows[i].Reads, w.Dwell+rows[i].Dwell
				w.Progress, w.First, w.Last = max(w.Progress, rows[i].Progress), min(w.First, rows[i].First), max(w.Last, rows[i].Last)
				want[k] = w
			} else {
				want[k] = rows[i]
			}
		}
		var all []Row
		for _, w := range want {
			all = append(all, w)
		}
		slices.SortFunc(all, func(a, b Row) int { return CompareKeys(&a, &b) })
		if got := mergeRows(rows); !slices.Equal(got, all) {
			t.Fatalf("%d rows become %d, want %d", n, len(got), len(all))
		}
	}
}
