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
