// Package vfstest has a file system in Disk for tests: it tears writes, forgets what
// was not synced, fails on command, and dies at any step.
package vfstest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/lectern/lectern/storage/vfs"
)

// Disk is a file system of one directory, whatever the paths say before a file's
// name. Its fields are for whoever has it to himself at the time.
type Disk struct {
	Steps    int            // operations that change something, so far
	CrashAt  int            // the process is dead from this step on; 0: never
	Fault    func(Op) error // asked before each such operation; nil: never
	Unread   func(Op) error // asked before each read; nil: never
	Capacity int            // bytes of all files; 0: no end
	Trace    bool           // print each operation

	mu      sync.Mutex
	rng     *rand.Rand
	now     map[string]*inode // what a process sees
	disk    map[string]*inode // what a power loss leaves
	changes []change          // from disk to now, in order
	locked  bool
	births  int64
}

var _ vfs.FS = (*Disk)(nil)

// Op is an operation that may be made to fail.
type Op struct {
	What string // create, write, sync, resize, rename, remove, syncdir, read
	Name string
	Step int
}

// fits says whether the disk has room for that many more bytes.
func (m *Disk) fits(more int) error {
	if m.Capacity == 0 {
		return nil
	}
	for _, n := range m.now {
		more += len(n.data) + n.reserved
	}
	if more > m.Capacity {
		return ErrFull
	}
	return nil
}

type change struct {
	what     string
	name, to string
	node     *inode
}

// Sector is how many bytes are written whole or not at all.
const Sector = 512

// hollow is a file of which only the length counts: nobody reads it.
const hollow = "reserve"

type inode struct {
	data     []byte       // what a process reads
	safe     []byte       // what a power loss leaves
	dirty    map[int]bool // sectors that differ
	doomed   map[int]bool // of a failed sync: shown as written, never written
	reserved int          // bytes of a hollow file, which has no data
	sized    bool         // safe has the length of data
	born     int64
}

// What a Disk answers.
var (
	ErrCrash = errors.New("the process is dead")
	ErrFault = errors.New("made to fail") // for Fault
	ErrFull  = errors.New("the disk is full")
)

// New returns an empty one. The seed decides what a crash leaves.
func New(seed uint64) *Disk {
	return &Disk{rng: rand.New(rand.NewPCG(seed, 77)), now: map[string]*inode{}, disk: map[string]*inode{}}
}

// Fail sets Fault, also while others use the disk.
func (m *Disk) Fail(fault func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Fault = fault
}

// Dead says that the process has come to the step that it dies at.
func (m *Disk) Dead() bool { return m.CrashAt > 0 && m.Steps >= m.CrashAt }

// Data is what a process reads in a file; it may be changed in place.
func (m *Disk) Data(name string) []byte { return m.now[name].data }

// Put has a file on the disk, all of it durable, in place of one of that name.
func (m *Disk) Put(name string, data []byte) {
	m.births++
	n := &inode{data: data, safe: slices.Clone(data), dirty: map[int]bool{}, doomed: map[int]bool{}, sized: true, born: m.births}
	m.now[name], m.disk[name] = n, n
}

// Clone returns a disk with what a process sees on this one, all of it durable.
func (m *Disk) Clone() *Disk {
	c := New(uint64(m.Steps))
	c.births = m.births
	for name, n := range m.now {
		c.Put(name, slices.Clone(n.data))
		c.now[name].born = n.born
	}
	return c
}

// Names lists the files whose name begins so.
func (m *Disk) Names(prefix string) (names []string) {
	entries, _ := m.List("")
	for _, e := range entries {
		if strings.HasPrefix(e.Name, prefix) {
			names = append(names, e.Name)
		}
	}
	return names
}

// Image is all that a process sees.
func (m *Disk) Image() string {
	var s strings.Builder
	for _, name := range m.Names("") {
		fmt.Fprintf(&s, "%s %x\n", name, m.now[name].data)
	}
	return s.String()
}

// begin counts an operation, and says whether it fails.
func (m *Disk) begin(what, name string) (err error) {
	m.Steps++
	if m.Trace {
		defer func() { fmt.Println(" ", m.Steps, what, path.Base(name), err) }()
	}
	if m.CrashAt > 0 && m.Steps >= m.CrashAt {
		return ErrCrash
	}
	if m.Fault != nil {
		return m.Fault(Op{what, path.Base(name), m.Steps})
	}
	return nil
}

// dying says that the process is at the very operation that it dies in, so
// that half of it may happen.
func (m *Disk) dying() bool { return m.CrashAt > 0 && m.Steps == m.CrashAt }

// Die has every operation fail from now on, while others may still try some.
func (m *Disk) Die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.CrashAt = m.Steps
}

// Kill ends the process: what it wrote stays visible.
func (m *Disk) Kill() {
	m.locked, m.CrashAt, m.Fault, m.Unread = false, 0, nil, nil
}

// PowerLoss ends the machine: of what was not synced, anything may be left.
func (m *Disk) PowerLoss() {
	m.Kill()
	for _, c := range m.changes {
		if m.rng.IntN(2) == 0 {
			c.apply(m.disk)
		}
	}
	m.changes = nil
	m.now = map[string]*inode{}
	seen := map[*inode]bool{}
	for _, name := range slices.Sorted(maps.Keys(m.disk)) {
		n := m.disk[name]
		m.now[name] = n
		if !seen[n] {
			seen[n] = true
			n.lose(m.rng)
		}
	}
}

func (c *change) apply(dir map[string]*inode) {
	switch c.what {
	case "create":
		dir[c.name] = c.node
	case "remove":
		delete(dir, c.name)
	case "rename":
		// The name moves with the file, also where its creation was lost.
		delete(dir, c.name)
		dir[c.to] = c.node
	}
}

func (n *inode) lose(rng *rand.Rand) {
	length := len(n.safe)
	if !n.sized && rng.IntN(2) == 0 {
		length = len(n.data)
	}
	after := make([]byte, length)
	copy(after, n.safe)
	sectors := make([]int, 0, len(n.dirty))
	for s := range n.dirty {
		sectors = append(sectors, s)
	}
	slices.Sort(sectors)
	for _, s := range sectors {
		from := s * Sector
		if n.doomed[s] || rng.IntN(2) == 0 || from >= length || from >= len(n.data) {
			continue
		}
		copy(after[from:min(from+Sector, length)], n.data[from:])
	}
	n.safe, n.data = after, slices.Clone(after)
	n.dirty, n.doomed, n.sized = map[int]bool{}, map[int]bool{}, true
}

// MakeDir is vfs.FS.MakeDir.
func (m *Disk) MakeDir(string) error { return nil }

// List is vfs.FS.List.
func (m *Disk) List(string) ([]vfs.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []vfs.Entry
	for name, n := range m.now {
		entries = append(entries, vfs.Entry{Name: name, Size: int64(len(n.data))})
	}
	slices.SortFunc(entries, func(a, b vfs.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (m *Disk) change(c change) {
	c.apply(m.now)
	m.changes = append(m.changes, c)
}

// Create is vfs.FS.Create.
func (m *Disk) Create(name string) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin("create", name); err != nil {
		return nil, err
	}
	m.births++
	n := &inode{dirty: map[int]bool{}, doomed: map[int]bool{}, sized: true, born: m.births}
	m.change(change{what: "create", name: path.Base(name), node: n})
	return &file{m, n, path.Base(name)}, nil
}

// Open is vfs.FS.Open.
func (m *Disk) Open(name string) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.now[path.Base(name)]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return &file{m, n, path.Base(name)}, nil
}

// Rename is vfs.FS.Rename.
func (m *Disk) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to = path.Base(from), path.Base(to)
	if err := m.begin("rename", to); err != nil {
		return err
	}
	n := m.now[from]
	if n == nil {
		return fs.ErrNotExist
	}
	m.change(change{"rename", from, to, n})
	return nil
}

// Remove is vfs.FS.Remove.
func (m *Disk) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Base(name)
	if err := m.begin("remove", name); err != nil {
		return err
	}
	if m.now[name] == nil {
		return fs.ErrNotExist
	}
	m.change(change{what: "remove", name: name})
	return nil
}

// SyncDir is vfs.FS.SyncDir.
func (m *Disk) SyncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin("syncdir", ""); err != nil {
		return err
	}
	for _, c := range m.changes {
		c.apply(m.disk)
	}
	m.changes = nil
	return nil
}

type lock struct{ m *Disk }

func (l lock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.locked = false
	return nil
}

// Lock is vfs.FS.Lock.
func (m *Disk) Lock(string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, vfs.ErrLocked
	}
	m.locked = true
	return lock{m}, nil
}

type file struct {
	m    *Disk
	n    *inode
	name string
}

func (f *file) ReadAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.Unread != nil {
		if err := f.m.Unread(Op{"read", f.name, f.m.Steps}); err != nil {
			return 0, err
		}
	}
	if at >= int64(len(f.n.data)) {
		if len(b) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(b, f.n.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.begin("write", f.name)
	if err != nil {
		if !f.m.dying() && err == ErrCrash {
			return 0, err
		}
		b = b[:f.m.rng.IntN(len(b)+1)] // a part of it is written
	}
	if grow := int(at) + len(b) - len(f.n.data); grow > 0 {
		if full := f.m.fits(grow); full != nil {
			return 0, full
		}
		f.n.data = append(f.n.data, make([]byte, grow)...)
		f.n.sized = false
	}
	copy(f.n.data[at:], b)
	if len(b) > 0 {
		for s := int(at) / Sector; s <= (int(at)+len(b)-1)/Sector; s++ {
			f.n.dirty[s] = true
			delete(f.n.doomed, s)
		}
	}
	return len(b), err
}

func (f *file) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.begin("sync", f.name); err != nil {
		if err != ErrCrash {
			for s := range f.n.dirty { // the pages are clean now, and nowhere
				if s%2 == 0 {
					f.n.doomed[s] = true
				}
			}
		}
		return err
	}
	n := f.n
	if !n.sized {
		if len(n.safe) < len(n.data) {
			n.safe = append(n.safe, make([]byte, len(n.data)-len(n.safe))...)
		}
		n.safe = n.safe[:len(n.data)]
		n.sized = true
	}
	for s := range n.dirty {
		if n.doomed[s] {
			continue
		}
		if from := s * Sector; from < len(n.data) {
			copy(n.safe[from:min(from+Sector, len(n.data))], n.data[from:])
		}
		delete(n.dirty, s)
	}
	return nil
}

func (f *file) At(name string) (bool, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.m.now[path.Base(name)] == f.n, nil
}

func (f *file) Birth() (int64, bool) { return f.n.born, true }

func (f *file) Resize(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.begin("resize", f.name); err != nil {
		return err
	}
	if err := f.m.fits(int(size) - len(f.n.data) - f.n.reserved); err != nil {
		return err
	}
	if f.name == hollow {
		f.n.reserved = int(size) // nobody reads it
		return nil
	}
	if now := len(f.n.data); int(size) > now {
		f.n.data = append(f.n.data, make([]byte, int(size)-now)...)
	} else {
		f.n.data = f.n.data[:size]
	}
	f.n.sized = false
	return nil
}

func (f *file) Close() error { return nil }
