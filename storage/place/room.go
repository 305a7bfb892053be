package place

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/lectern/lectern/storage/vfs"
)

// room keeps account of the directory's bytes and holds those that are free in the
// reserve file.
type room struct {
	max     int64
	reserve vfs.File

	resizing sync.Mutex // held while the disk works; before mu
	taken    int64      // length of the reserve file

	mu      sync.Mutex // protects the fields below, and waits for no disk
	used    int64      // bytes of the files that hold something
	writing int64      // bytes of files that are being written
}

// Reserve allocates what is left beside files that have used bytes.
func (p *Place) Reserve(used int64) error {
	r := &p.room
	r.used = used
	if err := p.files.Remove(p.Path(ReserveName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := p.files.Create(p.Path(ReserveName))
	if err != nil {
		return err
	}
	r.reserve = f
	if err := r.settle(); err != nil {
		_ = f.Close()
		return err
	}
	return nil
}

// Settle makes the reserve as long as what is free, and warns where it cannot.
func (p *Place) Settle() {
	if err := p.room.settle(); err != nil {
		p.Warn("room on the disk is not reserved", err)
	}
}

// Free is how many bytes are free.
func (p *Place) Free() int64 {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	return p.room.max - p.room.used - p.room.writing
}

// Bytes is how many are not.
func (p *Place) Bytes() int64 {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	return p.room.used + p.room.writing
}

// count adds to the bytes that are being written, and to those that are used.
func (r *room) count(writing, used int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing += writing
	r.used += used
}

func (r *room) settle() error {
	r.resizing.Lock()
	defer r.resizing.Unlock()
	r.mu.Lock()
	want := max(0, r.max-r.used-r.writing)
	r.mu.Unlock()
	if want == r.taken || r.reserve == nil { // a start has only begun
		return nil
	}
	if err := r.reserve.Resize(want); err != nil {
		return fmt.Errorf("resize the reserve file to %d bytes: %w", want, err)
	}
	r.taken = want
	return nil
}
