package collector

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/panjf2000/gnet/v2"
)

// underwayMax is how many connections may be on their way from loop to loop at a
// time. Each takes up to three descriptors more meanwhile, of descriptorsKept;
// when many connect at once, some stay where they are.
const underwayMax = descriptorsKept / 8

// newcomer is a connection on its way from the loop whose socket accepted it to
// the one that keeps it.
type newcomer struct{ opened bool }

// passOn gives a connection that was just accepted to the loop that has the
// fewest, if that is another. The kernel draws a loop for each connection by a
// hash, and of a few busy clients all may be one loop's. It says whether it did:
// then our descriptor can be closed, and nothing has been read from it. The
// shard's mutex is held.
func (s *shard) passOn(c gnet.Conn) bool {
	to := s
	for _, other := range s.cuts.shards {
		if other.ready.Load() && other.held.Load() < to.held.Load() {
			to = other
		}
	}
	if to == s || s.leaving {
		return false
	}
	if s.cuts.underway.Add(1) > underwayMax {
		s.cuts.underway.Add(-1)
		return false
	}
	to.held.Add(1)
	n := new(newcomer)
	opened, err := to.enroll(c, n)
	if err != nil { // it can stay
		to.held.Add(-1)
		s.cuts.underway.Add(-1)
		return false
	}
	go func() {
		if <-opened; !n.opened { // it is closed already
			to.held.Add(-1)
			s.cuts.connected.Add(-1)
		}
		s.cuts.underway.Add(-1)
	}()
	return true
}

// enroll has the loop open another loop's connection, by a descriptor of its
// own. The channel is closed, or gets something, when it has been or cannot be.
func (s *shard) enroll(c gnet.Conn, n *newcomer) (<-chan gnet.RegisteredResult, error) {
	fd, err := c.Dup()
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("pass a connection on: %w", err)
	}
	// gnet closes conn when it has a descriptor of its own.
	opened, err := s.engine.Register(gnet.NewContext(gnet.NewNetConnContext(context.Background(), conn), n))
	if err != nil {
		conn.Close()
	}
	return opened, err
}
