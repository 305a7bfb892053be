package place

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/lectern/lectern/storage/vfs"
)

// Draft is a file that is being written, under a temporary name.
type Draft struct {
	vfs.File
	place *Place
	temp  string
	room  int64 // bytes that are kept for it
}

// Draft begins a file that will have about size bytes, for which it takes room out of the
// reserve. Publish or Discard is to follow. The caller has the lock.
func (p *Place) Draft(size int64) (*Draft, error) {
	if err := p.Present(); err != nil {
		return nil, err
	}
	p.room.count(size, 0)
	p.Settle()
	p.temps++
	d := &Draft{place: p, temp: fmt.Sprintf("%d%s", p.temps, TempSuffix), room: size}
	var err error
	if d.File, err = p.files.Create(p.Path(d.temp)); err != nil {
		p.room.count(-size, 0)
		return nil, err
	}
	return d, nil
}

// Publish gives the file, of which all is durable, its name and says how many bytes it
// has. The changes of names before are made durable first, so that no file can be there
// without those that were there before it. The file stays open. The caller has the lock.
func (d *Draft) Publish(name string, size int64) error {
	p := d.place
	if err := p.Sync(); err != nil {
		return err
	}
	if err := p.files.Rename(p.Path(d.temp), p.Path(name)); err != nil {
		return err
	}
	p.dirty = true
	p.room.count(-d.room, size)
	return nil
}

// Discard gives the file up. What is left of it, the next start removes.
func (d *Draft) Discard() {
	_ = d.Close()
	_ = d.place.files.Remove(d.place.Path(d.temp))
	d.place.room.count(-d.room, 0)
	d.place.Settle()
}

// WriteSmall writes a small file, durable when no error is returned, in place of one
// that was there. The caller has the lock.
func (p *Place) WriteSmall(name string, text func(vfs.File) []byte) error {
	d, err := p.Draft(0)
	if err != nil {
		return err
	}
	if _, err = d.WriteAt(text(d), 0); err == nil {
		err = d.Sync()
	}
	if err == nil {
		err = d.Publish(name, 0)
	}
	if err != nil {
		d.Discard()
		return err
	}
	_ = d.Close() // Sync said what there is to say
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
