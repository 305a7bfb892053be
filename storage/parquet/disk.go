package parquet

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// disk is what the store does to the file system. Tests put failures in.
type disk interface {
	ReadDir(dir string) ([]fs.DirEntry, error)
	Open(path string) (*os.File, error)
	Mkdir(dir string) error
	Create(path string) (file, error)
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(dir string) error
}

// file is one that is being written.
type file interface {
	io.Writer
	Sync() error
	Close() error
}

// Who reads what is no business of everybody on the machine. The group may, so that
// an account of its own can ask the files.
const (
	dirMode  = 0o750
	fileMode = 0o640
)

type realDisk struct{}

func (realDisk) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (realDisk) Open(path string) (*os.File, error)        { return os.Open(path) }
func (realDisk) Mkdir(dir string) error                    { return os.Mkdir(dir, dirMode) }
func (realDisk) Rename(from, to string) error              { return os.Rename(from, to) }
func (realDisk) Remove(path string) error                  { return os.Remove(path) }

func (realDisk) Create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
}

func (realDisk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// makeDir makes a directory and its parents, and all of them durable.
func makeDir(d disk, dir string) error {
	err := d.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDir(d, filepath.Dir(dir)); err == nil {
			err = d.Mkdir(dir)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.SyncDir(filepath.Dir(dir))
}

// writeTemp writes a file with a temporary name, in the same directory, so that
// a rename will make it visible whole.
func writeTemp(d disk, path string, write func(io.Writer) error) (temp string, err error) {
	temp = filepath.Join(filepath.Dir(path), tempPrefix+filepath.Base(path))
	return temp, writeFile(d, temp, write)
}

// writeFile writes a durable file. After a failure nothing of it is left.
func writeFile(d disk, path string, write func(io.Writer) error) error {
	f, err := d.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = d.Remove(path) // else the next start does it
	}
	return err
}
