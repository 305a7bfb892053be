package main

import (
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/emit"
)

// emit has an XXH64 of its own, so that whoever imports it gets no other module. The
// number is that of another implementation, for every length around its blocks.
func TestIDAgainstAnotherImplementation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 1200 {
		b := make([]byte, n%300)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if got, want := emit.ID(string(b)), xxhash.Sum64(b); got != want {
			t.Fatalf("the id of %d bytes is %#x, want %#x", len(b), got, want)
		}
	}
}
