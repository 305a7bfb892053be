package collector

import (
	"container/list"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// gnet has no TLS. So its clients have a TCP socket of their own, and each a
// goroutine, which reads what crypto/tls decrypts and brings it to a shard by the
// door that a loop uses.

// TLS is a TCP socket on which clients speak TLS.
type TLS struct {
	Address string // host:port; port 0 picks one
	// Config is asked for each connection, so that certificates can be replaced
	// while the collector runs. It is not called with a lock held.
	Config         func() *tls.Config
	ConnectionsMax int // clients at once, of Options.ConnectionsMax
}

const (
	// handshakeMax is how long a handshake may take.
	handshakeMax = 10 * time.Second
	// writeMax is how long a client may take to read what it is told.
	writeMax = 30 * time.Second
	// tlsRead is how much is read at once: what a record of TLS holds.
	tlsRead = 16 << 10
)

// secure are the clients that speak TLS.
type secure struct {
	collector *Collector
	listener  net.Listener
	config    func() *tls.Config
	most      int64
	connCount atomic.Int64
	failed    [tlsFailures]atomic.Uint64
	made      atomic.Uint64 // handshakes
	serving   sync.WaitGroup

	mu         sync.Mutex // protects what follows
	closed     bool
	open       map[net.Conn]struct{}
	shaking    list.List // connections in their handshake, the oldest in front
	shakingMax int
}

// tlsFailure is why a handshake failed.
type tlsFailure uint8

const (
	failedCertificate tlsFailure = iota // the client's: none, unknown, expired
	failedTime                          // it took too long, or made room for others
	failedProtocol                      // anything else: no TLS 1.3, the client did not believe us, it hung up
	tlsFailures
)

var tlsFailureWords = [tlsFailures]string{failedCertificate: "certificate", failedTime: "time", failedProtocol: "protocol"}

// listenTLS binds the socket of TLS. It returns nil where there is to be none.
func (c *Collector) listenTLS() (*secure, error) {
	o := c.options.TLS
	if o == nil {
		return nil, nil
	}
	l, err := c.listenConfig().Listen(context.Background(), "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s; check tls.address: %w", o.Address, err)
	}
	return &secure{
		collector: c, listener: l, config: o.Config, most: int64(o.ConnectionsMax),
		open: make(map[net.Conn]struct{}), shakingMax: max(16, o.ConnectionsMax/8),
	}, nil
}

// TLSAddress is the host:port on which Start listens for TLS, "" where it does not.
func (c *Collector) TLSAddress() string {
	if c.secure == nil {
		return ""
	}
	return c.secure.listener.Addr().String()
}

// serveTLS accepts clients until the listener is closed.
func (c *Collector) serveTLS(t *secure) {
	c.acceptFrom(t.listener, func(conn net.Conn) {
		c.cuts.connected.Add(1)
		t.connCount.Add(1)
		// Those above the limit are told so, as far as there are descriptors.
		if t.connCount.Load() > t.most+t.most/8+1 || c.connected() > int64(c.options.ConnectionsMax+c.reserve/4) || !t.enter(conn) {
			t.connCount.Add(-1)
			c.turnAway(conn, overTLS)
			return
		}
		go t.serve(conn)
	})
}

// enter takes a connection in, into its handshake. Where too many are in theirs, the
// one that has been for the longest makes room: an honest client needs
// milliseconds.
func (t *secure) enter(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.open[conn] = struct{}{}
	t.serving.Add(1)
	if t.shaking.Len() >= t.shakingMax {
		_ = t.shaking.Front().Value.(net.Conn).Close() // its goroutine does the rest
		t.shaking.Remove(t.shaking.Front())
	}
	t.shaking.PushBack(conn)
	return true
}

// shaken is for a connection whose handshake is over, false where it had to make
// room for another.
func (t *secure) shaken(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.shaking.Front(); e != nil; e = e.Next() {
		if e.Value == conn {
			t.shaking.Remove(e)
			return true
		}
	}
	return false
}

// serve reads one client until one of the two has had enough.
func (t *secure) serve(raw net.Conn) {
	c := t.collector
	defer func() {
		_ = raw.Close()
		t.connCount.Add(-1)
		defer t.serving.Done()
		t.mu.Lock()
		delete(t.open, raw)
		t.mu.Unlock()
	}()
	conn := tls.Server(raw, t.config())
	_ = raw.SetDeadline(time.Now().Add(handshakeMax))
	err := conn.HandshakeContext(context.Background())
	if !t.shaken(raw) {
		err = errCrowded
	}
	if err != nil {
		t.fail(err)
		c.cuts.connected.Add(-1)
		return
	}
	_ = raw.SetDeadline(time.Time{})
	t.made.Add(1)
	s := c.leastHeld()
	s.connCount.Add(1)
	p := &tlsPeer{conn: conn}
	k := &connection{peer: p, via: overTLS, from: addressAt(conn.RemoteAddr()), names: namesOf(conn.ConnectionState().PeerCertificates)}
	open := s.open(k, t.connCount.Load() > t.most || c.connected() > int64(c.options.ConnectionsMax))
	buffer := make([]byte, tlsRead)
	for open {
		var n int
		if n, err = conn.Read(buffer); n > 0 {
			open = s.take(k, buffer[:n])
		}
		if err != nil {
			break
		}
	}
	s.forget(k)
	if errors.Is(err, io.EOF) {
		p.finish() // it is done, and waits for the end of our half
	}
}

var errCrowded = errors.New("too many handshakes at once, and this one for the longest")

// fail counts a handshake that failed.
func (t *secure) fail(err error) {
	why := failedProtocol
	var invalid *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.Is(err, errCrowded), errors.As(err, &timeout) && timeout.Timeout():
		why = failedTime
	case errors.As(err, &invalid), err.Error() == "tls: client didn't provide a certificate":
		why = failedCertificate
	}
	t.failed[why].Add(1)
	t.collector.notes.Warnf("a client of TLS is not taken: %v", err)
}

// namesOf are the names that a client's certificate has for it: of hosts, and URIs.
func namesOf(chain []*x509.Certificate) (names []string) {
	if len(chain) == 0 {
		return nil
	}
	names = append(names, chain[0].DNSNames...)
	for _, uri := range chain[0].URIs {
		names = append(names, uri.String())
	}
	return names
}

// stop hangs up on every client, and waits until none is served any more.
func (t *secure) stop() {
	t.mu.Lock()
	t.closed = true
	for conn := range t.open {
		_ = conn.Close()
	}
	t.mu.Unlock()
	t.serving.Wait()
}

// tlsPeer is a client that speaks TLS. What it is told is written by a goroutine
// that there is while there is something to write: nobody who tells it waits.
type tlsPeer struct {
	conn *tls.Conn

	mu      sync.Mutex // protects what follows
	waiting []byte
	writing chan struct{} // closed when all is written; nil while nothing is
	last    bool          // our half ends behind what waits
	ended   bool          // it has ended
	broken  bool
}

// tell has bytes written, and perhaps our half ended behind them.
func (p *tlsPeer) tell(b []byte, last bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken || p.last {
		return net.ErrClosed
	}
	if len(p.waiting)+len(b) > ackBufferMax {
		p.broken = true
		p.hangUp()
		return errUnread
	}
	p.waiting = append(p.waiting, b...)
	p.last = last
	if p.writing == nil {
		p.writing = make(chan struct{})
		go p.drain()
	}
	return nil
}

// drain writes what waits.
func (p *tlsPeer) drain() {
	for {
		p.mu.Lock()
		b, end := p.waiting, p.last && !p.ended
		p.waiting, p.ended = nil, p.ended || end
		if p.broken || len(b) == 0 && !end {
			close(p.writing)
			p.writing = nil
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		_ = p.conn.NetConn().SetWriteDeadline(time.Now().Add(writeMax))
		_, err := p.conn.Write(b)
		if err == nil && end {
			err = p.conn.CloseWrite()
		}
		if err != nil {
			p.mu.Lock()
			p.broken = true
			p.mu.Unlock()
			p.hangUp()
		}
	}
}

func (p *tlsPeer) write(b []byte) error { return p.tell(b, false) }
func (p *tlsPeer) end() error           { return p.tell(nil, true) }
func (p *tlsPeer) send(b []byte)        { _ = p.tell(b, false) }
func (p *tlsPeer) bye(b []byte)         { _ = p.tell(b, true) }
func (p *tlsPeer) hangUp()              { _ = p.conn.NetConn().Close() }

// finish ends our half behind all that it was told, and waits for that.
func (p *tlsPeer) finish() {
	p.bye(nil)
	p.mu.Lock()
	written := p.writing
	p.mu.Unlock()
	if written != nil {
		<-written
	}
}
