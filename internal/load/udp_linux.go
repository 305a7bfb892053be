package load

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	udpSegment   = 103 // UDP_SEGMENT of linux/udp.h
	segmentsMax  = 44  // datagrams of 1,400 bytes in one send; the kernel's bound is 64 KiB and 64
	messagesMax  = 64  // messages of one sendmmsg
	datagramsMax = 65000
)

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// UDP sends datagrams over several sockets, which a kernel takes for as many
// flows. It belongs to one goroutine.
type UDP struct {
	sockets []int
	next    []int // the next source of each flow
	flow    int
	refused int
	burst   int
	segment bool // bursts go as one send, cut by the kernel (GSO)

	messages [messagesMax]mmsghdr
	vectors  [messagesMax]unix.Iovec
	buffer   []byte
	ends     [messagesMax]int // of the burst's frames in buffer
	control  [24]byte
}

// UDPOptions say how datagrams go.
type UDPOptions struct {
	Flows int  // sockets, at least 1
	Burst int  // datagrams of one flow before the next has its turn, 1 to 64
	GSO   bool // a burst is one send that the kernel cuts; it falls back where the kernel cannot
}

// DialUDP returns a sender to an address. Source s goes over flow s mod Flows.
func DialUDP(to netip.AddrPort, o UDPOptions) (*UDP, error) {
	if o.Flows < 1 || o.Burst < 1 || o.Burst > messagesMax {
		return nil, fmt.Errorf("load: %d flows in bursts of %d; at least 1, and 1 to %d", o.Flows, o.Burst, messagesMax)
	}
	u := &UDP{next: make([]int, o.Flows), burst: o.Burst, segment: o.GSO && o.Burst > 1}
	for i := range u.next {
		u.next[i] = i
		socket, err := connect(to)
		if err != nil {
			u.Close()
			return nil, fmt.Errorf("load: socket %d of %d to %v: %w", i+1, o.Flows, to, err)
		}
		u.sockets = append(u.sockets, socket)
	}
	return u, nil
}

// connect returns a UDP socket to an address.
func connect(to netip.AddrPort) (int, error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if a := to.Addr().Unmap(); a.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: a.As4()}
	}
	socket, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(socket, address); err != nil {
		_ = unix.Close(socket)
		return -1, err
	}
	return socket, nil
}

// Send makes and sends about n datagrams of a frame each, whole bursts. What the
// kernel does not take is lost on the way like any other datagram; the error
// says that the kernel takes none at all.
func (u *UDP) Send(m *Maker, n int) error {
	for n > 0 {
		sent, err := u.sendBurst(m, n)
		if err != nil {
			return err
		}
		n -= sent
	}
	return nil
}

// Beats sends a beat of each source from one number to before another.
func (u *UDP) Beats(m *Maker, from, to int) error {
	for s := from; s < to; s++ {
		u.buffer = m.Beat(u.buffer[:0], s)
		if err := u.write(u.sockets[s%len(u.sockets)], u.buffer); err != nil {
			return err
		}
	}
	return nil
}

func (u *UDP) write(socket int, b []byte) error {
	_, err := unix.Write(socket, b)
	return u.notTaken(err)
}

// Refused is how many sends were told that nobody listens at the address. It is
// known of a host that says so; one that does not looks like one that listens.
func (u *UDP) Refused() int { return u.refused }

// notTaken is nil for the errors that concern one datagram alone.
func (u *UDP) notTaken(err error) error {
	if errors.Is(err, unix.ECONNREFUSED) {
		u.refused++
	}
	if err == nil || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return fmt.Errorf("load: send: %w", err)
}

// sendBurst sends one burst of the flow whose turn it is.
func (u *UDP) sendBurst(m *Maker, n int) (int, error) {
	flow := u.flow
	u.flow = (flow + 1) % len(u.sockets)
	n = min(n, u.burst)
	size := m.FrameSize()
	segment := u.segment && m.shape.Next == nil // else frames are not of one size
	if segment {
		n = max(1, min(n, segmentsMax, datagramsMax/size))
	}
	u.buffer = u.buffer[:0]
	for i := range n {
		u.buffer = m.Append(u.buffer, u.take(flow, len(m.sources)))
		u.ends[i] = len(u.buffer)
	}
	if segment && n > 1 {
		err := u.sendSegmented(u.sockets[flow], size)
		if err == nil || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOPROTOOPT) {
			return n, u.notTaken(err)
		}
		u.segment = false // the kernel or the device cannot
	}
	start := 0
	for i, end := range u.ends[:n] {
		u.vectors[i].Base = &u.buffer[start]
		u.vectors[i].SetLen(end - start)
		start = end
		h := &u.messages[i].header
		*h = unix.Msghdr{Iov: &u.vectors[i]}
		h.SetIovlen(1)
	}
	for done := 0; done < n; {
		k, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, uintptr(u.sockets[flow]),
			uintptr(unsafe.Pointer(&u.messages[done])), uintptr(n-done), 0, 0, 0)
		if errno != 0 {
			if err := u.notTaken(errno); err != nil {
				return n, err
			}
			k = 1 // one that was not taken
		}
		done += int(k)
	}
	return n, nil
}

// take is the source of a flow's next frame.
func (u *UDP) take(flow, sources int) int {
	s := u.next[flow]
	u.next[flow] += len(u.sockets)
	if u.next[flow] >= sources {
		u.next[flow] = flow
	}
	return s % sources
}

// sendSegmented sends the buffer as datagrams of this size, with one system call.
func (u *UDP) sendSegmented(socket, size int) error {
	u.vectors[0].Base = &u.buffer[0]
	u.vectors[0].SetLen(len(u.buffer))
	c := (*unix.Cmsghdr)(unsafe.Pointer(&u.control))
	c.Level, c.Type = unix.SOL_UDP, udpSegment
	c.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&u.control[unix.SizeofCmsghdr])) = uint16(size)
	h := &u.messages[0].header
	*h = unix.Msghdr{Iov: &u.vectors[0], Control: &u.control[0]}
	h.SetIovlen(1)
	h.SetControllen(unix.CmsgSpace(2))
	_, _, errno := syscall.Syscall(unix.SYS_SENDMSG, uintptr(socket), uintptr(unsafe.Pointer(h)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Close closes the sockets.
func (u *UDP) Close() {
	for _, s := range u.sockets {
		_ = unix.Close(s)
	}
	u.sockets = nil
}
