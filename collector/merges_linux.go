package collector

import "golang.org/x/sys/unix"

// merges decides whether the kernel shall merge datagrams of one sender that come
// together (UDP_GRO). Full datagrams cost it a quarter then. Where there is
// nothing to merge each datagram costs one miss of the cache more, for the kernel
// to find that out: 40 ns, a third of what we take ourselves.
type merges struct {
	on   bool
	seen bool // one was merged since this was last weighed
	n    int  // datagrams, or what was made of several, since it was turned on or last seen, or turned off
}

const (
	mergeTrial = 1 << 10 // without one that is merged it is turned off
	mergePause = 1 << 16 // then it is tried again
)

// weigh is told how many buffers a batch had, of which those that were merged
// have set seen.
func (m *merges) weigh(socket, n int) {
	m.n += n
	switch {
	case m.seen:
		m.seen, m.n = false, 0
	case m.on && m.n >= mergeTrial:
		m.ask(socket, false)
	case !m.on && m.n >= mergePause:
		m.ask(socket, true)
	}
}

// ask turns it on or off. What is merged at that moment and not yet received is
// taken as one datagram, which is the same for all that is good: its frames
// follow each other. Kernels before 5.0 do not know the option, and need not.
func (m *merges) ask(socket int, on bool) {
	value := 0
	if on {
		value = 1
	}
	_ = unix.SetsockoptInt(socket, unix.IPPROTO_UDP, udpGRO, value)
	m.on, m.n = on, 0
}
