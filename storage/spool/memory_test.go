package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
)

// memory is a file system that forgets what was not synced, tears writes and
// fails on command.
type memory struct {
	mu      sync.Mutex
	rng     *rand.Rand
	now     map[string]*inode // what a process sees
	disk    map[string]*inode // what a power loss leaves
	changes []change          // from disk to now, in order
	locked  bool
	births  int64
	steps   int // operations that change something, so far

	trace    bool
	capacity int            // bytes of all files; 0: no end
	crashAt  int            // the process is dead from this step on; 0: never
	fault    func(op) error // asked before each such operation; nil: never
	unread   func(op) error // asked before each read; nil: never
}

type op struct {
	what string // create, write, sync, resize, rename, remove, syncdir
	name string
	step int
}

// fits says whether the disk has room for that many more bytes.
func (m *memory) fits(more int) error {
	if m.capacity == 0 {
		return nil
	}
	for _, n := range m.now {
		more += len(n.data) + n.reserved
	}
	if more > m.capacity {
		return errFull
	}
	return nil
}

type change struct {
	what     string
	name, to string
	node     *inode
}

const sector = 512

type inode struct {
	data     []byte       // what a process reads
	safe     []byte       // what a power loss leaves
	dirty    map[int]bool // sectors that differ
	doomed   map[int]bool // of a failed sync: shown as written, never written
	reserved int          // bytes of the reserve file, which has no data
	sized    bool         // safe has the length of data
	born     int64
}

var (
	errCrash = errors.New("crashed")
	errFault = errors.New("made to fail")
)

func newMemory(seed uint64) *memory {
	return &memory{rng: rand.New(rand.NewPCG(seed, 77)), now: map[string]*inode{}, disk: map[string]*inode{}}
}

// begin counts an operation, and says whether it fails.
func (m *memory) begin(what, name string) (err error) {
	m.steps++
	if m.trace {
		defer func() { fmt.Println(" ", m.steps, what, path.Base(name), err) }()
	}
	if m.crashAt > 0 && m.steps >= m.crashAt {
		return errCrash
	}
	if m.fault != nil {
		return m.fault(op{what, path.Base(name), m.steps})
	}
	return nil
}

// crashed says that the process is at the very operation that it dies in, so
// that half of it may happen.
func (m *memory) dying() bool { return m.crashAt > 0 && m.steps == m.crashAt }

// kill ends the process: what it wrote stays visible.
func (m *memory) kill() {
	m.locked, m.crashAt, m.fault, m.unread = false, 0, nil, nil
}

// powerLoss ends the machine: of what was not synced, anything may be left.
func (m *memory) powerLoss() {
	m.kill()
	for _, c := range m.changes {
		if m.rng.IntN(2) == 0 {
			c.apply(m.disk)
		}
	}
	m.changes = nil
	m.now = map[string]*inode{}
	seen := map[*inode]bool{}
	for name, n := range m.disk {
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
		from := s * sector
		if n.doomed[s] || rng.IntN(2) == 0 || from >= length || from >= len(n.data) {
			continue
		}
		copy(after[from:min(from+sector, length)], n.data[from:])
	}
	n.safe, n.data = after, slices.Clone(after)
	n.dirty, n.doomed, n.sized = map[int]bool{}, map[int]bool{}, true
}

func (m *memory) MakeDir(string) error { return nil }

func (m *memory) List(string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []Entry
	for name, n := range m.now {
		entries = append(entries, Entry{name, int64(len(n.data))})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (m *memory) change(c change) {
	c.apply(m.now)
	m.changes = append(m.changes, c)
}

func (m *memory) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin("create", name); err != nil {
		return nil, err
	}
	m.births++
	n := &inode{dirty: map[int]bool{}, doomed: map[int]bool{}, sized: true, born: m.births}
	m.change(change{what: "create", name: path.Base(name), node: n})
	return &memoryFile{m, n, path.Base(name)}, nil
}

func (m *memory) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.now[path.Base(name)]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return &memoryFile{m, n, path.Base(name)}, nil
}

func (m *memory) Rename(from, to string) error {
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

func (m *memory) Remove(name string) error {
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

func (m *memory) SyncDir(string) error {
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

type memoryLock struct{ m *memory }

func (l memoryLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.locked = false
	return nil
}

func (m *memory) Lock(string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, errHeld
	}
	m.locked = true
	return memoryLock{m}, nil
}

type memoryFile struct {
	m    *memory
	n    *inode
	name string
}

func (f *memoryFile) ReadAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.unread != nil {
		if err := f.m.unread(op{"read", f.name, f.m.steps}); err != nil {
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

func (f *memoryFile) WriteAt(b []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.begin("write", f.name)
	if err != nil {
		if !f.m.dying() && err == errCrash {
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
		for s := int(at) / sector; s <= (int(at)+len(b)-1)/sector; s++ {
			f.n.dirty[s] = true
			delete(f.n.doomed, s)
		}
	}
	return len(b), err
}

func (f *memoryFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.begin("sync", f.name); err != nil {
		if err != errCrash {
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
		if from := s * sector; from < len(n.data) {
			copy(n.safe[from:min(from+sector, len(n.data))], n.data[from:])
		}
		delete(n.dirty, s)
	}
	return nil
}

func (f *memoryFile) At(name string) (bool, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.m.now[path.Base(name)] == f.n, nil
}

func (f *memoryFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memoryFile) Birth() (int64, bool) { return f.n.born, true }

func (f *memoryFile) Resize(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.begin("resize", f.name); err != nil {
		return err
	}
	if err := f.m.fits(int(size) - len(f.n.data) - f.n.reserved); err != nil {
		return err
	}
	if f.name == "reserve" {
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

func (f *memoryFile) Close() error { return nil }
