package pages

import (
	"runtime"
	"testing"
)

// What stands beside the heap is counted until it is given back, by hand or by the
// garbage collector.
func TestMappedIsGivenBack(t *testing.T) {
	before := Mapped()
	m := Make[uint64](besideHeap / 8)
	for i, n := range m.Slice {
		if n != 0 {
			t.Fatalf("number %d is %d", i, n)
		}
	}
	m.Slice[len(m.Slice)-1] = 1
	if got := Mapped() - before; got != besideHeap && runtime.GOOS == "linux" {
		t.Errorf("%d bytes are beside the heap, want %d", got, besideHeap)
	}
	m.Free()
	m.Free()
	if Mapped() != before || m.Slice != nil {
		t.Errorf("%d bytes are left", Mapped()-before)
	}
	for range 10 {
		Make[byte](besideHeap)
	}
	for range 1000 { // the collector gives it back when it comes to it
		if Mapped() == before {
			break
		}
		runtime.GC()
		runtime.Gosched()
	}
	if Mapped() != before {
		t.Errorf("%d bytes are left of what nobody has", Mapped()-before)
	}
	if small := Make[byte](besideHeap - 1); small.mapped != nil || len(small.Slice) != besideHeap-1 {
		t.Error("what is small stands beside the heap")
	}
}

// Memory that grows keeps what it has, whether on the heap or beside it, and from one to
// the other; what comes behind that are zeros.
func TestGrow(t *testing.T) {
	before := Mapped()
	m := Make[uint64](10)
	for _, n := range []int{11, 1000, besideHeap/8 - 1, besideHeap/8 + 1, 3*besideHeap/8 + 5, 100_000 * 8, 100_000*8 + 1} {
		had := len(m.Slice)
		for i := range m.Slice {
			m.Slice[i] = uint64(i) + 1
		}
		if m.Grow(n); len(m.Slice) != n {
			t.Fatalf("%d numbers, want %d", len(m.Slice), n)
		}
		for i, x := range m.Slice {
			if want := uint64(i) + 1; i < had && x != want || i >= had && x != 0 {
				t.Fatalf("number %d of %d, of which there were %d, is %d", i, n, had, x)
			}
		}
		want := int64(n * 8)
		if want < besideHeap || runtime.GOOS != "linux" {
			want = 0
		}
		if got := Mapped() - before; got != want {
			t.Errorf("%d bytes are beside the heap, want %d", got, want)
		}
	}
	m.Free()
	if Mapped() != before {
		t.Errorf("%d bytes are left", Mapped()-before)
	}
}
