package edge

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// limited is a listener with a limit on its connections. One more is told to
// come again, and closed.
type limited struct {
	net.Listener
	most    int
	telling chan struct{} // one for each that is being told
	refused func()
	// unfinished is called for a request of which the header does not come.
	unfinished func()

	mu   sync.Mutex // protects open
	open map[*heldConn]struct{}
	now  atomic.Pointer[time.Time] // when sweep was called last
}

const (
	// tellingMax is how many are told at once why they are closed.
	tellingMax = 64
	// tellingWait is how long one has to hear it.
	tellingWait = time.Second
)

// tooMany is the answer to one connection too many, of whatever page.
const tooMany = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 15\r\nCache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n\r\nconnections\n"

// limitListener limits l to a number of connections at once, most; refused is called for each other, and
// unfinished for a request of which the header does not come.
func limitListener(l net.Listener, most int, refused, unfinished func()) *limited {
	all := &limited{
		Listener: l, most: most, telling: make(chan struct{}, tellingMax), refused: refused, unfinished: unfinished, open: make(map[*heldConn]struct{}),
	}
	all.sweep(time.Now())
	return all
}

// Accept is part of net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if held := l.hold(c); held != nil {
			return held, nil
		}
		l.refused()
		l.tell(c)
	}
}

// hold counts a connection until it is closed, nil where there is no room.
func (l *limited) hold(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		return nil
	}
	held := &heldConn{Conn: c, of: l}
	l.open[held] = struct{}{}
	return held
}

func (l *limited) release(c *heldConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// held is how many are open.
func (l *limited) held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// sweep ends what waits beyond a deadline. It is to be called once a second.
func (l *limited) sweep(now time.Time) {
	l.now.Store(&now)
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		c.sweep(now)
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
