//go:build unix

package collector

import (
	"math"
	"syscall"
)

// descriptorLimit is how many files the process may open. Go raises its own
// limit to the hard one at start.
func descriptorLimit() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || l.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(l.Cur)
}
