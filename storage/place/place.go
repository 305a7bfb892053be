// Package place has the directory that a daemon keeps its spool in: how many bytes its
// files may take together, and in which order changes of their names become durable. It
// knows nothing of what is in the files.
//
// A file gets its name only by a rename from a temporary one, when all of the file is
// durable, and each change of a name is durable before the next one is made. Bytes that
// the place may have and has not used yet are allocated in a reserve file, so that a full
// disk shows at the start and not in the night.
package place

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/lectern/lectern/storage/vfs"
)

// The ends of names: of what is being written, which a start removes, and of what was
// set aside, which nobody touches.
const (
	TempSuffix = ".tmp"
	BadSuffix  = ".bad"
)

// ReserveName is the name of the reserve file.
const ReserveName = "reserve"

// Place is an open directory. Methods that say so need its lock; the others may be
// called concurrently.
type Place struct {
	sync.Mutex // protects the names, and what follows

	Synced func()                       // called with the lock when all changes of names are durable; may be nil
	Warn   func(what string, err error) // hears of a failure that goes on from

	files  vfs.FS
	dir    string
	dirty  bool   // changes of names are not all durable
	temps  uint64 // counts the temporary names
	room   room
	anchor atomic.Pointer[anchor]
}

// New returns the place of a directory that is there, and that this process has.
func New(files vfs.FS, dir string, sizeMax int64) *Place {
	return &Place{files: files, dir: dir, room: room{max: sizeMax}}
}

// Path is that of a file.
func (p *Place) Path(name string) string { return filepath.Join(p.dir, name) }

// Create makes a file with a temporary name. The caller has the lock.
func (p *Place) Create() (f vfs.File, temp string, err error) {
	if err := p.Present(); err != nil {
		return nil, "", err
	}
	p.temps++
	temp = fmt.Sprintf("%d%s", p.temps, TempSuffix)
	f, err = p.files.Create(p.Path(temp))
	return f, temp, err
}

// WriteSmall writes a small file, durable when no error is returned, in place of one
// that was there. The caller has the lock.
func (p *Place) WriteSmall(name string, text func(vfs.File) []byte) error {
	f, temp, err := p.Create()
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(text(f), 0); err == nil {
		err = f.Sync()
	}
	_ = f.Close() // Sync said what there is to say
	if err == nil {
		err = p.Publish(temp, name)
	}
	if err != nil {
		p.Discard(temp)
		return err
	}
	return p.Sync()
}

// RemoveSmall removes a small file, for good when no error is returned. One that is not
// there is none. The caller has the lock.
func (p *Place) RemoveSmall(name string) error {
	switch err := p.files.Remove(p.Path(name)); {
	case err == nil:
		p.dirty = true
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return p.Sync()
}

// Discard removes a temporary file; what is left over, the next start removes.
func (p *Place) Discard(temp string) { _ = p.files.Remove(p.Path(temp)) }

// Publish gives a file its name. The changes before it are durable first, so that no
// file can be there without those that were there before it. The caller has the lock.
func (p *Place) Publish(temp, name string) error {
	if err := p.Sync(); err != nil {
		return err
	}
	if err := p.files.Rename(p.Path(temp), p.Path(name)); err != nil {
		return err
	}
	p.dirty = true
	return nil
}

// Sync makes changes of names durable, where there are any. The caller has the lock.
func (p *Place) Sync() error {
	if !p.dirty {
		return nil
	}
	if err := p.files.SyncDir(p.dir); err != nil {
		return fmt.Errorf("sync the directory %s: %w", p.dir, err)
	}
	p.dirty = false
	if p.Synced != nil {
		p.Synced()
	}
	return nil
}

// Remove removes a file of that size and says whether it is gone. The size is 0
// afterwards, so that it is taken off once. The caller has the lock.
func (p *Place) Remove(name string, size *int64) bool {
	if err := p.files.Remove(p.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.Warn("a file cannot be removed", err)
		return false
	}
	p.dirty = true
	p.room.removed(*size)
	*size = 0
	return true
}

// SetAside gives a damaged file another name, under which it stays, and says whether
// it has. The caller has the lock.
func (p *Place) SetAside(name string) bool {
	if err := p.files.Rename(p.Path(name), p.Path(name+BadSuffix)); err != nil {
		p.Warn("a damaged file cannot be renamed", err)
		return false
	}
	p.dirty = true
	return true
}

// Close releases the reserve file, which keeps its bytes.
func (p *Place) Close() error { return p.room.close() }
