package live

import (
	"math"
	"slices"
)

// Sample is some of a set of readers, by which the same readers in the set of another
// daemon are recognised.
type Sample struct {
	Count  uint64   // how many the set has
	Hashes []uint64 // in ascending order: of all of them, or of those with the smallest hashes
}

// whole says that the sample has everybody.
func (s *Sample) whole() bool { return uint64(len(s.Hashes)) >= s.Count }

// Samples are those of a content or a stream.
type Samples struct{ Minute, Five Sample }

// The most hashes of a sample.
const (
	ContentSampleMax = 2048
	StreamSampleMax  = 16384
)

// Sample returns samples of the readers of some contents and of some streams, of at most
// contentMax and streamMax hashes each. It looks at everybody once.
func (r *Readers) Sample(keys []Key, streams []uint16, contentMax, streamMax int) (contents, whole []Samples) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sets := make([]gathered, 1, 1+len(keys)+len(streams)) // 0 is nobody's
	ofContent, inStreams := make([]uint16, len(r.contents.list)), make([]uint16, len(r.streams.list))
	place := func(to *uint16, most int, minute, five uint32) int {
		if *to == 0 {
			*to = uint16(len(sets))
			sets = append(sets, gathered{minute: smallestOf(minute, most), five: smallestOf(five, most)})
		}
		return int(*to)
	}
	contentSets, streamSets := make([]int, len(keys)), make([]int, len(streams))
	for i, k := range keys {
		if at, ok := r.find(k); ok {
			x := &r.contents.list[at]
			contentSets[i] = place(&ofContent[at], contentMax, x.minute, x.all)
		}
	}
	for i, number := range streams {
		if at, ok := r.streams.of[number]; ok {
			x := r.streams.list[at]
			streamSets[i] = place(&inStreams[at], streamMax, x.minute, x.all)
		}
	}
	r.gather(sets, ofContent, inStreams)
	for _, i := range contentSets {
		contents = append(contents, sets[i].samples())
	}
	for _, i := range streamSets {
		whole = append(whole, sets[i].samples())
	}
	return contents, whole
}

// gather puts every reader into the set that his content or his stream has, if any.
func (r *Readers) gather(sets []gathered, ofContent, inStreams []uint16) {
	for at := range r.table.slots {
		if s := &r.table.slots[at]; s.print != 0 && !s.is(gone|nameless) && ofContent[s.what] != 0 {
			sets[ofContent[s.what]].add(r.table.users[at], s.is(recent))
		}
	}
	for at := range r.wholes.list {
		if w := &r.wholes.list[at]; w.stream != 0 && inStreams[w.stream-1] != 0 {
			sets[inStreams[w.stream-1]].add(w.user, w.minute > 0)
		}
	}
}

// readerHash is the same in every daemon. It spreads ids evenly, and hides none.
func readerHash(user uint64) uint64 {
	// MurmurHash3's finaliser, which gives no two numbers the same, so that different
	// readers stay different.
	h := user ^ 0x9E3779B97F4A7C15
	h = (h ^ h>>33) * 0xFF51AFD7ED558CCD
	h = (h ^ h>>33) * 0xC4CEB9FE1A85EC53
	return h ^ h>>33
}

// gathered is a set that is being gathered.
type gathered struct{ minute, five smallest }

func (g *gathered) add(user uint64, inMinute bool) {
	h := readerHash(user)
	g.five.add(h)
	if inMinute {
		g.minute.add(h)
	}
}

func (g *gathered) samples() Samples {
	return Samples{Minute: g.minute.sample(), Five: g.five.sample()}
}

// smallest keeps the smallest hashes of a set, up to a number.
type smallest struct {
	count uint32
	most  int
	below uint64 // larger ones are none of them
	list  []uint64
}

// smallestOf is for a set of this size. Hashes are spread evenly, so that it is known
// how far the smallest go; a tenth more are taken, and if that is too few all the
// same, the sample is smaller and as good.
func smallestOf(count uint32, most int) smallest {
	s := smallest{count: count, most: most, below: math.MaxUint64}
	if part := 1.1 * float64(most) / float64(count); part < 1 {
		s.below = uint64(part * math.MaxUint64)
	}
	return s
}

func (s *smallest) add(h uint64) {
	if h <= s.below {
		s.list = append(s.list, h)
	}
}

func (s *smallest) sample() Sample {
	slices.Sort(s.list)
	return Sample{Count: uint64(s.count), Hashes: s.list[:min(len(s.list), s.most)]}
}

// Union is how many different readers several sets have together, and the standard
// error of that, as a part of it: 0 where it is exact. The samples are all of the same
// readers: those whose hashes are below what every sample goes up to.
func Union(sets []Sample) (count uint64, failure float64) {
	below, whole := uint64(math.MaxUint64), true
	var sum, most uint64
	for i := range sets {
		s := &sets[i]
		sum += s.Count
		most = max(most, s.Count)
		if !s.whole() {
			whole = false
			if len(s.Hashes) == 0 {
				below = 0
				continue
			}
			below = min(below, s.Hashes[len(s.Hashes)-1])
		}
	}
	seen, times, squares := merge(sets, below)
	switch {
	case most == sum: // in one of the sets alone
		return sum, 0
	case whole:
		return uint64(seen), 0
	case seen == 0:
		return sum, 1
	}
	// The sets come to sum readers with each counted as often as he is in one; seen of
	// the sample were there times times.
	n, mean := float64(seen), float64(times)/float64(seen)
	count = min(max(uint64(math.Round(float64(sum)/mean)), most), sum)
	variance := float64(squares)/n - mean*mean
	// Where the sample shows no difference between readers, there may be one in n yet.
	return count, max(math.Sqrt(max(0, variance)/n)/mean, 1/n)
}

// merge goes through the hashes up to one: how many there are, how many with each as
// often as it is in a set, and the sum of the squares of that.
func merge(sets []Sample, upTo uint64) (seen, times, squares int) {
	at := make([]int, len(sets))
	for {
		next, found := uint64(math.MaxUint64), false
		for i := range sets {
			if at[i] < len(sets[i].Hashes) {
				next, found = min(next, sets[i].Hashes[at[i]]), true
			}
		}
		if !found || next > upTo {
			return seen, times, squares
		}
		n := 0
		for i := range sets {
			if at[i] < len(sets[i].Hashes) && sets[i].Hashes[at[i]] == next {
				at[i]++
				n++
			}
		}
		seen, times, squares = seen+1, times+n, squares+n*n
	}
}
