package clickhouse

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// userTimeout is how long sent data may stay without the kernel's own
// acknowledgement, in milliseconds: keepalive says nothing while data waits.
const userTimeout = 90_000

func control(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// Where it fails, the connection is given up later.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout)
	})
}
