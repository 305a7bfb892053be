package edge

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// heldConn is a connection that counts until it is closed.
//
// Its deadlines are looked at once a second, by sweep: net/http sets six for each
// request, and each would be a timer. One that has passed already when it is set holds at
// once, as everywhere.
type heldConn struct {
	net.Conn
	of   *limited
	once sync.Once
	sent atomic.Bool // something came

	mu          sync.Mutex // protects the fields below
	read, write deadline
}

// deadline is one of a connection, zero where it may wait for ever.
type deadline struct {
	at    time.Time
	wait  time.Duration // until at, when it was set
	given bool          // the connection itself has it, since it had passed
}

// Read is part of net.Conn.
func (c *heldConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.sent.Load() {
		c.sent.Store(true)
	}
	return n, err
}

// Close is part of net.Conn.
func (c *heldConn) Close() error {
	c.once.Do(func() { c.of.release(c) })
	return c.Conn.Close()
}

// SetDeadline is part of net.Conn.
func (c *heldConn) SetDeadline(at time.Time) error {
	if err := c.SetReadDeadline(at); err != nil {
		return err
	}
	return c.SetWriteDeadline(at)
}

// SetReadDeadline is part of net.Conn.
func (c *heldConn) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read.set(at, *c.of.now.Load(), c.Conn.SetReadDeadline)
}

// SetWriteDeadline is part of net.Conn.
func (c *heldConn) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write.set(at, *c.of.now.Load(), c.Conn.SetWriteDeadline)
}

// set takes another deadline.
func (d *deadline) set(at, now time.Time, tell func(time.Time) error) error {
	d.at, d.wait = at, at.Sub(now)
	return d.look(now, tell)
}

// look has the connection itself know whether the deadline has passed.
func (d *deadline) look(now time.Time, tell func(time.Time) error) error {
	passed := d.passed(now)
	if passed == d.given {
		return nil
	}
	if d.given = passed; passed {
		return tell(longAgo)
	}
	return tell(time.Time{})
}

// passed says whether nothing may wait any longer.
func (d *deadline) passed(now time.Time) bool { return !d.at.IsZero() && !d.at.After(now) }

var longAgo = time.Unix(1, 0)

// sweep ends what waits beyond a deadline. A request of which the header does not come is
// counted here, since no handler hears of it: net/http gives a body, or the next request,
// more time.
func (c *heldConn) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.passed(now) && !c.read.given && c.sent.Load() && c.read.wait < bodyWait {
		c.of.unfinished()
	}
	_ = c.read.look(now, c.Conn.SetReadDeadline) // it fails for one that is closed
	_ = c.write.look(now, c.Conn.SetWriteDeadline)
}
