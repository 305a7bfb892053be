package collector

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a large page on the processors that have one of 2 MiB.
const hugePage = 2 << 20

// preferHuge asks the kernel for large pages behind a large slice. A table is
// read at random: with small pages nearly every event would wait for the
// processor to find its page, too. Where the kernel has none to give, small
// ones serve.
func preferHuge[T any](s []T) []T {
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
