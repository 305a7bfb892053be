// Package vfs is the file system as the daemon's own files need it: few calls, each
// of which says what it makes durable. OS is the operating system's; package vfstest
// has one in memory that fails, and forgets what was not synced.
package vfs

import (
	"errors"
	"io"
)

// ErrLocked says that another process has a lock.
var ErrLocked = errors.New("another process holds the lock")

// FS is a file system. All methods may be called concurrently.
type FS interface {
	// MakeDir makes a directory and its parents durable. One that is there is
	// no error.
	MakeDir(dir string) error
	// List returns the regular files of a directory, ordered by name.
	List(dir string) ([]Entry, error)
	// Create makes an empty file, or empties one that is there.
	Create(path string) (File, error)
	// Open opens a file that is there, for reading.
	Open(path string) (File, error)
	// Rename gives a file another name of the same directory.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(path string) error
	// SyncDir makes what was created, renamed and removed durable.
	SyncDir(dir string) error
	// Lock takes a lock file for this process until it is closed or the process
	// ends. It returns ErrLocked when another process has it.
	Lock(path string) (io.Closer, error)
}

// Entry is a file in a directory.
type Entry struct {
	Name string
	Size int64
}

// File is one open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the data durable, and of the metadata what reading it takes.
	Sync() error
	// Birth is when the file was made, in nanoseconds of whatever clock, false
	// where the file system does not say. It survives a rename, and no copy.
	Birth() (int64, bool)
	// At says whether a path leads to this very file, and not to another one or to
	// none.
	At(path string) (bool, error)
	// Resize makes the file that long. What is added reads as zeros and has its
	// room on the disk where the file system can promise that.
	Resize(size int64) error
}
