package collector

import (
	"fmt"
	"net"
	"os"
	"strconv"

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

// closeAccept closes a TCP socket that gnet listens on, under gnet's feet: gnet
// has no way to stop accepting and go on with the connections it has. Its
// descriptor becomes one of a socket at which nobody ever connects, so that an
// accept on its way finds nothing, which is no error. It takes a duplicate of
// the descriptor and closes it.
func closeAccept(duplicate int) error {
	defer unix.Close(duplicate)
	fd, err := twin(duplicate)
	if err != nil {
		return err
	}
	idle, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	defer unix.Close(idle)
	if err := unix.Bind(idle, &unix.SockaddrUnix{}); err != nil { // the kernel draws a name that no file has
		return fmt.Errorf("bind a socket: %w", err)
	}
	if err := unix.Listen(idle, 1); err != nil {
		return fmt.Errorf("listen on a socket: %w", err)
	}
	return unix.Dup3(idle, fd, unix.O_CLOEXEC)
}

// twin finds the other descriptor of the same socket.
func twin(duplicate int) (int, error) {
	var want, have unix.Stat_t
	if err := unix.Fstat(duplicate, &want); err != nil {
		return 0, err
	}
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd == duplicate || unix.Fstat(fd, &have) != nil {
			continue
		}
		if have.Mode&unix.S_IFMT == unix.S_IFSOCK && have.Dev == want.Dev && have.Ino == want.Ino {
			return fd, nil
		}
	}
	return 0, fmt.Errorf("no other descriptor of the socket is in /proc/self/fd")
}

// portOf binds a TCP address that may be shared, for a moment and without
// listening, so that nobody's connection comes here, and returns the port. A UDP
// socket would get datagrams at once, which would be gone with it.
func portOf(address string) (int, error) {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return 0, err
	}
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: resolved.Port, Addr: address16(resolved.IP)})
	if ip := resolved.IP.To4(); ip != nil {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: resolved.Port, Addr: [4]byte(ip)}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return 0, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, to); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	if a, ok := bound.(*unix.SockaddrInet4); ok {
		return a.Port, nil
	}
	return bound.(*unix.SockaddrInet6).Port, nil
}

// address16 is an address in 16 bytes; no address is every address.
func address16(ip net.IP) (a [16]byte) {
	copy(a[:], ip.To16())
	return a
}
