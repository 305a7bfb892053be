package collector

import (
	"errors"
	"syscall"

	"github.com/panjf2000/gnet/v2"
)

// peer is the way back to a client.
type peer interface {
	// write sends bytes, from the goroutine that brings what the client sends. With
	// an error the connection is of no more use.
	write(b []byte) error
	// end ends our half behind what was written, likewise.
	end() error
	// send sends bytes from any goroutine, behind what was sent before. It does not
	// wait: a client that does not read is hung up on.
	send(b []byte)
	// bye is send, and ends our half behind it.
	bye(b []byte)
	// hangUp closes the connection, from any goroutine, without a word.
	hangUp()
}

var errUnread = errors.New("the client does not read what it is told")

// loopPeer is one of gnet's loop.
type loopPeer struct {
	conn   gnet.Conn
	direct directWrite
}

// directWrite writes to the socket of a connection, past gnet. It is writeSocket, but for
// the connections of tests, which have none.
type directWrite func(c gnet.Conn, b []byte) (int, error)

func writeSocket(c gnet.Conn, b []byte) (int, error) { return syscall.Write(c.Fd(), b) }

// write goes past gnet where nothing waits to be sent. gnet closes a connection that it
// cannot write to before it returns, and OnClose wants the shard's mutex, which whoever
// answers a frame has.
func (p loopPeer) write(b []byte) error {
	if p.conn.OutboundBuffered() > 0 {
		_, err := p.conn.Write(b) // behind what waits, without a try
		return err
	}
	n, err := p.direct(p.conn, b)
	if err == nil && n < len(b) {
		return errUnread
	}
	return err
}

func (p loopPeer) end() error {
	if p.conn.OutboundBuffered() > 0 {
		return errUnread
	}
	return shutdownWrite(p.conn.Fd())
}

func (p loopPeer) send(b []byte) {
	_ = p.conn.AsyncWrite(b, func(c gnet.Conn, err error) error {
		if err == nil && c.OutboundBuffered() > ackBufferMax {
			return c.Close() // it sends and never reads
		}
		return err
	})
}

func (p loopPeer) bye(b []byte) {
	_ = p.conn.AsyncWrite(b, func(c gnet.Conn, err error) error {
		if err != nil {
			return err
		}
		return shutdownWrite(c.Fd())
	})
}

// hangUp goes through the loop's queue: OnClose does the rest.
func (p loopPeer) hangUp() { _ = p.conn.CloseWithCallback(nil) }

// shutdownWrite sends FIN and leaves the reading half open.
func shutdownWrite(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) }
