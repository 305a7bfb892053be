package edge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
)

// syslogs are the doors for the access logs that proxies send as syslog, RFC 3164
// or 5424: over UDP or a Unix datagram socket a message in each datagram, over TCP
// one behind the other, with their length in front (RFC 6587) or a line feed behind.
type syslogs struct {
	edge      *Edge
	door      *door
	packets   []net.PacketConn
	listeners []net.Listener
	serving   sync.WaitGroup
	slots     chan struct{} // one for each connection

	mu     sync.Mutex // protects the fields below
	conns  map[net.Conn]struct{}
	closed bool
}

const (
	// syslogSizeMax is the longest message: a request's target may be 8 KiB, and is
	// longer escaped.
	syslogSizeMax = 64 << 10
	// syslogConnectionsMax is how many proxies may be connected at once.
	syslogConnectionsMax = 256
	// syslogIdle is how long a connection may be silent.
	syslogIdle = 10 * time.Minute
	// syslogBuffer is asked for each socket of datagrams.
	syslogBuffer = 4 << 20
)

// listenSyslog binds what Options.Syslog names.
func (e *Edge) listenSyslog() (*syslogs, error) {
	o := &e.options.Syslog
	if e.stream(o.Stream) == nil {
		return nil, fmt.Errorf("edge.syslog_stream names stream %q, which the configuration does not have", o.Stream)
	}
	s := &syslogs{edge: e, door: e.newDoor("syslog"), slots: make(chan struct{}, syslogConnectionsMax), conns: make(map[net.Conn]struct{})}
	for _, address := range o.Listen {
		if err := s.listen(address); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for the lines of proxies; check edge.syslog: %w", err), s.close())
		}
	}
	return s, nil
}

func (s *syslogs) listen(address string) error {
	network, at, err := splitAddress(address)
	if err != nil {
		return err
	}
	var c net.PacketConn
	switch network {
	case "tcp":
		l, err := net.Listen(network, at)
		if err == nil {
			s.listeners = append(s.listeners, l)
		}
		return err
	case "udp":
		c, err = net.ListenPacket(network, at)
	default:
		c, err = listenUnixgram(at)
	}
	if err != nil {
		return err
	}
	s.packets = append(s.packets, c)
	if buffered, ok := c.(interface{ SetReadBuffer(int) error }); ok {
		_ = buffered.SetReadBuffer(syslogBuffer) // as much as the kernel grants
	}
	return nil
}

// serve takes lines until close.
func (s *syslogs) serve() {
	for _, c := range s.packets {
		s.serving.Go(func() { s.datagrams(c) })
	}
	for _, l := range s.listeners {
		s.serving.Go(func() { s.accept(l) })
	}
}

// lines takes those of one socket.
func (s *syslogs) lines() *lines {
	o := &s.edge.options.Syslog
	parser, _ := accesslog.NewParser(o.Format, nil) // only names of fields can be wrong
	return s.edge.newLines(s.door, s.edge.stream(o.Stream), parser, o.Paths)
}

func (s *syslogs) datagrams(c net.PacketConn) {
	take := s.lines()
	b := make([]byte, syslogSizeMax)
	for {
		n, _, err := c.ReadFrom(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			s.edge.fail(fmt.Errorf("read the lines of proxies from %s: %w", c.LocalAddr(), err))
			return
		}
		_, _ = take.take(trimMessage(b[:n]), 1, s.edge.options.Now()) // syslog has no answer
	}
}

// trimMessage leaves out what ends a message in some senders' minds.
func trimMessage(b []byte) []byte { return bytes.TrimRight(b, "\r\n\x00") }

func (s *syslogs) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // for want of descriptors
			continue
		}
		select {
		case s.slots <- struct{}{}:
		default:
			_ = c.Close() // one too many
			s.edge.count(s.door, Budget, 0, errors.New("too many connections of proxies"))
			continue
		}
		if !s.keep(c) {
			return
		}
		s.serving.Go(func() {
			defer func() { s.drop(c); <-s.slots }()
			if err := s.messages(c); err != nil {
				s.edge.count(s.door, Malformed, 0, err)
			}
		})
	}
}

// keep remembers a connection until drop, false where all are being closed.
func (s *syslogs) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *syslogs) drop(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	_ = c.Close()
}

// messages takes those of a connection until its end. The error says why it is
// closed here.
func (s *syslogs) messages(c net.Conn) error {
	take := s.lines()
	in := bufio.NewReaderSize(c, syslogSizeMax)
	for {
		if err := c.SetReadDeadline(time.Now().Add(syslogIdle)); err != nil {
			return nil // it is closed
		}
		message, err := nextMessage(in)
		switch {
		case errors.Is(err, errFraming):
			return err
		case err != nil:
			return nil // its end, or silence
		}
		if len(message) > 0 {
			_, _ = take.take(trimMessage(message), 1, s.edge.options.Now())
		}
	}
}

var errFraming = fmt.Errorf("a syslog message has no end within %d bytes, or an invalid length", syslogSizeMax)

// nextMessage reads one message. A length in front of it has no zero at its
// beginning, and a message begins with "<" otherwise: so each says what it is. The
// slice is good until the next call.
func nextMessage(in *bufio.Reader) ([]byte, error) {
	first, err := in.Peek(1)
	if err != nil {
		return nil, err
	}
	if first[0] < '1' || first[0] > '9' {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, errFraming
		}
		return line, err
	}
	digits, err := in.ReadSlice(' ')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	n, err := strconv.Atoi(string(bytes.TrimSuffix(digits, []byte(" "))))
	if err != nil || n > syslogSizeMax {
		return nil, errFraming
	}
	message, err := in.Peek(n)
	if err != nil {
		return nil, err
	}
	_, err = in.Discard(n)
	return message, err
}

// close ends all of it.
func (s *syslogs) close() error {
	var err error
	for _, c := range s.packets {
		err = errors.Join(err, c.Close())
	}
	for _, l := range s.listeners {
		err = errors.Join(err, l.Close())
	}
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
	return err
}
