//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package emit

import (
	"errors"
	"os"
)

var errNoQueue = errors.New("queues in files are not supported on this system; leave Options.Queue empty")

func mapFile(string) ([]byte, error)    { return nil, errNoQueue }
func unmapFile([]byte) error            { return nil }
func lockFile(string) (*os.File, error) { return nil, errNoQueue }
func bootNumber() uint64                { return 0 }
