//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package emit

import (
	"errors"
	"fmt"
	"hash/crc64"
	"os"
	"syscall"
)

// mapFile maps a whole file, shared, so that what is written to it stays when
// the process is killed.
func mapFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the mapping stays
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < recordsAt || info.Size() != int64(int(info.Size())) {
		return nil, fmt.Errorf("%w: it has %d bytes", errDamaged, info.Size())
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return mem, os.NewSyscallError("mmap", err)
}

func unmapFile(mem []byte) error {
	if mem == nil {
		return nil
	}
	return os.NewSyscallError("munmap", syscall.Munmap(mem))
}

// lockFile opens a file that no other process may open so.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another emitter has it")
		}
		return nil, os.NewSyscallError("flock", err)
	}
	return f, nil
}

// bootNumber tells one run of the machine from another, where it says: on Linux.
func bootNumber() uint64 {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return crc64.Checksum(id, crc64.MakeTable(crc64.ECMA))
}
