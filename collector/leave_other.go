//go:build !linux

package collector

import "errors"

var errLinux = errors.New("only on Linux")

func leaveGroup(int) error       { return errLinux }
func closeAccept(int) error      { return errLinux }
func portOf(string) (int, error) { return 0, errLinux }
