package clickhouse

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/storage"
)

// lengths are the words of the pages.
var lengths = map[string]float64{"/guide/start": 1200, "/guide/next": 1700, "/about": 300}

// rounded is x to so many digits, as ClickHouse rounds.
func rounded(x float64, digits int) string {
	p := math.Pow10(digits)
	if x = math.RoundToEven(x*p) / p; math.IsNaN(x) {
		return "nan"
	}
	return fmt.Sprint(x)
}

// of are the rows of one stream that readers have.
func (q *readings) of(stream uint16) (rows []*storage.Row) {
	for i := range q.rows {
		if r := &q.rows[i]; r.Stream == stream && r.Coarse == storage.CoarseNot && r.Variant == 0 && r.User != 0 {
			rows = append(rows, r)
		}
	}
	return rows
}

// publisher are the answers to what a publisher asks, by plain counting.
func (q *readings) publisher() map[string][]string {
	return map[string][]string{
		"Do longer ones get read to the end": q.byLength(),
		"Where to go on":                     q.goOn(1007),
		"What is read next":                  q.next(),
		"How loyal readers are":              q.loyal(),
		"Which headline is better":           q.headlines(),
		"What a headline promised":           q.promised(),
	}
}

// readerSum is what a reader did with a content.
type readerSum struct {
	dwell, finishes, last float64
	progress              uint8
	resume                int // -1: none was told
	resumed               int64
}

func (q *readings) pairs() map[[2]uint64]readerSum {
	pairs := map[[2]uint64]readerSum{}
	for _, r := range q.of(1) {
		k := [2]uint64{r.Content, r.User}
		s, known := pairs[k]
		if !known {
			s.resume = -1
		}
		s.dwell += float64(r.Dwell * r.Weight())
		s.finishes += float64(r.Finishes)
		s.progress, s.last = max(s.progress, r.Progress), max(s.last, float64(r.Last))
		at, left := r.Last-int64(r.ResumeLag), int(r.Resume)-1
		if left >= 0 && (s.resume < 0 || at > s.resumed || at == s.resumed && left > s.resume) {
			s.resume, s.resumed = left, at
		}
		pairs[k] = s
	}
	return pairs
}

func (q *readings) byLength() (out []string) {
	type bucket struct{ readers, finished, others, far, time float64 }
	buckets := map[int]*bucket{}
	for k, s := range q.pairs() {
		words := lengths[q.slug(k[0])]
		if words == 0 {
			continue
		}
		from := int(words) / 500 * 500
		if buckets[from] == nil {
			buckets[from] = new(bucket)
		}
		b := buckets[from]
		b.readers++
		b.time += s.dwell / (words / 238 * 60000)
		if s.finishes > 0 {
			b.finished++
		} else {
			b.others++
			b.far += float64(s.progress)
		}
	}
	for _, from := range slices.Sorted(maps.Keys(buckets)) {
		b := buckets[from]
		out = append(out, strings.Join([]string{fmt.Sprint(from), fmt.Sprint(b.readers), rounded(100*b.finished/b.readers, 1), rounded(b.far/b.others, 1), rounded(b.time/b.readers, 2)}, " "))
	}
	return out
}

func (q *readings) goOn(user uint64) (out []string) {
	type left struct {
		slug string
		sum  readerSum
	}
	var all []left
	for k, s := range q.pairs() {
		if slug := q.slug(k[0]); k[1] == user && slug != "" && s.finishes == 0 && s.resume >= 0 && s.resume < 100 {
			all = append(all, left{slug, s})
		}
	}
	slices.SortFunc(all, func(a, b left) int { return cmp.Compare(b.sum.last, a.sum.last) })
	for _, l := range all {
		out = append(out, fmt.Sprint(l.slug, " ", l.sum.resume, " ", l.sum.progress))
	}
	return out
}

// next follows each reader through the day, one minute of a content after the other.
func (q *readings) next() (out []string) {
	type step struct {
		begin, end, opens int64
		content           uint64
		minute            uint32
	}
	visits := map[uint64]map[[2]uint64]*step{} // by reader, then by content and minute
	for _, r := range q.of(1) {
		if r.Day() != testDay {
			continue
		}
		if visits[r.User] == nil {
			visits[r.User] = map[[2]uint64]*step{}
		}
		k := [2]uint64{r.Content, uint64(r.Minute)}
		s := visits[r.User][k]
		if s == nil {
			s = &step{begin: r.First, content: r.Content, minute: r.Minute}
			visits[r.User][k] = s
		}
		s.begin, s.end, s.opens = min(s.begin, r.First), max(s.end, r.Last), s.opens+int64(r.Opens)
	}
	went, readers := map[[2]uint64]int{}, map[[2]uint64]map[uint64]bool{}
	for user, of := range visits {
		steps := slices.SortedFunc(maps.Values(of), func(a, b *step) int {
			return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.content, b.content), cmp.Compare(a.minute, b.minute))
		})
		for i := 1; i < len(steps); i++ {
			from, to := steps[i-1], steps[i]
			if to.opens == 0 || from.content == to.content || to.begin > from.end+30*60_000 {
				continue
			}
			k := [2]uint64{from.content, to.content}
			if readers[k] == nil {
				readers[k] = map[uint64]bool{}
			}
			went[k]++
			readers[k][user] = true
		}
	}
	keys := slices.SortedFunc(maps.Keys(went), func(a, b [2]uint64) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(went[b], went[a]), cmp.Compare(a[1], b[1]))
	})
	of := map[uint64]int{}
	for _, k := range keys {
		if of[k[0]]++; of[k[0]] <= 3 {
			out = append(out, fmt.Sprint(k[0], " ", k[1], " ", went[k], " ", len(readers[k])))
		}
	}
	return out
}

func (q *readings) loyal() (out []string) {
	days := map[uint64]map[uint32]bool{}
	for _, r := range q.of(1) {
		if days[r.User] == nil {
			days[r.User] = map[uint32]bool{}
		}
		days[r.User][r.Day()] = true
	}
	readers := map[int]int{}
	for _, d := range days {
		readers[len(d)]++
	}
	for _, n := range slices.Sorted(maps.Keys(readers)) {
		out = append(out, fmt.Sprint(n, " ", readers[n]))
	}
	return out
}

func (q *readings) headlines() (out []string) {
	shown, followed := map[uint8]float64{}, map[uint8]float64{}
	for i := range q.rows {
		r := &q.rows[i]
		if r.Stream == 1 && r.Coarse != storage.CoarseContents && r.Variant > 0 && r.Day() == testDay && q.slug(r.Content) == "/guide/start" {
			shown[r.Variant] += float64(uint64(r.Impressions) * r.Weight())
			followed[r.Variant] += float64(uint64(r.Clicks) * r.Weight())
		}
	}
	const z = 1.96
	for _, v := range slices.Sorted(maps.Keys(shown)) {
		n, x := shown[v], followed[v]
		rate := math.RoundToEven(x/n*1e4) / 1e4
		half := z * math.Sqrt(rate*(1-rate)/n+z*z/(4*n*n))
		middle := rate + z*z/(2*n)
		out = append(out, strings.Join([]string{fmt.Sprint(v), fmt.Sprint(n), fmt.Sprint(x), fmt.Sprint(rate), rounded((middle-half)/(1+z*z/n), 4), rounded((middle+half)/(1+z*z/n), 4)}, " "))
	}
	return out
}

func (q *readings) promised() (out []string) {
	guide := xxhash.Sum64String("/guide/start")
	followed := map[uint8]map[uint64]bool{}
	for i := range q.rows {
		if r := &q.rows[i]; r.Stream == 1 && r.Content == guide && r.Clicks > 0 && r.Coarse == storage.CoarseNot {
			if followed[r.Variant] == nil {
				followed[r.Variant] = map[uint64]bool{}
			}
			followed[r.Variant][r.User] = true
		}
	}
	pairs := q.pairs()
	for _, v := range slices.Sorted(maps.Keys(followed)) {
		var readers, seconds, finished float64
		for user := range followed[v] {
			s, read := pairs[[2]uint64{guide, user}]
			if !read {
				continue
			}
			readers++
			seconds += s.dwell / 1000
			if s.finishes > 0 {
				finished++
			}
		}
		if readers > 0 {
			out = append(out, strings.Join([]string{fmt.Sprint(v), fmt.Sprint(readers), rounded(seconds/readers, 1), rounded(100*finished/readers, 1)}, " "))
		}
	}
	return out
}
