package collector

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"

	"github.com/lectern/lectern/storage/spool"
)

// disk is a spool.Files in memory that forgets what was not synced, tears
// writes, fails, and dies in the middle of an operation. One goroutine uses it.
type disk struct {
	rand    *rand.Rand
	names   map[string]*inode // what a process sees
	safe    map[string]*inode // what a power loss leaves
	changes []func(map[string]*inode)
	steps   int  // operations so far that change something
	diesAt  int  // the operation at which the process dies; 0: none
	failing int  // the operation until which some fail
	ofNames bool // those are syncs of the directory, and all of these
}

var (
	errDead  = errors.New("the process is dead")
	errFault = errors.New("made to fail")
)

type inode struct {
	data   []byte // what a process reads
	safe   []byte // what a power loss leaves for certain
	writes []unsynced
}

// unsynced is a write that a power loss may tear or undo.
type unsynced struct {
	at int64
	b  []byte
}

const sector = 512

func newDisk(r *rand.Rand) *disk {
	return &disk{rand: r, names: map[string]*inode{}, safe: map[string]*inode{}}
}

func (d *disk) dead() bool { return d.diesAt > 0 && d.steps >= d.diesAt }

// begin counts an operation and says whether it fails.
func (d *disk) begin() error {
	d.steps++
	switch {
	case d.dead():
		return errDead
	case d.steps < d.failing && !d.ofNames && d.rand.IntN(3) == 0:
		return errFault
	}
	return nil
}

// restart ends the process, and with power the machine.
func (d *disk) restart(power bool) {
	d.diesAt, d.failing = 0, 0
	if !power {
		return
	}
	for _, change := range d.changes {
		if d.rand.IntN(2) == 0 {
			change(d.safe)
		}
	}
	d.changes = nil
	d.names = maps.Clone(d.safe)
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		d.names[name].lose(d.rand)
	}
}

// lose leaves of each write that was not synced all, nothing, or some sectors.
func (n *inode) lose(r *rand.Rand) {
	if r.IntN(2) == 0 {
		n.safe = resized(n.safe, len(n.data))
	}
	for _, w := range n.writes {
		how := r.IntN(3)
		for from := 0; from < len(w.b); {
			to := min(len(w.b), from+sector-(int(w.at)+from)%sector)
			if at := int(w.at) + from; (how == 0 || how == 1 && r.IntN(2) == 0) && at < len(n.safe) {
				copy(n.safe[at:], w.b[from:to])
			}
			from = to
		}
	}
	n.writes = nil
	n.data = slices.Clone(n.safe)
}

func resized(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

// clone returns the disk as a process sees it, all of it durable.
func (d *disk) clone() *disk {
	c := newDisk(d.rand)
	for name, n := range d.names {
		c.names[name] = &inode{data: slices.Clone(n.data), safe: slices.Clone(n.data)}
	}
	c.safe = maps.Clone(c.names)
	return c
}

// change changes the directory, durably only once it is synced.
func (d *disk) change(f func(map[string]*inode)) error {
	if err := d.begin(); err != nil {
		return err
	}
	f(d.names)
	d.changes = append(d.changes, f)
	return nil
}

func (d *disk) MakeDir(string) error { return nil }

func (d *disk) List(string) (entries []spool.Entry, err error) {
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		entries = append(entries, spool.Entry{Name: name, Size: int64(len(d.names[name].data))})
	}
	return entries, nil
}

func (d *disk) Create(name string) (spool.File, error) {
	n := &inode{}
	name = path.Base(name)
	err := d.change(func(dir map[string]*inode) { dir[name] = n })
	return &file{d, n, name}, err
}

func (d *disk) Open(name string) (spool.File, error) {
	name = path.Base(name)
	if n := d.names[name]; n != nil {
		return &file{d, n, name}, nil
	}
	return nil, fs.ErrNotExist
}

func (d *disk) Rename(from, to string) error {
	from, to = path.Base(from), path.Base(to)
	n := d.names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	return d.change(func(dir map[string]*inode) {
		delete(dir, from)
		dir[to] = n
	})
}

func (d *disk) Remove(name string) error {
	name = path.Base(name)
	if d.names[name] == nil {
		return fs.ErrNotExist
	}
	return d.change(func(dir map[string]*inode) { delete(dir, name) })
}

func (d *disk) SyncDir(string) error {
	if err := d.begin(); err != nil {
		return err
	}
	if d.steps < d.failing && d.ofNames {
		return errFault
	}
	for _, change := range d.changes {
		change(d.safe)
	}
	d.changes = nil
	return nil
}

func (d *disk) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// file is an open one.
type file struct {
	d    *disk
	n    *inode
	name string
}

func (f *file) ReadAt(b []byte, at int64) (int, error) {
	n := 0
	if at < int64(len(f.n.data)) {
		n = copy(b, f.n.data[at:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, at int64) (int, error) {
	err := f.d.begin()
	if err == errDead && f.d.steps > f.d.diesAt {
		return 0, err
	}
	if err != nil { // a part of it is written
		b = b[:f.d.rand.IntN(len(b)+1)]
	}
	if end := int(at) + len(b); end > len(f.n.data) {
		f.n.data = resized(f.n.data, end)
	}
	copy(f.n.data[at:], b)
	f.n.writes = append(f.n.writes, unsynced{at, slices.Clone(b)})
	return len(b), err
}

// Sync makes the writes durable. Where it fails, some of them never will be,
// whatever is read and whatever a later sync says.
func (f *file) Sync() error {
	err := f.d.begin()
	switch {
	case err == errDead:
		return err
	case err != nil:
		f.n.writes = slices.DeleteFunc(f.n.writes, func(unsynced) bool { return f.d.rand.IntN(2) == 0 })
		return err
	}
	f.n.safe = resized(f.n.safe, len(f.n.data))
	for _, w := range f.n.writes {
		if w.at < int64(len(f.n.safe)) {
			copy(f.n.safe[w.at:], w.b)
		}
	}
	f.n.writes = nil
	return nil
}

// Birth is not known: a copy of the disk is to be found out by its numbers.
func (f *file) Birth() (int64, bool) { return 0, false }

func (f *file) At(name string) (bool, error) { return f.d.names[path.Base(name)] == f.n, nil }

func (f *file) Size() (int64, error) { return int64(len(f.n.data)), nil }

func (f *file) Resize(size int64) error {
	if f.name == "reserve" {
		return nil // nobody reads it
	}
	if err := f.d.begin(); err != nil {
		return err
	}
	f.n.data = resized(f.n.data, int(size))
	return nil
}

func (f *file) Close() error { return nil }
