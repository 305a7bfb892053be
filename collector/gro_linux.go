package collector

import "golang.org/x/sys/unix"

// gro decides whether the kernel shall merge datagrams of one sender that come
// together (UDP_GRO). Full datagrams cost it a quarter then. Where there is
// nothing to merge each datagram costs one miss of the cache more, for the kernel
// to find that out: 40 ns, a third of what we take ourselves.
type gro struct {
	on   bool
	seen bool // one was merged since this was last weighed
	n    int  // datagrams, or what was made of several, since it was turned on or last seen, or turned off
}

const (
	groTrial = 1 << 10 // without one that is merged it is turned off
	groPause = 1 << 16 // then it is tried again
)

// weigh is told how many buffers a batch had, of which those that were merged
// have set seen.
func (g *gro) weigh(socket, n int) {
	g.n += n
	switch {
	case g.seen:
		g.seen, g.n = false, 0
	case g.on && g.n >= groTrial:
		g.ask(socket, false)
	case !g.on && g.n >= groPause:
		g.ask(socket, true)
	}
}

// ask turns it on or off. What is merged at that moment and not yet received is
// taken as one datagram, which is the same for all that is good: its frames
// follow each other. Kernels before 5.0 do not know the option, and need not.
func (g *gro) ask(socket int, on bool) {
	value := 0
	if on {
		value = 1
	}
	_ = unix.SetsockoptInt(socket, unix.IPPROTO_UDP, udpGRO, value)
	g.on, g.n = on, 0
}
