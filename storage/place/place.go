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
	p.room.count(0, -*size)
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
func (p *Place) Close() error { return p.room.reserve.Close() }
