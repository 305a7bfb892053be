package clickhousetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/trace"
)

// How a call tells what it is made on.
type target int

const (
	descriptor target = iota // the first argument is an open file
	path                     // the first argument is a path
	pathAt                   // the second argument is a path, from the directory that is the first
)

// A watched call changes something outside of the process.
type watched struct {
	name   string
	target target
}

var watchedCalls = map[uint64]watched{
	unix.SYS_OPEN: {"create", path}, unix.SYS_CREAT: {"create", path}, unix.SYS_OPENAT: {"create", pathAt},
	unix.SYS_WRITE: {"write", descriptor}, unix.SYS_PWRITE64: {"write", descriptor},
	unix.SYS_WRITEV: {"write", descriptor}, unix.SYS_PWRITEV: {"write", descriptor},
	unix.SYS_RENAME: {"rename", path}, unix.SYS_RENAMEAT: {"rename", pathAt}, unix.SYS_RENAMEAT2: {"rename", pathAt},
	unix.SYS_UNLINK: {"unlink", path}, unix.SYS_RMDIR: {"unlink", path}, unix.SYS_UNLINKAT: {"unlink", pathAt},
	unix.SYS_FSYNC: {"sync", descriptor}, unix.SYS_FDATASYNC: {"sync", descriptor},
	unix.SYS_FTRUNCATE: {"truncate", descriptor}, unix.SYS_TRUNCATE: {"truncate", path},
	unix.SYS_FALLOCATE: {"truncate", descriptor},
	unix.SYS_MKDIR:     {"mkdir", path}, unix.SYS_MKDIRAT: {"mkdir", pathAt},
	unix.SYS_LINK: {"link", path}, unix.SYS_LINKAT: {"link", pathAt},
	unix.SYS_SYMLINK: {"link", path}, unix.SYS_SYMLINKAT: {"link", path},
	unix.SYS_SENDTO: {"send", descriptor}, unix.SYS_SENDMSG: {"send", descriptor},
}

// engineCalls names the calls that an engine makes on its own data, or to a client.
type engineCalls struct {
	pid    int
	dir    string // calls on files below it count
	memory *os.File
}

// attach follows an engine that runs, with all its threads.
func attach(pid int, dir string) (*trace.Tracer, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, fmt.Errorf("trace process %d: %w", pid, err)
	}
	e := &engineCalls{pid: pid, dir: dir + "/", memory: memory}
	t, err := trace.Attach(pid, e.describe)
	if err != nil {
		_ = memory.Close()
		return nil, err
	}
	go func() {
		<-t.Finished
		_ = memory.Close()
	}()
	return t, nil
}

// describe returns the name of a call that counts, and the file it is made on.
func (e *engineCalls) describe(c *trace.Call) (name, on string) {
	w, found := watchedCalls[c.Number]
	if !found {
		return "", ""
	}
	var file string
	switch w.target {
	case descriptor:
		file = e.link(int32(c.Args[0]))
		if strings.HasPrefix(file, "socket:") {
			return "send", ""
		}
	case path:
		file = e.resolve(unix.AT_FDCWD, c.Args[0])
	case pathAt:
		file = e.resolve(int32(c.Args[0]), c.Args[1])
	}
	if w.name == "create" && !creates(c) || w.name == "send" || !strings.HasPrefix(file, e.dir) {
		return "", ""
	}
	return w.name, strings.TrimPrefix(file, e.dir)
}

// creates says whether an open may make a file.
func creates(c *trace.Call) bool {
	switch c.Number {
	case unix.SYS_OPEN:
		return c.Args[1]&unix.O_CREAT != 0
	case unix.SYS_OPENAT:
		return c.Args[2]&unix.O_CREAT != 0
	}
	return true
}

// link is what an open file is.
func (e *engineCalls) link(descriptor int32) string {
	name := fmt.Sprintf("/proc/%d/fd/%d", e.pid, descriptor)
	if descriptor == unix.AT_FDCWD {
		name = fmt.Sprintf("/proc/%d/cwd", e.pid)
	}
	file, _ := os.Readlink(name)
	return file
}

// resolve is a path that a call names.
func (e *engineCalls) resolve(directory int32, address uint64) string {
	buffer := make([]byte, unix.PathMax)
	n, _ := e.memory.ReadAt(buffer, int64(address))
	name, _, found := bytes.Cut(buffer[:n], []byte{0})
	if !found {
		return ""
	}
	if filepath.IsAbs(string(name)) {
		return filepath.Clean(string(name))
	}
	return filepath.Join(e.link(directory), string(name))
}
