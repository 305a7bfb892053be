package main

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/trace"
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

// crashCall is the name of a call that counts.
func crashCall(c *trace.Call) (name, on string) {
	name = crashCalls[c.Number]
	if name == "write" && c.Args[0] <= 2 { // logs change nothing
		name = ""
	}
	return name, ""
}

// traced starts a process that is killed at an aim, if one is given, and at the
// latest when the test ends.
func traced(t *testing.T, at *trace.Aim, s trace.Start) *trace.Tracer {
	t.Helper()
	r, err := trace.Run(s, crashCall, at)
	if err != nil {
		t.Skipf("a process cannot be traced here: %v", err)
	}
	t.Cleanup(func() { killTraced(r) })
	return r
}

// killTraced kills a process and waits for its end.
func killTraced(r *trace.Tracer) {
	r.Signal(syscall.SIGKILL)
	<-r.Finished
}
