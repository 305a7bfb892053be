// Package trace follows one process with ptrace(2), counts its system calls, and kills
// it at one of them. strace counts calls for each thread by itself, and both Go's
// runtime and ClickHouse's engine do their work in whichever thread is free: so it is
// done here, for the process as a whole.
package trace

import (
	"fmt"
	"os"
)

// Aim is where a process is killed: at the nth of its calls of that name, from 1, in
// all of its threads together, before the call does anything or after it has.
type Aim struct {
	Call  string
	Nth   int
	After bool
}

func (a Aim) String() string {
	side := "before"
	if a.After {
		side = "after"
	}
	return fmt.Sprintf("%s %s #%d", side, a.Call, a.Nth)
}

// Call is a system call that a thread enters.
type Call struct {
	Number uint64
	Args   [6]uint64
}

// Naming says what a call counts as, "" for one that does not count, and what it is made
// on, where that is of interest. The thread that makes the call stands still meanwhile.
type Naming func(c *Call) (name, on string)

// Start is what Start starts: the program, and what os.StartProcess wants to know of it.
type Start struct {
	Path    string
	Args    []string // without the program's own name
	Environ []string
	Dir     string
	Files   []*os.File
}
