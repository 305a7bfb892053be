// Package once remembers in a directory how far logs were sent, so that no run
// sends again what an earlier one has.
//
// A log is known by its beginning, and by its inode: one that was renamed,
// compressed or copied is the same log, and another one by the same name is not.
package once

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cespare/xxhash/v2"
)

const (
	stateName = "sent.json"
	lockName  = "lock"
	// version is that of the file. A newer one is refused and left alone.
	version = 1
	// headSure is how much of a log's beginning is enough to know it by, in bytes:
	// shorter logs of different sites may begin alike, so their inode counts too.
	headSure = 512
	// logsMax bounds how many logs are remembered. The one that was not sent from
	// for longest is forgotten first.
	logsMax = 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Mark is where the client library was when a place in a log was remembered; see
// emit.Position. The zero value is that of one that keeps no account.
type Mark struct {
	Source uint64 `json:"source,string"`
	Events uint64 `json:"events"`
}

// Log is what is remembered of one.
type Log struct {
	Name   string `json:"name"` // that it was sent under last
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Size   int    `json:"head_size"`   // bytes of its beginning
	Sum    uint64 `json:"head,string"` // their xxHash64
	// Offset is where the first line begins that was not sent, in bytes of the
	// unpacked log, and Events how many of the events behind it were.
	Offset int64  `json:"offset"`
	Events uint64 `json:"events"`
}

// state is the file.
type state struct {
	Version int    `json:"version"`
	To      string `json:"to"` // collector and stream
	Mark    Mark   `json:"mark"`
	Logs    []Log  `json:"logs"` // the one that was sent from last is the last
}

// Memory is what one directory remembers. One process has it at a time. It is not
// safe for concurrent use.
type Memory struct {
	dir   string
	lock  *os.File
	state state
}

// Open reads what dir remembers of the logs that were sent to a collector, and
// makes the directory where there is none.
func Open(dir, to string) (*Memory, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of --once: %w", err)
	}
	m := &Memory{dir: dir, state: state{Version: version, To: to}}
	if err := m.take(); err != nil {
		return nil, err
	}
	if err := m.read(to); err != nil {
		_ = m.lock.Close()
		return nil, err
	}
	return m, nil
}

func (m *Memory) take() (err error) {
	path := filepath.Join(m.dir, lockName)
	if m.lock, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("cannot have the directory of --once for this run: %w", err)
	}
	err = syscall.Flock(int(m.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return nil
	}
	_ = m.lock.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("another run has --once %s: wait for its end, or give each its own", m.dir)
	}
	return fmt.Errorf("cannot lock %s: %w", path, err)
}

func (m *Memory) read(to string) error {
	path := filepath.Join(m.dir, stateName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read what was sent: %w", err)
	}
	body, sum, err := split(text)
	var s state
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	switch {
	case err == nil && s.Version > version:
		return fmt.Errorf("%s is of a newer lectern (version %d): use that one, or another directory", path, s.Version)
	case err == nil && sum != crc32.Checksum(body, castagnoli):
		err = errors.New("its checksum is wrong")
	}
	if err != nil {
		return fmt.Errorf("cannot read what was sent: %s is damaged (%w): without it everything is sent again; move it away if that is right", path, err)
	}
	if s.To != to {
		return fmt.Errorf("--once %s remembers what was sent to %s: give another directory for %s", m.dir, s.To, to)
	}
	m.state = s
	return nil
}

// split takes the last line, a checksum of all before it, off.
func split(text []byte) (body []byte, sum uint32, err error) {
	const size = len("0123abcd\n")
	if len(text) < size {
		return nil, 0, errors.New("it is too short")
	}
	body = text[:len(text)-size]
	_, err = fmt.Sscanf(string(text[len(body):]), "%08x\n", &sum)
	return body, sum, err
}

// Mark is the mark that was saved last.
func (m *Memory) Mark() Mark { return m.state.Mark }

// Owe notes that further events of the log that was sent from last have been taken, and where the library is now.
func (m *Memory) Owe(events uint64, at Mark) error {
	if n := len(m.state.Logs); n > 0 {
		m.state.Logs[n-1].Events += events
	}
	m.state.Mark = at
	return m.write()
}

// Find returns what is remembered of a log that begins so, and false where that is
// nothing. info is of the file that it is in.
func (m *Memory) Find(name string, info fs.FileInfo, head []byte) (l Log, known bool) {
	device, inode := identity(info)
	for _, l := range slices.Backward(m.state.Logs) {
		same := l.Inode == inode && l.Device == device
		if len(head) >= l.Size && (same || l.Size >= headSure) && xxhash.Sum64(head[:l.Size]) == l.Sum {
			l.Name, l.Device, l.Inode = name, device, inode
			l.Know(head)
			return l, true
		}
	}
	l = Log{Name: name, Device: device, Inode: inode}
	l.Know(head)
	return l, false
}

// Know takes what the log begins with for what it is known by.
func (l *Log) Know(head []byte) { l.Size, l.Sum = len(head), xxhash.Sum64(head) }

// Last is the log that was sent from last, false where there is none.
func (m *Memory) Last() (Log, bool) {
	if n := len(m.state.Logs); n > 0 {
		return m.state.Logs[n-1], true
	}
	return Log{}, false
}

// Save remembers a log, durably, with the mark that belongs to it.
func (m *Memory) Save(l Log, at Mark) error {
	device, inode := l.Device, l.Inode
	m.state.Logs = slices.DeleteFunc(m.state.Logs, func(o Log) bool {
		return o.Device == device && o.Inode == inode || o.Size <= l.Size && o.Size == l.Size && o.Sum == l.Sum && o.Size >= headSure
	})
	m.state.Logs = append(m.state.Logs, l)
	if extra := len(m.state.Logs) - logsMax; extra > 0 {
		m.state.Logs = slices.Delete(m.state.Logs, 0, extra)
	}
	m.state.Mark = at
	return m.write()
}

// write replaces the file.
func (m *Memory) write() error {
	body, err := json.MarshalIndent(&m.state, "", " ")
	if err == nil {
		body = append(body, '\n')
		text := fmt.Appendf(body, "%08x\n", crc32.Checksum(body, castagnoli))
		err = replace(filepath.Join(m.dir, stateName), text)
	}
	if err != nil {
		return fmt.Errorf("cannot remember what was sent: %w", err)
	}
	return nil
}

func replace(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Queue is the directory of the queue that belongs to this memory.
func Queue(dir string) string { return filepath.Join(dir, "queue") }

// Close lets another run have the directory.
func (m *Memory) Close() error { return m.lock.Close() }

func identity(info fs.FileInfo) (device, inode uint64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Dev), uint64(s.Ino)
	}
	return 0, 0
}
