// Package logfile opens log files at a place, and follows them while they grow, are
// renamed and are cut.
package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
)

// PollInterval is how often a file that is followed is looked at.
const PollInterval = 250 * time.Millisecond

// HeadSize is how much of its beginning a log is known by, in bytes.
const HeadSize = 4096

// lastWords is how many looks a file that was renamed has to be silent for:
// servers write to it until they are told to open the new one.
const lastWords = 4

// File is one log file. It is not safe for concurrent use, but for Progress.
type File struct {
	*accesslog.Reader
	path  string
	file  *os.File
	info  fs.FileInfo
	head  []byte
	read  atomic.Int64 // bytes of the file
	looks int          // since it is silent and another has its name
}

// Open opens the file, and reads its first head bytes, unpacked. From is
// to be called before anything else.
func Open(path string, head int) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	f := &File{path: path, file: file}
	if f.info, err = file.Stat(); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	if head == 0 || !f.info.Mode().IsRegular() {
		return f, nil
	}
	if f.head, err = accesslog.Head(file, head); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("cannot read the log %s: %w", path, err)
	}
	return f, nil
}

// Head is the log's beginning, unpacked. Where it is shorter than was asked for,
// it is all that there was.
func (f *File) Head() []byte {
	if len(f.head) < HeadSize && f.Reader != nil && !f.Packed() && f.Offset() > int64(len(f.head)) {
		_, _ = f.sameHead() // it has grown; where it cannot be read, it is known by less
	}
	return f.head
}

// Info is of the file as it was opened.
func (f *File) Info() fs.FileInfo { return f.info }

// Start reads the log from its beginning.
func (f *File) Start() (err error) {
	f.Reader, err = accesslog.NewReader(counted{f})
	if err != nil {
		return fmt.Errorf("cannot read the log %s: %w", f.path, err)
	}
	return nil
}

// counted counts the bytes that are read from the file.
type counted struct{ f *File }

func (c counted) Read(b []byte) (int, error) {
	n, err := c.f.file.Read(b)
	c.f.read.Add(int64(n))
	return n, err
}

// Progress is the share of the file that was read, negative where nobody knows. It
// may be called while the file is read.
func (f *File) Progress() float64 {
	if !f.info.Mode().IsRegular() || f.info.Size() == 0 {
		return -1
	}
	return float64(f.read.Load()) / float64(f.info.Size())
}

// Close releases the file.
func (f *File) Close() error { return f.file.Close() }

// Change is what became of a file that is followed.
type Change int

// The changes.
const (
	Grown    Change = iota // there is more
	Replaced               // another file has its name, and it has been silent for a while
	Cut                    // it is shorter than it was, or begins otherwise: it begins anew
)

// Wait returns when the file has changed, or ctx has ended. Everything that was in
// it must have been read. idle is called at each look.
func (f *File) Wait(ctx context.Context, idle func() error) (Change, error) {
	for {
		if err := idle(); err != nil {
			return 0, err
		}
		timer := time.NewTimer(PollInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, ctx.Err()
		}
		change, changed, err := f.look()
		if changed || err != nil {
			return change, err
		}
	}
}

func (f *File) look() (c Change, changed bool, err error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, false, fmt.Errorf("cannot follow the log %s: %w", f.path, err)
	}
	read := f.read.Load()
	switch {
	case info.Size() < read:
		return Cut, true, nil
	case info.Size() > read:
		f.looks = 0
		same, err := f.sameHead()
		if err != nil || same {
			return Grown, same, err
		}
		return Cut, true, nil
	}
	named, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // renamed, and the next one is not there yet
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("cannot follow the log %s: %w", f.path, err)
	case os.SameFile(named, info):
		return 0, false, nil
	}
	f.looks++
	return Replaced, f.looks >= lastWords, nil
}

// sameHead reports whether the file still begins as it did: one that was cut may
// have grown past where it was before anybody looked.
func (f *File) sameHead() (bool, error) {
	now := make([]byte, HeadSize)
	n, err := f.file.ReadAt(now, 0)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("cannot follow the log %s: %w", f.path, err)
	}
	if !bytes.HasPrefix(now[:n], f.head) {
		return false, nil
	}
	f.head = now[:n]
	return true, nil
}

// Renamed looks for what a log of that name has become: a file beside it, whose
// name begins with the log's or with the log's without its extension, and of which
// is says that it is the one.
func Renamed(path string, head int, is func(info fs.FileInfo, head []byte) bool) (string, bool) {
	dir, name := filepath.Split(path)
	stem := strings.TrimSuffix(name, filepath.Ext(name))
	list, err := os.ReadDir(filepath.Clean(dir)) // of "" it is "."
	if err != nil {
		return "", false
	}
	for _, e := range list {
		if e.Name() == name || !e.Type().IsRegular() || stem == "" || !strings.HasPrefix(e.Name(), stem) {
			continue
		}
		beside := filepath.Join(dir, e.Name())
		f, err := Open(beside, head)
		if err != nil {
			continue // not a log, or not ours to read
		}
		found := is(f.Info(), f.Head())
		_ = f.Close() // it was only read
		if found {
			return beside, true
		}
	}
	return "", false
}
