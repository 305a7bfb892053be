package emit

import (
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// The number is that of another implementation of XXH64, for every length
// around its blocks.
func TestIDAgainstAnotherImplementation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 1200 {
		b := make([]byte, n%300)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if got, want := ID(string(b)), xxhash.Sum64(b); got != want {
			t.Fatalf("the id of %d bytes is %#x, want %#x", len(b), got, want)
		}
	}
	if got := ID("abc"); got != 0x44bc2cf5ad770999 { // stands in wire/SPEC.md
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
