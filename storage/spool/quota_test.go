package spool

import (
	"strings"
	"testing"
)

// A spool that does not fit is never told to be smaller than the smallest.
func TestAdviceOnRoom(t *testing.T) {
	for _, test := range []struct {
		size    int64
		smaller bool
	}{{1 << 30, true}, {SizeMin + 1, true}, {SizeMin, false}} {
		s := &Spool{o: Options{SizeMax: test.size}}
		advice := s.adviseRoom()
		if got := strings.Contains(advice, "a smaller spool.size_max (268435456 bytes at least)"); got != test.smaller || !strings.Contains(advice, "make room") {
			t.Errorf("of %d bytes: %q", test.size, advice)
		}
	}
}
