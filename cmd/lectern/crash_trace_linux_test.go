package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// crashCalls are the system calls at which a process is killed: those that
// change something outside of it, and those that bring it something to do.
var crashCalls = map[uint64]string{
	unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite64", unix.SYS_WRITEV: "writev",
	unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg",
	unix.SYS_RECVMMSG: "recvmmsg", unix.SYS_RECVFROM: "recvfrom", unix.SYS_READ: "read",
	unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_MSYNC: "msync",
	unix.SYS_OPENAT: "openat", unix.SYS_MKDIRAT: "mkdirat", unix.SYS_RENAMEAT: "renameat", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FALLOCATE: "fallocate", unix.SYS_FLOCK: "flock",
	unix.SYS_CONNECT: "connect", unix.SYS_ACCEPT4: "accept4", unix.SYS_SHUTDOWN: "shutdown",
}

// aim is where a process is killed: at the nth of its calls of that name, in all
// of its threads together, before the call does anything or after it has.
type aim struct {
	call  string
	nth   int
	after bool
}

func (a aim) String() string {
	side := "before"
	if a.after {
		side = "after"
	}
	return fmt.Sprintf("%s %s #%d", side, a.call, a.nth)
}

// tracer runs one process under ptrace(2). strace counts calls for each thread
// by itself, and the runtime moves goroutines between threads: so it is done
// here, for the process as a whole.
type tracer struct {
	process  *os.Process
	finished chan struct{} // closed when the process is no more
	status   unix.WaitStatus

	mu    sync.Mutex     // protects the fields below
	calls map[string]int // since the last call of begin
	at    *aim           // nil: not to be killed
	hit   int            // the thread that is in the call aimed at
	fired bool
}

// trace starts a process that is killed at an aim, if one is given. The calls
// of its start are counted from the first.
func trace(t *testing.T, at *aim, path string, args, environ []string, dir string, files []*os.File) *tracer {
	t.Helper()
	r := &tracer{finished: make(chan struct{}), calls: make(map[string]int), at: at}
	started := make(chan error)
	go r.run(path, append([]string{path}, args...), &os.ProcAttr{
		Dir: dir, Env: environ, Files: files,
		Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	}, started)
	if err := <-started; err != nil {
		t.Skipf("a process cannot be traced here: %v", err)
	}
	t.Cleanup(func() {
		_ = r.process.Kill()
		<-r.finished
	})
	return r
}

// begin counts anew, for a new aim or none, and returns the counts until now.
func (r *tracer) begin(at *aim) map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls, r.at, r.hit = make(map[string]int), at, 0
	return calls
}

// killed says whether the process was killed where it was to be.
func (r *tracer) killed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fired
}

func (r *tracer) run(path string, args []string, attributes *os.ProcAttr, started chan<- error) {
	// A tracer is a thread. It is never unlocked, so that it ends with this
	// goroutine, and what it still traces is killed then.
	runtime.LockOSThread()
	defer close(r.finished)
	var err error
	if r.process, err = os.StartProcess(path, args, attributes); err != nil {
		started <- err
		return
	}
	pid := r.process.Pid
	if _, err := wait4(pid, &r.status); err != nil {
		started <- err
		return
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		started <- err
		return
	}
	_ = unix.PtraceSyscall(pid, 0)
	started <- nil
	for {
		var status unix.WaitStatus
		thread, err := wait4(-pid, &status)
		if err != nil {
			return
		}
		switch {
		case status.Exited() || status.Signaled():
			if thread == pid {
				r.status = status
				return
			}
		case status.Stopped():
			// A thread that was killed meanwhile needs nothing.
			_ = unix.PtraceSyscall(thread, r.stopped(thread, status))
		}
	}
}

// wait4 waits for a process, or with a negative number for the threads of a
// process group, which this thread traces.
func wait4(pid int, status *unix.WaitStatus) (int, error) {
	for {
		thread, err := unix.Wait4(pid, status, unix.WALL|unix.WNOTHREAD, nil)
		if err != unix.EINTR {
			return thread, err
		}
	}
}

// stopped handles one stop of a thread, and returns the signal it goes on with.
func (r *tracer) stopped(thread int, status unix.WaitStatus) (signal int) {
	switch s := status.StopSignal(); {
	case s == unix.SIGTRAP|0x80:
		r.call(thread)
		return 0
	case s == unix.SIGTRAP, s == unix.SIGSTOP: // a thread was made, and begins
		return 0
	default:
		return int(s)
	}
}

// callInfo is struct ptrace_syscall_info of <linux/ptrace.h>.
type callInfo struct {
	op     uint8
	_      [23]byte
	number uint64 // at the entry
	args   [7]uint64
}

// call counts an entry, and kills at the entry or exit that was aimed at.
func (r *tracer) call(thread int) {
	var info callInfo
	if _, _, failed := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(thread),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0); failed != 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if info.op == unix.PTRACE_SYSCALL_INFO_EXIT {
		if r.hit == thread {
			r.kill()
		}
		return
	}
	name := crashCalls[info.number]
	if name == "" || name == "write" && info.args[0] <= 2 { // logs change nothing
		return
	}
	r.calls[name]++
	if r.at == nil || r.fired || r.hit != 0 || name != r.at.call || r.calls[name] != r.at.nth {
		return
	}
	if r.at.after {
		r.hit = thread
		return
	}
	r.kill()
}

// kill ends the process. A thread that stands at the entry of a call never makes it.
func (r *tracer) kill() {
	_ = unix.Kill(r.process.Pid, unix.SIGKILL)
	r.fired = true
}
