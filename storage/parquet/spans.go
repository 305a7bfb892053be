package parquet

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
)

// span is the block numbers from first to last, both included.
type span struct{ first, last uint64 }

// spans is a set of block numbers: in order, with a gap before each but the
// first. So it costs memory by gaps and not by blocks.
type spans []span

// one is the set of a single block.
func one(number uint64) spans { return spans{{number, number}} }

// String writes the set as in a file's metadata: "1-7,9".
func (s spans) String() string {
	var text []byte
	for i, p := range s {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendUint(text, p.first, 10)
		if p.last != p.first {
			text = append(text, '-')
			text = strconv.AppendUint(text, p.last, 10)
		}
	}
	return string(text)
}

var errSpans = errors.New("not a list of block numbers like 1-7,9")

// parseSpans reads what String wrote, and nothing else.
func parseSpans(text string) (spans, error) {
	var s spans
	for field := range strings.SplitSeq(text, ",") {
		low, high, ranged := strings.Cut(field, "-")
		first, err := strconv.ParseUint(low, 10, 64)
		if err != nil {
			return nil, errSpans
		}
		last := first
		if ranged {
			if last, err = strconv.ParseUint(high, 10, 64); err != nil || last <= first {
				return nil, errSpans
			}
		}
		if first == 0 || len(s) > 0 && first-1 <= s[len(s)-1].last {
			return nil, errSpans
		}
		s = append(s, span{first, last})
	}
	return s, nil
}

// with returns the union as a new set.
func (s spans) with(o spans) spans {
	all := slices.Concat(s, o)
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	union := all[:0]
	for _, p := range all {
		if n := len(union); n > 0 && (union[n-1].last == math.MaxUint64 || p.first <= union[n-1].last+1) {
			union[n-1].last = max(union[n-1].last, p.last)
			continue
		}
		union = append(union, p)
	}
	return union
}

// overlaps says that a block is in both sets.
func (s spans) overlaps(o spans) bool {
	for len(s) > 0 && len(o) > 0 {
		switch {
		case s[0].last < o[0].first:
			s = s[1:]
		case o[0].last < s[0].first:
			o = o[1:]
		default:
			return true
		}
	}
	return false
}

// covers says that all blocks of o are in s.
func (s spans) covers(o spans) bool {
	for _, p := range o {
		i, _ := slices.BinarySearchFunc(s, p.first, func(s span, n uint64) int { return cmp.Compare(s.last, n) })
		if i == len(s) || s[i].first > p.first || s[i].last < p.last {
			return false
		}
	}
	return true
}

// count is how many blocks there are.
func (s spans) count() uint64 {
	var n uint64
	for _, p := range s {
		n += p.last - p.first + 1
	}
	return n
}

// last is the largest number, 0 for none.
func (s spans) last() uint64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].last
}
