//go:build go1.26

package wire_test

import (
	"syscall"
	"testing"
)

// guarded is memory in front of a page that nobody may read.
type guarded struct{ memory []byte }

// newGuarded returns room for size bytes, a multiple of the page size.
func newGuarded(t testing.TB, size int) *guarded {
	t.Helper()
	page := syscall.Getpagesize()
	memory, err := syscall.Mmap(-1, 0, size+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mprotect(memory[size:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(memory) })
	return &guarded{memory[:size:size]}
}

// place copies b to where its end is the end of what may be read.
func (g *guarded) place(b []byte) []byte {
	placed := g.memory[len(g.memory)-len(b):]
	copy(placed, b)
	return placed
}
