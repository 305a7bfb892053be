package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/lectern/lectern/wire"
)

// The TCP socket is ours, and not gnet's: gnet ends a loop when accept fails, for
// want of descriptors, say, and cannot stop accepting and go on with the
// connections it has.

// newcomer is a connection on its way from accept to its loop.
type newcomer struct {
	opened bool // the loop has it
	full   bool // it is above connections_max, and to be told so
}

// portTries is how many ports are tried where any will do: TCP's next free one may be
// another process's for UDP.
const portTries = 64

// listen binds the TCP socket, and sees to it that the UDP sockets can be bound
// likewise.
func (c *Collector) listen() (*net.TCPListener, error) {
	host, port, err := net.SplitHostPort(c.options.Address)
	if err != nil {
		return nil, listenError(c.options.Address, err)
	}
	for try := 1; ; try++ {
		l, err := c.listenOnce(host)
		if err == nil {
			return l, nil
		}
		if port != "0" || try == portTries || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, listenError(c.options.Address, err)
		}
	}
}

// listenOnce tries one port. Where that is not shared, the socket of TCP keeps others
// away, and that of UDP is tried without sharing it: the loops share theirs, and so
// would a second daemon by accident, so that each would get a part of the traffic.
func (c *Collector) listenOnce(host string) (*net.TCPListener, error) {
	l, err := c.listenConfig().Listen(context.Background(), "tcp", c.options.Address)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c.address = net.JoinHostPort(host, port)
	if !c.options.SharePort {
		if err := probe(c.address); err != nil {
			_ = l.Close()
			return nil, err
		}
	}
	return l.(*net.TCPListener), nil
}

// listenConfig is how TCP sockets are bound.
func (c *Collector) listenConfig() *net.ListenConfig {
	config := &net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: time.Minute, Interval: 12 * time.Second, Count: 5,
	}}
	if c.options.SharePort {
		config.Control = reusePort
	}
	return config
}

// probe binds a UDP address for a moment.
func probe(address string) error {
	u, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	return u.Close()
}

// Between two tries to accept, where one failed.
const (
	acceptRetryMin = 5 * time.Millisecond
	acceptRetryMax = time.Second
)

// accept takes connections and gives them to the loops, until the listener is
// closed.
func (c *Collector) accept(l net.Listener) {
	for _, s := range c.shards {
		select {
		case <-s.turning:
		case <-s.stopped:
		}
	}
	underway := make(chan struct{}, c.reserve/8)
	c.acceptFrom(l, func(conn net.Conn) {
		select { // a connection takes a descriptor more until its loop has it
		case underway <- struct{}{}:
			c.give(conn, func() { <-underway })
		case <-c.stop:
			_ = conn.Close()
		}
	})
}

// acceptFrom takes connections until the listener is closed. Nothing else ends it:
// where accept fails, connections wait in the kernel until it is tried again.
func (c *Collector) acceptFrom(l net.Listener, take func(net.Conn)) {
	for retry := acceptRetryMin; ; {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			c.acceptFailures.Add(1)
			c.notes.Warnf("a connection cannot be accepted, and waits: %v", err)
			select {
			case <-c.stop:
				return
			case <-time.After(retry):
			}
			retry = min(2*retry, acceptRetryMax)
			continue
		}
		retry = acceptRetryMin
		take(conn)
	}
}

// turnAway closes a connection without a word: there are so many that its client
// cannot even be told.
func (c *Collector) turnAway(conn net.Conn, via transport) {
	s := c.shards[0]
	s.Lock()
	s.tally[opened]++
	s.refuse(wire.RefusedConnections, nil, via, addressAt(conn.RemoteAddr()), false)
	s.Unlock()
	_ = conn.Close()
	c.cuts.connected.Add(-1)
}

// leastHeld is the shard that has the fewest connections.
func (c *Collector) leastHeld() *shard {
	least := c.shards[0]
	for _, s := range c.shards[1:] {
		if s.connCount.Load() < least.connCount.Load() {
			least = s
		}
	}
	return least
}

// give hands a connection to the loop that has the fewest, or closes it where there are so many that
// its client cannot even be told. done is called when its descriptor is closed.
func (c *Collector) give(conn net.Conn, done func()) {
	connected, most := c.cuts.connected.Add(1), int64(c.options.ConnectionsMax)
	if connected > most+int64(c.reserve/4) {
		c.turnAway(conn, overTCP)
		done()
		return
	}
	to := c.leastHeld()
	to.connCount.Add(1)
	n := &newcomer{full: connected > most}
	failed := func(err error) {
		to.connCount.Add(-1)
		c.cuts.connected.Add(-1)
		c.acceptFailures.Add(1)
		c.notes.Warnf("a connection cannot be given to its loop, and is closed: %v", err)
	}
	// gnet closes conn when it has a descriptor of its own.
	opened, err := to.engine.Register(gnet.NewContext(gnet.NewNetConnContext(context.Background(), conn), n))
	if err != nil {
		_ = conn.Close()
		failed(err)
		done()
		return
	}
	go func() {
		defer done()
		if r := <-opened; !n.opened {
			failed(cmp.Or(r.Err, errUnwatched))
		}
	}()
}

var errUnwatched = errors.New("the kernel does not watch it")

// listenError says what to do where an address cannot be listened on.
func listenError(address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: another process has the port; stop it, or set listen.address (or listen.share_port, in both): %w", address, err)
	}
	return fmt.Errorf("listen on %s; check listen.address: %w", address, err)
}
