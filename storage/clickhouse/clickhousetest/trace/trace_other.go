//go:build !linux

package trace

import "errors"

// Tracer is of Linux.
type Tracer struct{}

// Attach says that there is none here.
func Attach(int, Naming) (*Tracer, error) {
	return nil, errors.New("a process cannot be traced on this system")
}

// Begin does nothing.
func (*Tracer) Begin(*Aim) map[string]int { return nil }

// Lines are none.
func (*Tracer) Lines() []string { return nil }

// Killed is false.
func (*Tracer) Killed() bool { return false }
