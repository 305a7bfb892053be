//go:build !linux

package collector

import (
	"errors"
	"syscall"
)

var errLinux = errors.New("only on Linux")

func leaveGroup(int) error { return errLinux }

func reusePort(string, string, syscall.RawConn) error { return errLinux }
