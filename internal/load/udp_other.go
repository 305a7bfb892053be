//go:build !linux

package load

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// UDP sends datagrams over several sockets, one system call each. It belongs to
// one goroutine.
type UDP struct {
	conns   []*net.UDPConn
	next    int
	refused int
	buffer  []byte
}

// UDPOptions say how datagrams go. Burst and GSO are for Linux.
type UDPOptions struct {
	Flows int
	Burst int
	GSO   bool
}

// DialUDP returns a sender to an address. Source s goes over flow s mod Flows.
func DialUDP(to netip.AddrPort, o UDPOptions) (*UDP, error) {
	u := &UDP{}
	for i := range o.Flows {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			u.Close()
			return nil, fmt.Errorf("load: socket %d of %d to %v: %w", i+1, o.Flows, to, err)
		}
		u.conns = append(u.conns, c)
	}
	return u, nil
}

// Send makes and sends n datagrams of a frame each.
func (u *UDP) Send(m *Maker, n int) error {
	for range n {
		u.buffer = m.Append(u.buffer[:0], u.next%len(m.sources))
		u.write(u.conns[u.next%len(u.conns)])
		u.next++
	}
	return nil
}

// Beats sends a beat of each source from one number to before another.
func (u *UDP) Beats(m *Maker, from, to int) error {
	for s := from; s < to; s++ {
		u.buffer = m.Beat(u.buffer[:0], s)
		u.write(u.conns[s%len(u.conns)])
	}
	return nil
}

// write sends the buffer. What is not taken is lost on the way.
func (u *UDP) write(c *net.UDPConn) {
	if _, err := c.Write(u.buffer); errors.Is(err, syscall.ECONNREFUSED) {
		u.refused++
	}
}

// Refused is how many sends were told that nobody listens at the address. It is
// known of a host that says so; one that does not looks like one that listens.
func (u *UDP) Refused() int { return u.refused }

// Close closes the sockets.
func (u *UDP) Close() {
	for _, c := range u.conns {
		_ = c.Close()
	}
}
