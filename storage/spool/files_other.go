//go:build unix && !linux

package spool

// Resize cannot promise room on the disk here: a full disk shows later.
func (f systemFile) Resize(size int64) error { return f.Truncate(size) }
