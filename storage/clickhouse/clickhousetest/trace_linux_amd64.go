package clickhousetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
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

// aim is where a process is killed: at the nth of its calls of that name, in all
// of its threads together, before the call does anything or after it has.
type aim struct {
	call  string
	nth   int
	after bool
}

// tracer follows one process with ptrace(2). strace counts calls for each thread
// by itself, and the engine does its work in whichever is free: so it is done
// here, for the process as a whole.
type tracer struct {
	pid    int
	dir    string // calls on files below it count
	memory *os.File
	fresh  map[int]bool // threads that have not stopped for the first time; nil: all have

	mu    sync.Mutex     // protects the fields below
	calls map[string]int // since the last call of begin
	lines []string       // the same, one by one
	at    *aim           // nil: not to be killed
	hit   int            // the thread that is in the call aimed at
	fired bool
}

// attach follows a process that runs, with all its threads.
func attach(pid int, dir string) (*tracer, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, fmt.Errorf("trace process %d: %w", pid, err)
	}
	t := &tracer{pid: pid, dir: dir + "/", memory: memory, fresh: make(map[int]bool), calls: make(map[string]int)}
	started := make(chan error, 1)
	go t.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("trace process %d: %w", pid, err)
	}
	return t, nil
}

// begin counts anew, for a new aim or none, and returns the counts until now.
func (t *tracer) begin(at *aim) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	calls := t.calls
	t.calls, t.lines, t.at, t.hit = make(map[string]int), nil, at, 0
	return calls
}

func (t *tracer) list() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.lines...)
}

// killed says whether the process was killed where it was to be.
func (t *tracer) killed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fired
}

func (t *tracer) run(started chan<- error) {
	// A tracer is a thread. It is never unlocked, so that it ends with this
	// goroutine, and what it still traces is killed then.
	runtime.LockOSThread()
	defer t.memory.Close()
	if err := t.seize(); err != nil {
		started <- err
		return
	}
	for {
		if t.fresh != nil && len(t.fresh) == 0 {
			t.fresh = nil
			started <- nil
		}
		var status unix.WaitStatus
		thread, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // nothing is traced any more
			if t.fresh != nil {
				started <- err
			}
			return
		}
		delete(t.fresh, thread)
		if status.Stopped() {
			// A thread that was killed meanwhile needs nothing.
			_ = unix.PtraceSyscall(thread, t.stopped(thread, status))
		}
	}
}

// seize attaches to every thread, and to those that they make.
func (t *tracer) seize() error {
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	for seized := map[int]bool{}; ; {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
		if err != nil {
			return err
		}
		found := false
		for _, entry := range entries {
			thread, err := strconv.Atoi(entry.Name())
			if err != nil || seized[thread] {
				continue
			}
			found, seized[thread] = true, true
			switch err := ptrace(unix.PTRACE_SEIZE, thread, 0, options); err {
			case 0:
			case unix.ESRCH: // it has ended
				continue
			case unix.EPERM: // a seized thread made it, so that it is traced already
				if thread == t.pid {
					return err
				}
				continue
			default:
				return err
			}
			t.fresh[thread] = true
			if err := unix.PtraceInterrupt(thread); err != nil && err != unix.ESRCH {
				return err
			}
		}
		if !found {
			return nil
		}
	}
}

func ptrace(request, thread int, address, data uintptr) unix.Errno {
	_, _, err := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(thread), address, data, 0, 0)
	return err
}

// stopped handles one stop of a thread, and returns the signal it goes on with.
func (t *tracer) stopped(thread int, status unix.WaitStatus) (signal int) {
	if status>>16 != 0 { // an event of the tracing: a thread was made, begins, or was attached to
		return 0
	}
	if status.StopSignal() == unix.SIGTRAP|0x80 {
		t.call(thread)
		return 0
	}
	return int(status.StopSignal())
}

// callInfo is struct ptrace_syscall_info of <linux/ptrace.h>.
type callInfo struct {
	op     uint8
	_      [23]byte
	number uint64 // at the entry
	args   [7]uint64
}

// call counts an entry, and kills at the entry or exit that was aimed at.
func (t *tracer) call(thread int) {
	var info callInfo
	if ptrace(unix.PTRACE_GET_SYSCALL_INFO, thread, unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info))) != 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if info.op == unix.PTRACE_SYSCALL_INFO_EXIT {
		if t.hit == thread {
			t.kill()
		}
		return
	}
	name, line := t.describe(&info)
	if name == "" {
		return
	}
	t.calls[name]++
	t.lines = append(t.lines, line)
	if t.at == nil || t.fired || t.hit != 0 || name != t.at.call || t.calls[name] != t.at.nth {
		return
	}
	if t.at.after {
		t.hit = thread
		return
	}
	t.kill()
}

// kill ends the process. A thread that stands at the entry of a call never makes it.
func (t *tracer) kill() {
	_ = unix.Kill(t.pid, unix.SIGKILL)
	t.fired = true
}

// describe returns the name of a call that counts, and the file it is made on.
func (t *tracer) describe(info *callInfo) (name, line string) {
	w, found := watchedCalls[info.number]
	if !found {
		return "", ""
	}
	var file string
	switch w.target {
	case descriptor:
		file = t.link(int32(info.args[0]))
		if strings.HasPrefix(file, "socket:") {
			return "send", "send"
		}
	case path:
		file = t.resolve(unix.AT_FDCWD, info.args[0])
	case pathAt:
		file = t.resolve(int32(info.args[0]), info.args[1])
	}
	if w.name == "create" && !creates(info) || w.name == "send" || !strings.HasPrefix(file, t.dir) {
		return "", ""
	}
	return w.name, w.name + " " + strings.TrimPrefix(file, t.dir)
}

// creates says whether an open may make a file.
func creates(info *callInfo) bool {
	switch info.number {
	case unix.SYS_OPEN:
		return info.args[1]&unix.O_CREAT != 0
	case unix.SYS_OPENAT:
		return info.args[2]&unix.O_CREAT != 0
	}
	return true
}

// link is what an open file is.
func (t *tracer) link(descriptor int32) string {
	name := fmt.Sprintf("/proc/%d/fd/%d", t.pid, descriptor)
	if descriptor == unix.AT_FDCWD {
		name = fmt.Sprintf("/proc/%d/cwd", t.pid)
	}
	file, _ := os.Readlink(name)
	return file
}

// resolve is a path that a call names.
func (t *tracer) resolve(directory int32, address uint64) string {
	buffer := make([]byte, unix.PathMax)
	n, _ := t.memory.ReadAt(buffer, int64(address))
	name, _, found := bytes.Cut(buffer[:n], []byte{0})
	if !found {
		return ""
	}
	if filepath.IsAbs(string(name)) {
		return filepath.Clean(string(name))
	}
	return filepath.Join(t.link(directory), string(name))
}
