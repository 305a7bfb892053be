package clickhousetest

import (
	"os"
	"syscall"
)

// attributes make a process die with the thread that starts it, and kill with it
// all that it starts.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func killGroup(p *os.Process) {
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
}
