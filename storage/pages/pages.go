// Package pages has what large tables want from the machine: memory beside Go's
// heap, in large pages where the kernel has some, and lines of the processor's
// cache that are fetched before they are needed.
//
// Tables beside the heap. Go lets garbage grow to the size of the live heap, so each byte
// of a large table on the heap costs two. The tables of loops and of minutes hold no
// pointers, so the large ones are mapped memory of their own, in large
// pages where the kernel has some; they are given back when a minute leaves, or when
// nothing refers to them. A loop's table grows with the keys of a window, and is halved
// when few were used for 60 windows. A minute's table begins with four slots, since a
// sender may bring events of thousands of minutes, and grows where it lies. A table counts
// as five rows of limits.rows_waiting_max beside those it has, so that memory stays within
// what lectern check says.
package pages

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// besideHeap is the size from which a slice stands beside the heap, in bytes.
const besideHeap = 1 << 20

// Memory is one slice of zeros. A large one stands beside Go's heap, so that the
// garbage collector's pace does not hang on it: it lets garbage grow to the size
// of what is alive. It is given back by Free, or when nothing refers to the
// Memory any more; Slice must not be used after that.
type Memory[T any] struct {
	Slice   []T
	mapped  []byte
	cleanup runtime.Cleanup
}

var beside atomic.Int64

// Mapped is how many bytes stand beside Go's heap, where Go's own limit of memory
// does not count them. It may be called concurrently.
func Mapped() int64 { return beside.Load() }

// release gives mapped memory back.
func release(b []byte) {
	beside.Add(-int64(len(b)))
	unmap(b)
}

// Make returns n zeros of a type that holds no pointers.
func Make[T any](n int) *Memory[T] {
	var zero T
	m := new(Memory[T])
	if size := n * int(unsafe.Sizeof(zero)); size >= besideHeap {
		if b := mapped(size); b != nil {
			beside.Add(int64(size))
			m.take(b, n)
			return m
		}
	}
	m.Slice = make([]T, n) // where the system has no memory to map, Go's own word for it
	return m
}

// Grow makes Slice n long, which is more than it was, and keeps what it has; what comes
// behind that are zeros. Slices of it from before must not be used any more. Memory that
// stands beside the heap already is not copied.
func (m *Memory[T]) Grow(n int) {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	if m.mapped != nil {
		if b := remapped(m.mapped, size); b != nil {
			m.cleanup.Stop()
			beside.Add(int64(size - len(m.mapped)))
			m.take(b, n)
			return
		}
	}
	larger := Make[T](n)
	copy(larger.Slice, m.Slice)
	m.Free()
	m.Slice = larger.Slice
	if larger.mapped != nil {
		larger.cleanup.Stop()
		m.take(larger.mapped, n)
	}
}

// take has m be n values of mapped memory.
func (m *Memory[T]) take(b []byte, n int) {
	m.mapped, m.Slice = b, unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
	m.cleanup = runtime.AddCleanup(m, release, b)
}

// Free gives the memory back at once. The next call does nothing.
func (m *Memory[T]) Free() {
	if m.mapped != nil {
		m.cleanup.Stop()
		release(m.mapped)
	}
	m.Slice, m.mapped = nil, nil
}
