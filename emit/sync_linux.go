package emit

import (
	"syscall"
	"unsafe"
)

// syncPage writes one page of a file that is mapped to the disk.
func syncPage(page []byte) error {
	const wait = 4 // MS_SYNC
	_, _, errno := syscall.Syscall(syscall.SYS_MSYNC, uintptr(unsafe.Pointer(&page[0])), uintptr(len(page)), wait)
	if errno != 0 {
		return errno
	}
	return nil
}
