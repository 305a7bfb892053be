//go:build unix && !linux

package vfs

// Resize cannot promise room on the disk here: a full disk shows later.
func (f osFile) Resize(size int64) error { return f.Truncate(size) }

// Birth is not known here: a copy of the directory is found out by its numbers.
func (f osFile) Birth() (int64, bool) { return 0, false }
