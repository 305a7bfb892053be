package pages

import "testing"

// Memory of any size grows without being copied, again and again.
func TestRemapped(t *testing.T) {
	b := mapped(besideHeap)
	for size := besideHeap + 64; size < 100<<20; size += size/2 + 64 {
		b[len(b)-1] = 1
		last := len(b) - 1
		larger := remapped(b, size)
		if larger == nil {
			t.Fatalf("the kernel does not make %d bytes of %d", size, len(b))
		}
		if b = larger; len(b) != size || b[last] != 1 || b[size-1] != 0 {
			t.Fatalf("%d bytes, of which byte %d is %d, want %d", len(b), last, b[last], size)
		}
	}
	unmap(b)
}
