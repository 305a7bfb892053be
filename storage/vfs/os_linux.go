package vfs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sync is fdatasync: the length is made durable with it, the times are not.
func (f osFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (f osFile) Resize(size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now := info.Size()
	if size <= now {
		return f.Truncate(size)
	}
	for {
		err = syscall.Fallocate(int(f.Fd()), 0, now, size-now)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return f.Truncate(size) // a sparse file: a full disk shows later
	}
	return err
}

func (f osFile) Birth() (int64, bool) {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0, false
	}
	return st.Btime.Sec*1e9 + int64(st.Btime.Nsec), true
}
