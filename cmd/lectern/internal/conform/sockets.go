//go:build unix

package conform

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// place is an address at which the collector may be. All have one port.
type place struct {
	name   string // as dialogues call it
	ip     [4]byte
	udp    int // file descriptors, -1 while nobody listens
	listen int
}

// sockets are the collector's. They are read when the script wants it and by
// nothing else, so that nothing depends on who is scheduled.
type sockets struct {
	port   int
	places []*place
	conns  []*conn // that are open
	serial int
}

// conn is one that an emitter made.
type conn struct {
	fd     int
	serial int
	by     string
	in     []byte // read and not yet a frame
	left   int    // bytes to read before it is reset; negative: no end
	deaf   bool   // nothing is read
	ended  bool   // the emitter sent its end, or a reset
	closed bool   // from here
	judged connected
}

// datagram is one that came.
type datagram struct {
	by, from string
	bytes    []byte
}

const (
	placeHere  = "here"
	placeThere = "there"
	// receiveBuffer holds the datagrams that come between two commands.
	receiveBuffer = 4 << 20
)

var errPlaces = errors.New("no port is free at 127.0.0.1 and 127.0.0.2, over UDP and TCP")

// openSockets listens at both places. Where a machine has one alone, there is
// one.
func openSockets() (*sockets, error) {
	for range 50 {
		s := &sockets{places: []*place{{placeHere, [4]byte{127, 0, 0, 1}, -1, -1}, {placeThere, [4]byte{127, 0, 0, 2}, -1, -1}}}
		if s.open(s.places[0]) != nil {
			s.close()
			continue
		}
		err := s.open(s.places[1])
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			s.places = s.places[:1]
			return s, nil
		}
		if err == nil {
			return s, nil
		}
		s.close()
	}
	return nil, errPlaces
}

// open listens at a place. The first that listens chooses the port.
func (s *sockets) open(p *place) error {
	if p.listen < 0 {
		fd, err := s.bind(p, unix.SOCK_STREAM)
		if err != nil {
			return err
		}
		if err := unix.Listen(fd, 64); err != nil {
			_ = unix.Close(fd)
			return err
		}
		p.listen = fd
	}
	if p.udp < 0 {
		fd, err := s.bind(p, unix.SOCK_DGRAM)
		if err != nil {
			return err
		}
		p.udp = fd
	}
	return nil
}

// reopen listens again. Meanwhile another process may have come to have the port, for a
// while.
func (s *sockets) reopen(p *place) (err error) {
	for waited := 0; waited <= patience; waited += 20 {
		if err = s.open(p); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func (s *sockets) bind(p *place, kind int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	err = unix.SetNonblock(fd, true)
	if kind == unix.SOCK_DGRAM {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer))
	} else {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: s.port, Addr: p.ip})
	}
	var bound unix.Sockaddr
	if err == nil {
		bound, err = unix.Getsockname(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	s.port = bound.(*unix.SockaddrInet4).Port
	return fd, nil
}

// vanish has nobody listen any more. Connections stay.
func (p *place) vanish() {
	for _, fd := range []*int{&p.udp, &p.listen} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

func (s *sockets) close() {
	for _, p := range s.places {
		p.vanish()
	}
	for _, c := range s.conns {
		c.close()
	}
	s.conns = nil
}

func (s *sockets) place(name string) *place {
	for _, p := range s.places {
		if p.name == name {
			return p
		}
	}
	return nil
}

// wait waits until something can be read, or so long in real time.
func (s *sockets) wait(ms int) {
	var fds []unix.PollFd
	for _, p := range s.places {
		for _, fd := range []int{p.udp, p.listen} {
			if fd >= 0 {
				fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
		}
	}
	for _, c := range s.conns {
		if !c.ended && !c.deaf {
			fds = append(fds, unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN})
		}
	}
	_, _ = unix.Poll(fds, ms)
}

// accept takes the connections that wait, and datagrams what came.
func (s *sockets) accept(p *place) (fresh []*conn) {
	for p.listen >= 0 {
		fd, _, err := unix.Accept(p.listen)
		if err != nil {
			break
		}
		unix.CloseOnExec(fd)
		_ = unix.SetNonblock(fd, true)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		s.serial++
		c := &conn{fd: fd, serial: s.serial, by: p.name, left: -1}
		s.conns = append(s.conns, c)
		fresh = append(fresh, c)
	}
	return fresh
}

func (p *place) datagrams() (all []datagram) {
	buffer := make([]byte, 1<<16)
	for p.udp >= 0 {
		n, from, err := unix.Recvfrom(p.udp, buffer, 0)
		if err != nil {
			break
		}
		a := from.(*unix.SockaddrInet4)
		all = append(all, datagram{p.name, fmt.Sprintf("%d.%d.%d.%d:%d", a.Addr[0], a.Addr[1], a.Addr[2], a.Addr[3], a.Port), append([]byte(nil), buffer[:n]...)})
	}
	return all
}

// read takes what lies there.
func (c *conn) read() {
	buffer := make([]byte, 1<<16)
	for !c.ended && !c.closed && !c.deaf {
		room := buffer
		if c.left >= 0 {
			room = buffer[:min(len(buffer), c.left)]
		}
		if len(room) == 0 {
			c.reset()
			return
		}
		n, err := unix.Read(c.fd, room)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			return
		}
		if err != nil || n <= 0 {
			c.ended = true
			return
		}
		c.in = append(c.in, room[:n]...)
		if c.left >= 0 {
			c.left -= n
		}
	}
}

// write sends; what a collector says is short and fits the buffer.
func (c *conn) write(b []byte) error {
	n, err := unix.Write(c.fd, b)
	if err == nil && n < len(b) {
		err = errors.New("its buffer is full")
	}
	if err != nil {
		return fmt.Errorf("the emitter's connection takes nothing: %w", err)
	}
	return nil
}

// half ends the collector's half.
func (c *conn) half() { _ = unix.Shutdown(c.fd, unix.SHUT_WR) }

// reset closes so that the emitter sees a reset.
func (c *conn) reset() {
	_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 0})
	c.close()
}

func (c *conn) close() {
	if !c.closed {
		c.closed = true
		_ = unix.Close(c.fd)
	}
}

// forget drops the connections that were closed from here.
func (s *sockets) forget() {
	open := s.conns[:0]
	for _, c := range s.conns {
		if !c.closed {
			open = append(open, c)
		}
	}
	s.conns = open
}
