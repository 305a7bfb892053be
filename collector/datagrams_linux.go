package collector

import (
	"encoding/binary"
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage/pages"
	"github.com/lectern/lectern/wire"
)

const (
	batchDatagrams = 64 // datagrams a recvmmsg takes at the most
	batchesMax     = 16 // batches a wake-up, so that streams on the same loop get their turn

	// datagramBuffer holds the largest datagram, and the largest buffer that
	// UDP_GRO makes of several.
	datagramBuffer = 65536

	// bufferStride is how far apart the buffers are. A power of two would put
	// the beginnings of all of them, where small datagrams stand, into the same
	// few lines of the processor's caches.
	bufferStride = datagramBuffer + 23*64

	udpGRO = 104 // UDP_GRO of linux/udp.h: socket option, and type of the control message

	// controlSize is the space of one control message that holds an int, aligned.
	controlSize = 24

	// nameSize is the space of an address: struct sockaddr_in6.
	nameSize = 28
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// receiver takes datagrams off a loop's UDP socket, many with one system call:
// gnet's own way is one epoll_wait, one recvfrom and two allocations each.
type receiver struct {
	socket  int // a duplicate of gnet's descriptor, kept until the socket has been read dry; -1 without one
	headers []mmsghdr
	vectors []unix.Iovec
	names   [batchDatagrams][nameSize]byte
	control []byte
	buffer  []byte
	ahead   foresight
	gro     gro
}

// open makes the buffers and sets the socket up. It returns the receive buffer
// that the kernel granted, in bytes as it counts them.
func (r *receiver) open(socket, receiveBuffer int) (granted int, err error) {
	r.socket = socket
	r.headers = make([]mmsghdr, batchDatagrams)
	r.vectors = make([]unix.Iovec, batchDatagrams)
	r.control = make([]byte, batchDatagrams*controlSize)
	r.buffer = pages.HugeBytes(batchDatagrams * bufferStride)
	for i := range r.headers {
		r.vectors[i].Base = &r.buffer[i*bufferStride]
		r.vectors[i].SetLen(datagramBuffer)
		h := &r.headers[i].header
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Name, h.Namelen = &r.names[i][0], nameSize
		h.Control = &r.control[i*controlSize]
		h.SetControllen(controlSize)
	}
	// Past net.core.rmem_max with CAP_NET_ADMIN, up to it without.
	if unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return 0, err
		}
	}
	r.gro.ask(socket, true)
	granted, err = unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUF)
	// The kernel doubles what it is asked for, to pay for its own bookkeeping.
	return granted / 2, err
}

// dropped is how many datagrams the kernel has thrown away because the receive
// buffer was full. It helps to say why something was lost; it is never part of
// a book, since a coalesced buffer counts once.
func (r *receiver) dropped() uint64 {
	if r.socket < 0 {
		return 0
	}
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(r.socket), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[unix.SK_MEMINFO_DROPS])
}

func (r *receiver) close() {
	if r.socket >= 0 {
		_ = unix.Close(r.socket)
		r.socket = -1
	}
}

// drain takes what waits in the socket, up to batches batches, and says whether
// it took everything. The shard's mutex is held.
func (s *shard) drain(fd, batches int) (dry bool) {
	defer s.flush()
	r := &s.udp
	for range batches {
		// The call does not wait, so the scheduler need not know of it.
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&r.headers[0])), batchDatagrams, unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			if errors.Is(errno, unix.EINTR) {
				continue
			}
			return true // EAGAIN: nothing there; the kernel reports any other again
		}
		s.tally[receiveCalls]++
		s.tick()
		s.foresee(int(n))
		for i := range r.headers[:n] {
			if i+fetchAhead < int(n) {
				r.ahead.fetch(i + fetchAhead)
			}
			s.received(i)
			s.yield()
		}
		r.gro.weigh(fd, int(n))
		if n < batchDatagrams {
			return true
		}
	}
	return false
}

// foresee has the sources of a batch of n looked for ahead.
func (s *shard) foresee(n int) {
	r := &s.udp
	if s.sources.live.Load() < foreseeFrom {
		r.ahead.blind(n)
		return
	}
	for i := range n {
		r.ahead.see(i, (*[wire.HeaderSize]byte)(r.buffer[i*bufferStride:]))
	}
	r.ahead.look(s.sources, n)
}

// received takes one buffer of the batch: a datagram, or several of one sender
// that the kernel made one buffer of, all of the segment's size but the last.
func (s *shard) received(i int) {
	h := &s.udp.headers[i]
	b := s.udp.buffer[i*bufferStride:][:min(int(h.length), datagramBuffer)]
	segment := s.udp.segment(i)
	truncated := h.header.Flags&unix.MSG_TRUNC != 0
	from := addressNamed(&s.udp.names[i], h.header.Namelen)
	h.header.SetControllen(controlSize) // the kernel has written how much it used
	h.header.Namelen = nameSize
	h.header.Flags = 0
	if truncated {
		s.tally[readDatagrams]++
		s.refuse(wire.RefusedTruncated, b, overUDP, from, false)
		return
	}
	s.guess, s.guessID = s.udp.ahead.guesses[i], s.udp.ahead.ids[i]
	for segment > 0 && len(b) > segment {
		s.udp.gro.seen = true
		s.tally[readDatagrams]++
		s.admit(b[:segment], overUDP, from)
		b = b[segment:]
	}
	s.tally[readDatagrams]++
	s.admit(b, overUDP, from)
	s.guess = nil
}

// addressNamed reads the address that the kernel wrote.
func addressNamed(name *[nameSize]byte, length uint32) address {
	port := binary.BigEndian.Uint16(name[2:])
	switch family := binary.NativeEndian.Uint16(name[:]); {
	case family == unix.AF_INET && length >= unix.SizeofSockaddrInet4:
		return addressOf(name[4:8], port)
	case family == unix.AF_INET6 && length >= unix.SizeofSockaddrInet6:
		return addressOf(name[8:24], port)
	}
	return address{}
}

// segment reads the control message of UDP_GRO; 0 where there is none.
func (r *receiver) segment(i int) int {
	h := &r.headers[i].header
	if h.Controllen < unix.SizeofCmsghdr+4 {
		return 0
	}
	m := (*unix.Cmsghdr)(unsafe.Pointer(&r.control[i*controlSize]))
	if m.Level != unix.IPPROTO_UDP || m.Type != udpGRO {
		return 0
	}
	return int(*(*int32)(unsafe.Pointer(&r.control[i*controlSize+unix.SizeofCmsghdr])))
}
