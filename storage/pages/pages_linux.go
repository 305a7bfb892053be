package pages

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a large page on the processors that have one of 2 MiB.
const hugePage = 2 << 20

// mapped returns size bytes from the kernel, nil where it has none.
func mapped(size int) []byte {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil
	}
	return preferHuge(b)
}

// preferHuge is PreferHuge of memory that is all ours. All of it is advised, or it would be
// several mappings to the kernel, which it would not move as one.
func preferHuge(b []byte) []byte {
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // it is advice
	return b
}

// remapped returns what mapped has returned as size bytes, elsewhere if need be: its pages
// are moved, not copied. It is nil where the kernel has no room for that.
func remapped(b []byte, size int) []byte {
	larger, err := unix.Mremap(b, size, unix.MREMAP_MAYMOVE)
	if err != nil {
		return nil
	}
	return preferHuge(larger)
}

func unmap(b []byte) { _ = unix.Munmap(b) } // it can only fail for what was never mapped

// PreferHuge asks the kernel for large pages behind a large slice, which it
// returns. What is read at random would wait for the processor to find a small
// page nearly every time. Where the kernel has none to give, small ones serve.
func PreferHuge[T any](s []T) []T {
	if len(s) == 0 {
		return s
	}
	start := uintptr(unsafe.Pointer(&s[0]))
	end := start + uintptr(len(s))*unsafe.Sizeof(s[0])
	skip := (hugePage - start%hugePage) % hugePage // the whole pages alone: the edges are others' memory
	if size := (end - start - min(skip, end-start)) &^ (hugePage - 1); size > 0 {
		whole := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&s[0]), skip)), size)
		_ = unix.Madvise(whole, unix.MADV_HUGEPAGE) // it is advice
	}
	return s
}

// HugeBytes returns size bytes that begin where a large page does.
func HugeBytes(size int) []byte {
	b := make([]byte, size+2*hugePage)
	skip := int((hugePage - uintptr(unsafe.Pointer(&b[0]))%hugePage) % hugePage)
	return PreferHuge(b[skip : skip+(size+hugePage-1)&^(hugePage-1)])[:size]
}
