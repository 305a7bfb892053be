package spool

import (
	"errors"
	"syscall"
)

// Sync is fdatasync: the length is made durable with it, the times are not.
func (f systemFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (f systemFile) Resize(size int64) error {
	now, err := f.Size()
	if err != nil {
		return err
	}
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
