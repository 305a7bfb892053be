package storage

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"
)

// slotKinds are kinds of ids that are sorted: hashes, small numbers, few contents
// with most of the readers, one content alone.
var slotKinds = []struct {
	name string
	ids  func(r *rand.Rand) (content, user uint64)
}{
	{"hashes", func(r *rand.Rand) (uint64, uint64) { return r.Uint64(), r.Uint64() }},
	{"numbers", func(r *rand.Rand) (uint64, uint64) { return r.Uint64N(3000), r.Uint64N(1 << 20) }},
	{"few contents", func(r *rand.Rand) (uint64, uint64) { return uint64(r.ExpFloat64()*50) * 0x9E3779B97F4A7C15, r.Uint64() }},
	{"one content", func(r *rand.Rand) (uint64, uint64) { return 7, r.Uint64() }},
	{"one bit", func(r *rand.Rand) (uint64, uint64) { return r.Uint64N(2) << 63, 1 << r.Uint64N(64) }},
	{"the least and the most", func(r *rand.Rand) (uint64, uint64) { return -r.Uint64N(2), -r.Uint64N(2) }},
}

// The order is that of the library's sort; slots with the same ids, which no table
// has, may stand in any order.
func TestSlotsAreSorted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	byIDs := func(a, b minuteSlot) int {
		return cmp.Or(cmp.Compare(a.content, b.content), cmp.Compare(a.user, b.user), cmp.Compare(a.dwell, b.dwell))
	}
	for _, kind := range slotKinds {
		for _, n := range []int{0, 1, 2, insertionMax, insertionMax + 1, 300, 5000, 70_000} {
			got := make([]minuteSlot, n)
			for i := range got {
				got[i].content, got[i].user = kind.ids(r)
				got[i].dwell = uint32(i)
			}
			want := slices.Clone(got)
			slices.SortFunc(want, byIDs)
			sortSlots(got)
			for i := range got {
				if got[i].content != want[i].content || got[i].user != want[i].user {
					t.Fatalf("%s: slot %d of %d is %d %d, want %d %d", kind.name, i, n, got[i].content, got[i].user, want[i].content, want[i].user)
				}
			}
			slices.SortFunc(got, byIDs)
			if !slices.Equal(got, want) {
				t.Errorf("%s: of %d slots some are others", kind.name, n)
			}
		}
	}
}

// cpuOfSelf is what this process has used.
func cpuOfSelf() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkSortSlots(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, kind := range slotKinds[:4] {
		for _, n := range []int{20_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				as := make([]minuteSlot, n)
				for i := range as {
					as[i].content, as[i].user = kind.ids(r)
				}
				s := make([]minuteSlot, n)
				for b.Loop() {
					b.StopTimer()
					copy(s, as)
					b.StartTimer()
					sortSlots(s)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
			})
		}
	}
}

// BenchmarkMinutesAdd adds cuts of 100,000 rows to a minute of two million.
func BenchmarkMinutesAdd(b *testing.B) {
	const readers, cut = 2_000_000, 100_000
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([]Row, readers)
	for i := range rows {
		rows[i] = Row{Stream: 1, Minute: 60, First: 60_000, Last: 60_000, Content: r.Uint64(), User: r.Uint64(), Reads: 1, Dwell: 10}
	}
	m := NewMinutes()
	m.Add(rows)
	n := 0
	before := cpuOfSelf()
	for b.Loop() {
		m.Add(rows[n%readers:][:cut])
		n += cut
	}
	b.ReportMetric(float64(cpuOfSelf()-before)/float64(n), "cpu-ns/row")
}
