package emit

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// beats is how many beats an emitter sends over UDP when it begins and when it
// ends: one at least should arrive.
const beats = 3

// beatGap is the time between the last beats: a buffer that overflows is not
// empty again at once.
const beatGap = 20 * time.Millisecond

// UDP sends events in datagrams. Nothing waits for the collector and nothing is
// resent; what is lost shows in the collector's books. Sent without a pause, a
// great many datagrams overrun the collector's socket buffer: pace them.
type UDP struct {
	emitter emitter
	address string
	conn    net.Conn
	closing sync.Once
	closed  chan struct{} // closed when Close is done
	result  error         // of Close; valid once closed is
}

// DialUDP returns an emitter for the collector at addr ("host:port"). ctx
// bounds the name's resolution and nothing else. That nobody listens there
// shows in Stats and in what Close returns, if the network tells at all.
func DialUDP(ctx context.Context, addr string, o Options) (*UDP, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	// A frame's size has 16 bits, a datagram's has fewer.
	packer, err := NewPacker(o.Stream, o.DatagramSize)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, fmt.Errorf("emit: cannot reach udp://%s: %w; check the host and the port", addr, err)
	}
	return newUDP(conn, addr, packer, o), nil
}

// newUDP returns an emitter over any connection that keeps datagrams apart.
func newUDP(conn net.Conn, addr string, packer *Packer, o Options) *UDP {
	u := &UDP{address: addr, conn: conn, closed: make(chan struct{})}
	u.emitter.write = u.write
	u.emitter.start(packer, o.FlushAge, beats)
	return u
}

func (u *UDP) write(datagram []byte) error {
	_, err := u.conn.Write(datagram)
	if err == nil {
		u.emitter.stats.Datagrams++
	}
	return err
}

// Source returns the number under which the collector knows this emitter.
func (u *UDP) Source() uint64 { return u.emitter.packer.source }

// Add takes one event. It is sent when its datagram is full or
// Options.FlushAge old. Add waits for nothing but the send call. An error wraps
// ErrEvent, for an event that no collector would take, or is ErrClosed; what
// cannot be sent is counted in Stats and not returned.
func (u *UDP) Add(e Event) error { return u.emitter.add(&e) }

// Flush sends the events that wait. The error is ErrClosed or nil.
func (u *UDP) Flush() error { return u.emitter.flush() }

// Stats returns what has been done so far.
func (u *UDP) Stats() Stats { return u.emitter.statistics() }

// Close sends the events that wait and the final beats, which shows the
// collector what was lost, and closes the socket. It takes some 40 ms, less if
// ctx ends. The error says how much could not be handed to the kernel, if any.
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
	m := &u.emitter
	_ = m.flush()
	m.mu.Lock()
	m.timer.Stop()
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
	err, stats := m.lastError, m.stats
	m.mu.Unlock()
	_ = u.conn.Close()
	if err != nil {
		u.result = fmt.Errorf("emit: %d of %d datagrams to udp://%s, with %d events, could not be sent (the last: %w); is a collector listening there?",
			stats.SendErrors, stats.Frames, u.address, stats.Dropped, err)
	}
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
