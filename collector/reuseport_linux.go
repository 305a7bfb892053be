package collector

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// portNowhere is discard's (RFC 863): nobody sends from it.
const portNowhere = 9

// leaveGroup connects a UDP socket to where nobody is. Of the sockets that share
// its port it is then no candidate for anybody's datagrams any more, and what it
// holds can still be read. The peer is on the address that the socket is bound
// to, which surely has a route.
func leaveGroup(socket int) error {
	bound, err := unix.Getsockname(socket)
	if err != nil {
		return err
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		if a.Addr == [4]byte{} {
			a.Addr = [4]byte{127, 0, 0, 1}
		}
		a.Port = portNowhere
	case *unix.SockaddrInet6:
		if a.Addr == [16]byte{} {
			a.Addr = [16]byte{15: 1}
		}
		a.Port = portNowhere
	}
	return unix.Connect(socket, bound)
}

// reusePort lets others of the same user bind a socket's address too.
func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}); e != nil {
		return e
	}
	return err
}
