package page

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"strconv"
	"time"
)

// history holds what /metrics said in the last hour, so that the page has something
// to draw when it opens, and conditions that are about minutes can be told without a
// Prometheus. It takes memory once, for samplesMax numbers of each series.
type history struct {
	columns map[string]int // where a series stands in each sample
	names   map[string][]int
	samples []sample // oldest first
}

// sample is all series at one moment. A series that came later than this sample has no
// number in it.
type sample struct {
	at     time.Time
	values []float64
}

const (
	// sampleInterval is the time between two samples.
	sampleInterval = 10 * time.Second
	// samplesMax is an hour of them, and the one before it.
	samplesMax = int(time.Hour/sampleInterval) + 1
	// seriesMax bounds how many series there may be. The daemon's are some 300.
	seriesMax = 600
)

func newHistory() *history {
	return &history{columns: make(map[string]int), names: make(map[string][]int)}
}

// add puts a sample behind the others.
func (h *history) add(at time.Time, of series) {
	s := sample{at: at}
	if len(h.samples) == samplesMax {
		s.values = h.samples[0].values[:0]
		copy(h.samples, h.samples[1:])
		h.samples = h.samples[:samplesMax-1]
	}
	for name := range of {
		if _, ok := h.columns[name]; !ok && len(h.columns) < seriesMax {
			h.names[family(name)] = append(h.names[family(name)], len(h.columns))
			h.columns[name] = len(h.columns)
		}
	}
	s.values = h.fill(s.values, of)
	h.samples = append(h.samples, s)
}

// fill puts what these series say where their columns are.
func (h *history) fill(values []float64, of series) []float64 {
	values = slices.Grow(values, len(h.columns))[:len(h.columns)]
	for i := range values {
		values[i] = math.NaN()
	}
	for name, column := range h.columns {
		if v, ok := of[name]; ok {
			values[column] = v
		}
	}
	return values
}

// with is the history as it is at a moment that is not in it.
func (h *history) with(at time.Time, of series) *history {
	now := *h
	now.samples = append(slices.Clip(h.samples), sample{at, h.fill(nil, of)})
	return &now
}

// of returns the columns of a family, or the one of a series with its labels.
func (h *history) of(name string) []int {
	if column, ok := h.columns[name]; ok {
		return []int{column}
	}
	return h.names[name]
}

func (s *sample) value(column int) float64 {
	if column >= len(s.values) {
		return math.NaN()
	}
	return s.values[column]
}

// sum adds up these columns; those without a number count for nothing.
func (s *sample) sum(columns []int) (sum float64) {
	for _, c := range columns {
		if v := s.value(c); !math.IsNaN(v) {
			sum += v
		}
	}
	return sum
}

// last is what a gauge says, or a family of them together.
func (h *history) last(name string) float64 {
	if len(h.samples) == 0 {
		return 0
	}
	return h.samples[len(h.samples)-1].sum(h.of(name))
}

// since returns the samples of the last d, and the one before them.
func (h *history) since(d time.Duration) []sample {
	if len(h.samples) == 0 {
		return nil
	}
	from := h.samples[len(h.samples)-1].at.Add(-d)
	first, _ := slices.BinarySearchFunc(h.samples, from, func(s sample, at time.Time) int { return s.at.Compare(at) })
	if first > 0 && h.samples[first].at.After(from) {
		first--
	}
	return h.samples[first:]
}

// increase is by how much a counter, or all of a family, grew in the last d, or as far
// back as there is something.
func (h *history) increase(name string, d time.Duration) (sum float64) {
	of := h.since(d)
	for _, c := range h.of(name) {
		sum += grown(of, c)
	}
	return sum
}

// grown is how much a counter grew since the first of these samples that has it.
func grown(of []sample, column int) float64 {
	for i := range of {
		if d := of[len(of)-1].value(column) - of[i].value(column); !math.IsNaN(d) {
			return max(0, d)
		}
	}
	return 0
}

// rate is increase a second; 0 where there is only one sample.
func (h *history) rate(name string, d time.Duration) float64 {
	of := h.since(d)
	if len(of) < 2 {
		return 0
	}
	return h.increase(name, d) / of[len(of)-1].at.Sub(of[0].at).Seconds()
}

// most is the largest that a gauge was in the last d.
func (h *history) most(name string, d time.Duration) (most float64) {
	columns := h.of(name)
	for _, s := range h.since(d) {
		most = max(most, s.sum(columns))
	}
	return most
}

// ahead is what a gauge will say after so long, if it goes on as it did in the last d:
// the line that is nearest to what it said.
func (h *history) ahead(name string, d, after time.Duration) float64 {
	of, columns := h.since(d), h.of(name)
	if len(of) < 2 {
		return h.last(name)
	}
	now := of[len(of)-1].at
	var n, t, v, tt, tv float64
	for i := range of {
		x, y := of[i].at.Sub(now).Seconds(), of[i].sum(columns)
		n, t, v, tt, tv = n+1, t+x, v+y, tt+x*x, tv+x*y
	}
	slope := (n*tv - t*v) / (n*tt - t*t)
	return (v-slope*t)/n + slope*after.Seconds()
}

// quantile is that of what a histogram counted in the last d, in its unit; false where
// that is nothing.
func (h *history) quantile(q float64, name string, d time.Duration) (float64, bool) {
	type bucket struct{ most, count float64 }
	var buckets []bucket
	of := h.since(d)
	for name, c := range h.buckets(name) {
		if most, err := strconv.ParseFloat(label(name, "le"), 64); err == nil {
			buckets = append(buckets, bucket{most, grown(of, c)})
		}
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return cmp.Compare(a.most, b.most) })
	if len(buckets) == 0 || buckets[len(buckets)-1].count == 0 {
		return 0, false
	}
	rank := q * buckets[len(buckets)-1].count
	var below bucket
	for _, b := range buckets {
		if b.count >= rank {
			if math.IsInf(b.most, 1) {
				return below.most, true
			}
			return below.most + (b.most-below.most)*(rank-below.count)/(b.count-below.count), true
		}
		below = b
	}
	return below.most, true
}

// buckets are the series of a histogram's buckets.
func (h *history) buckets(name string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		for series, c := range h.columns {
			if family(series) == name+"_bucket" && !yield(series, c) {
				return
			}
		}
	}
}
