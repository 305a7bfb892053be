package edge

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// limited is a listener of at most so many connections at once. One more is told to
// come again, and closed.
type limited struct {
	net.Listener
	most    int64
	held    atomic.Int64
	telling chan struct{} // one for each that is being told
	refused func()
}

const (
	// tellingMax is how many are told at once why they are closed.
	tellingMax = 64
	// tellingWait is how long one has to hear it.
	tellingWait = time.Second
)

// tooMany is the answer to one connection too many.
const tooMany = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 15\r\nCache-Control: no-store\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n\r\nconnections\n"

// limitListener has l take at most so many; refused is called for each other.
func limitListener(l net.Listener, most int, refused func()) *limited {
	return &limited{Listener: l, most: int64(most), telling: make(chan struct{}, tellingMax), refused: refused}
}

// Accept is part of net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.held.Add(1) <= l.most {
			return &heldConn{Conn: c, held: &l.held}, nil
		}
		l.held.Add(-1)
		l.refused()
		l.tell(c)
	}
}

// tell says why, if not too many hear it already. Closing on a request that nobody has
// read would take the answer back.
func (l *limited) tell(c net.Conn) {
	select {
	case l.telling <- struct{}{}:
	default:
		_ = c.Close()
		return
	}
	go func() {
		defer func() { _ = c.Close(); <-l.telling }()
		_ = c.SetDeadline(time.Now().Add(tellingWait))
		_, _ = io.WriteString(c, tooMany)
		if half, ok := c.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(c, bodySizeMax+headerBytesMax))
	}()
}

// heldConn is a connection that counts until it is closed.
type heldConn struct {
	net.Conn
	once sync.Once
	held *atomic.Int64
}

// Close is part of net.Conn.
func (c *heldConn) Close() error {
	c.once.Do(func() { c.held.Add(-1) })
	return c.Conn.Close()
}
