package collector

import (
	"syscall"

	"github.com/panjf2000/gnet/v2"
)

// Doubles have no socket: what they are told goes through their Write.
func init() {
	writeSocket = func(c gnet.Conn, b []byte) (int, error) {
		if fd := c.Fd(); fd >= 0 {
			return syscall.Write(fd, b)
		}
		return c.Write(b)
	}
}

// way is how a source sends: datagrams, a connection without acks, or sessions.
type way uint8

const (
	datagrams way = iota
	plain
	acknowledged
	ways
)

var wayWords = [ways]string{"datagrams", "plain connection", "session"}

// deaf is a connection on which nothing is heard.
type deaf struct{ gnet.Conn }

func (deaf) Write(b []byte) (int, error)                         { return len(b), nil }
func (deaf) AsyncWrite(_ []byte, _ gnet.AsyncCallback) error     { return nil }
func (deaf) CloseWithCallback(callback gnet.AsyncCallback) error { return nil }
func (deaf) OutboundBuffered() int                               { return 0 }
func (deaf) Fd() int                                             { return -1 }
func (deaf) SetContext(any)                                      {}
