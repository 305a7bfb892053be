//go:build go1.26

package emit

import "testing"

// This one stands in wire/SPEC.md. Another implementation is asked about every
// length where the daemon's dependencies are: in cmd/lectern.
func TestID(t *testing.T) {
	if got := ID("abc"); got != 0x44bc2cf5ad770999 {
		t.Errorf("the id of abc is %#x", got)
	}
}

func TestIDAllocatesNothing(t *testing.T) {
	text := "/content/a-path-of-some-length/that-is-longer-than-a-block"
	if n := testing.AllocsPerRun(100, func() { sink = ID(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var sink uint64
