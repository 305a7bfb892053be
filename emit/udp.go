package emit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/lectern/lectern/wire"
)

// beats is how many beats a source sends over UDP when it begins and when it
// ends: one at least should arrive.
const beats = 3

// beatGap is the time between the last beats: a buffer that overflows is not
// empty again at once.
const beatGap = 20 * time.Millisecond

// UDP sends events in datagrams. Nothing waits for the collector and nothing is
// resent; what is lost shows in the collector's books. Sent without a pause, a
// great many datagrams overrun the collector's socket buffer: pace them.
//
// Every Options.SocketAge, and when the collector's host answers that nobody
// listens or the socket fails, UDP resolves the name again and goes on over a
// new socket: what stands between may have kept the old one's way (connection
// tracking), and the collector may have moved. A socket is a source, since
// behind a new one there may be another collector: the old source ends with its
// last beats, and a new one begins.
type UDP struct {
	sender    sender
	address   string
	socketAge time.Duration
	dial      func(context.Context) (net.Conn, error)
	context   context.Context // ends the resolving
	stop      context.CancelFunc
	closing   sync.Once
	closed    chan struct{} // closed when Close is done
	result    error         // of Close; valid once closed is
	renewer   sync.WaitGroup

	// sender.mu protects all that follows.
	socket   *socket
	born     time.Time // of the socket
	tried    time.Time // when the last attempt to renew it ended
	renewing bool
	last     bool   // socket: Close has begun
	bounced  uint64 // datagrams to which the host answered that nobody listens
}

// socket is one socket, and so one source.
type socket struct {
	net.Conn
	events int // in the last datagram that the kernel took
}

// DialUDP returns an emitter for the collector at addr ("host:port"). ctx
// bounds the name's first resolution and nothing else. That nobody listens there
// shows in Stats and in what Close returns, if the network tells at all.
func DialUDP(ctx context.Context, addr string, o Options) (*UDP, error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", addr)
	}
	return dialUDP(ctx, addr, dial, o)
}

// dialUDP returns an emitter over any connections that keep datagrams apart.
func dialUDP(ctx context.Context, addr string, dial func(context.Context) (net.Conn, error), o Options) (*UDP, error) {
	o, err := o.forUDP()
	if err != nil {
		return nil, err
	}
	packer, err := NewPacker(o.Stream, o.DatagramSize)
	if err != nil {
		return nil, err
	}
	sealer, err := newSealer(&o)
	if err != nil {
		return nil, err
	}
	if sealer != nil {
		packer.Seal(sealer.frame)
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("emit: cannot reach udp://%s: %w; check the host and the port", addr, err)
	}
	u := &UDP{address: addr, socketAge: o.SocketAge, dial: dial, socket: &socket{Conn: conn}, born: time.Now(), closed: make(chan struct{})}
	u.context, u.stop = context.WithCancel(context.Background())
	u.sender.write, u.sender.aged, u.sender.sealer = u.write, u.aged, sealer
	u.sender.start(packer, o.FlushAge, beats)
	return u, nil
}

// write sends a datagram of the present source.
func (u *UDP) write(datagram []byte, events int) error {
	bounced := u.bounced
	err := u.send(u.socket, datagram, events)
	if (err != nil || u.bounced != bounced) && !errors.Is(err, syscall.ENOBUFS) {
		u.renewSoon(time.Now())
	}
	return err
}

// send gives a datagram to the kernel. An answer that nobody listens is for the
// datagram before it, and comes in place of sending this one: so it is tried again.
func (u *UDP) send(s *socket, datagram []byte, events int) error {
	_, err := s.Write(datagram)
	if errors.Is(err, syscall.ECONNREFUSED) {
		u.sender.lastError = err
		u.sender.stats.Unreachable += uint64(s.events)
		u.bounced++
		s.events = 0
		_, err = s.Write(datagram)
	}
	if err == nil {
		s.events = events
		u.sender.stats.Datagrams++
	}
	return err
}

// Source returns the number under which the collector knows this emitter. It
// changes with the socket.
func (u *UDP) Source() uint64 {
	u.sender.mu.Lock()
	defer u.sender.mu.Unlock()
	return u.sender.packer.source
}

// Add takes one event. It is sent when its datagram is full or
// Options.FlushAge old. Add waits for nothing but the send call. An error wraps
// ErrEvent, for an event that no collector would take, or is ErrClosed; what
// cannot be sent is counted in Stats and not returned.
func (u *UDP) Add(e Event) error { return u.sender.add(&e) }

// SetKey has what follows sealed with another key, in place of the one that
// Options.Key gave. Its epoch may be the same or another.
func (u *UDP) SetKey(key *wire.Secret) error {
	m := &u.sender
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.sealer.setKey(key)
	if err == nil {
		m.packer.Seal(m.sealer.frame)
	}
	return err
}

// Flush sends the events that wait. The error is ErrClosed or nil.
func (u *UDP) Flush() error { return u.sender.flush() }

// Stats returns what has been done so far.
func (u *UDP) Stats() Stats { return u.sender.statistics() }

// Close sends the events that wait and the final beats, which shows the
// collector what was lost, and closes the socket. It takes some 40 ms, less if
// ctx ends. The error says how much is known not to have arrived, if any.
// Calling it again returns the same.
func (u *UDP) Close(ctx context.Context) error {
	u.closing.Do(func() {
		u.finish(ctx)
		close(u.closed)
	})
	<-u.closed
	return u.result
}

func (u *UDP) finish(ctx context.Context) {
	m := &u.sender
	_ = m.flush()
	m.mu.Lock()
	m.timer.Stop()
	u.last = true
	for i := range beats {
		if i > 0 {
			m.mu.Unlock()
			pause(ctx, beatGap)
			m.mu.Lock()
			m.flushLocked() // what was added meanwhile
		}
		m.beat()
	}
	m.failed = ErrClosed
	m.mu.Unlock()
	u.stop()
	u.renewer.Wait()
	_ = u.socket.Close()
	u.result = u.undelivered()
}

// undelivered is the error for what is known not to have arrived, nil if nothing is.
func (u *UDP) undelivered() error {
	stats := u.Stats()
	lost := stats.Dropped + stats.Unreachable
	switch {
	case u.bounced > 0 && lost == stats.Events:
		return fmt.Errorf("emit: nobody listens at udp://%s: none of %d events arrived (the last answer: %w); start a collector there, or check the address",
			u.address, stats.Events, u.sender.lastError)
	case u.bounced > 0:
		return fmt.Errorf("emit: the host of udp://%s answered %d times that nobody listens there: at least %d of %d events did not arrive (the last answer: %w); was the collector away?",
			u.address, u.bounced, lost, stats.Events, u.sender.lastError)
	case stats.SendErrors > 0:
		return fmt.Errorf("emit: %d of %d datagrams to udp://%s, with %d of %d events, could not be sent (the last: %w)",
			stats.SendErrors, stats.Frames, u.address, stats.Dropped, stats.Events, u.sender.lastError)
	}
	return nil
}

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
