package trace

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL

// Tracer follows one process. Its methods may be called by several goroutines at once.
type Tracer struct {
	Finished chan struct{} // closed when the process is no more, or is traced no more

	pid    int
	group  int // its process group, in which it is alone
	naming Naming
	own    bool            // the process was started here, and is traced from its first call on
	status unix.WaitStatus // once Finished is closed

	mu    sync.Mutex     // protects the fields below
	calls map[string]int // since the last call of Begin
	lines []string       // the same, one by one
	at    *Aim           // nil: not to be killed
	hit   int            // the thread that is in the call aimed at
	fired bool
}

func newTracer(naming Naming, at *Aim) *Tracer {
	return &Tracer{Finished: make(chan struct{}), naming: naming, calls: make(map[string]int), at: at}
}

// Run starts a process that is killed at an aim, if one is given. The calls of its
// start are counted from the first.
func Run(s Start, naming Naming, at *Aim) (*Tracer, error) {
	t := newTracer(naming, at)
	t.own = true
	err := t.begin(func() error { return t.start(s) })
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", s.Path, err)
	}
	return t, nil
}

// Attach follows a process that runs, with all its threads. It has to be in a process
// group that has no other child of this process.
func Attach(pid int, naming Naming) (*Tracer, error) {
	t := newTracer(naming, nil)
	t.pid = pid
	var err error
	if t.group, err = unix.Getpgid(pid); err == nil {
		err = t.begin(t.seize)
	}
	if err != nil {
		return nil, fmt.Errorf("trace process %d: %w", pid, err)
	}
	return t, nil
}

// begin has a thread follow the process from then on.
func (t *Tracer) begin(how func() error) error {
	started := make(chan error)
	go func() {
		// A tracer is a thread. It is never unlocked, so that it ends with this
		// goroutine, and what it still traces is killed then.
		runtime.LockOSThread()
		err := how()
		started <- err
		if err == nil {
			t.follow()
		}
		close(t.Finished)
	}()
	return <-started
}

// Begin counts anew, for a new aim or none, and returns the counts until now.
func (t *Tracer) Begin(at *Aim) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	calls := t.calls
	t.calls, t.lines, t.at, t.hit = make(map[string]int), nil, at, 0
	return calls
}

// Lines are the calls that were counted, in their order, with what they were made on.
func (t *Tracer) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.lines...)
}

// Killed says whether the process was killed where it was to be.
func (t *Tracer) Killed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fired
}

// Signal sends the process a signal, unless it is gone: its number may be another's.
func (t *Tracer) Signal(s syscall.Signal) {
	select {
	case <-t.Finished:
	default:
		_ = unix.Kill(t.pid, s)
	}
}

// ExitStatus is that of a process that has ended by itself, -1 for one that was killed.
// It is to be asked once Finished is closed.
func (t *Tracer) ExitStatus() int { return t.status.ExitStatus() }

// start starts a process that stands before its first call.
func (t *Tracer) start(s Start) error {
	process, err := os.StartProcess(s.Path, append([]string{s.Path}, s.Args...), &os.ProcAttr{
		Dir: s.Dir, Env: s.Environ, Files: s.Files,
		Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	})
	if err != nil {
		return err
	}
	t.pid, t.group = process.Pid, process.Pid
	var status unix.WaitStatus
	if _, err := t.wait(&status); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return err
	}
	return unix.PtraceSyscall(t.pid, 0)
}

// seize attaches to every thread, and to those that they make, and waits until each has
// stopped for the first time.
func (t *Tracer) seize() error {
	fresh := make(map[int]bool)
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
			fresh[thread] = true
			if err := unix.PtraceInterrupt(thread); err != nil && err != unix.ESRCH {
				return err
			}
		}
		if !found {
			break
		}
	}
	for len(fresh) > 0 {
		thread, err := t.next()
		if err != nil {
			return err
		}
		delete(fresh, thread)
	}
	return nil
}

// follow goes on until the process has ended.
func (t *Tracer) follow() {
	for {
		thread, err := t.next()
		if err != nil || thread == t.pid && (t.status.Exited() || t.status.Signaled()) {
			return
		}
	}
}

// next waits for a thread to stop or end, and lets it go on.
func (t *Tracer) next() (thread int, err error) {
	thread, err = t.wait(&t.status)
	if err == nil && t.status.Stopped() {
		// A thread that was killed meanwhile needs nothing.
		_ = unix.PtraceSyscall(thread, t.stopped(thread))
	}
	return thread, err
}

// wait waits for a thread of the process. This thread may have made other processes
// before it was a tracer, whose ends are not to be taken from those who wait for them.
func (t *Tracer) wait(status *unix.WaitStatus) (int, error) {
	for {
		thread, err := unix.Wait4(-t.group, status, unix.WALL|unix.WNOTHREAD, nil)
		if err != unix.EINTR {
			return thread, err
		}
	}
}

// stopped handles one stop of a thread, and returns the signal it goes on with.
func (t *Tracer) stopped(thread int) (signal int) {
	s := t.status.StopSignal()
	switch {
	case t.status>>16 != 0: // an event of the tracing: a thread was made, begins, or was attached to
		return 0
	case s == unix.SIGTRAP|0x80:
		t.call(thread)
		return 0
	case t.own && (s == unix.SIGTRAP || s == unix.SIGSTOP): // the program begins, or a thread that it has made
		return 0
	}
	return int(s)
}

// callInfo is struct ptrace_syscall_info of <linux/ptrace.h>.
type callInfo struct {
	op   uint8
	_    [23]byte
	call Call // at the entry
	_    [8]byte
}

func ptrace(request, thread int, address, data uintptr) unix.Errno {
	_, _, err := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(thread), address, data, 0, 0)
	return err
}

// call counts an entry, and kills at the entry or exit that was aimed at.
func (t *Tracer) call(thread int) {
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
	name, on := t.naming(&info.call)
	if name == "" {
		return
	}
	t.calls[name]++
	t.lines = append(t.lines, strings.TrimSpace(name+" "+on))
	if t.at == nil || t.fired || t.hit != 0 || name != t.at.Call || t.calls[name] != t.at.Nth {
		return
	}
	if t.at.After {
		t.hit = thread
		return
	}
	t.kill()
}

// kill ends the process. A thread that stands at the entry of a call never makes it.
func (t *Tracer) kill() {
	t.Signal(unix.SIGKILL)
	t.fired = true
}
