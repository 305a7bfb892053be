package emit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// writeTimeout is how long a collector may refuse to take one more frame before
// the connection counts as dead: longer than it waits for its own store.
const writeTimeout = 30 * time.Second

// reasonWait is how long a failed write waits for the collector's reason, which
// may still be on its way up from the socket.
const reasonWait = time.Second

// streamConn is a connection whose writing half can be closed by itself.
type streamConn interface {
	net.Conn
	CloseWrite() error
}

// TCP sends events over one connection. Add waits when the collector does not
// keep up. One connection is one source: after an error it takes nothing more,
// and what goes on is a new TCP.
type TCP struct {
	emitter  emitter
	address  string
	conn     streamConn
	answered chan struct{} // closed when the collector will say nothing more
	answer   error         // why: nil for its end of the stream; valid once answered is
	closing  sync.Once
	closed   chan struct{} // closed when Close is done
	result   error         // of Close; valid once closed is
}

// DialTCP connects to the collector at addr ("host:port"). ctx bounds the
// connecting and nothing else.
func DialTCP(ctx context.Context, addr string, o Options) (*TCP, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	packer, err := NewPacker(o.Stream, o.FrameSize)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("emit: cannot connect to tcp://%s: %w; is a collector listening there?", addr, err)
	}
	return newTCP(conn.(*net.TCPConn), addr, packer, o), nil
}

func newTCP(conn streamConn, addr string, packer *Packer, o Options) *TCP {
	t := &TCP{address: addr, conn: conn, answered: make(chan struct{}), closed: make(chan struct{})}
	t.emitter.write, t.emitter.fatal = t.write, true
	t.emitter.start(packer, o.FlushAge, 0)
	go t.listen()
	return t
}

// Source returns the number under which the collector knows this emitter.
func (t *TCP) Source() uint64 { return t.emitter.packer.source }

// Add takes one event. It is sent when its frame is full or Options.FlushAge
// old. Add may wait for the collector, 30 seconds at most. An error that wraps
// ErrEvent concerns this event alone. Every other error is final: ErrClosed, a
// *RefusedError with the collector's reason, or why the connection is lost. The
// event is not taken then, and of those sent before, the collector may have
// read some and not others.
func (t *TCP) Add(e Event) error { return t.emitter.add(&e) }

// Flush sends the events that wait. Its errors are the final ones of Add. That
// it returns nil does not say that the collector has read them: Close does.
func (t *TCP) Flush() error { return t.emitter.flush() }

// Stats returns what has been done so far.
func (t *TCP) Stats() Stats { return t.emitter.statistics() }

// Close sends the events that wait, ends the stream and waits for the collector
// to end its own, which it does when it has read everything: only then Close
// returns nil. When ctx ends first, the connection is cut, also under an Add
// that waits. Calling it again returns the same.
func (t *TCP) Close(ctx context.Context) error {
	t.closing.Do(func() {
		cut := context.AfterFunc(ctx, func() { _ = t.conn.Close() })
		t.result = t.finish()
		if !cut() && t.result != nil {
			t.result = fmt.Errorf("emit: tcp://%s did not confirm that it has read everything: %w", t.address, context.Cause(ctx))
		}
		_ = t.conn.Close()
		t.emitter.fail(ErrClosed)
		close(t.closed)
	})
	<-t.closed
	return t.result
}

// finish sends the rest, ends the stream and waits for the collector's end.
func (t *TCP) finish() error {
	if err := t.endStream(); err != nil {
		return err
	}
	<-t.answered
	return t.answer
}

func (t *TCP) endStream() error {
	m := &t.emitter
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	if err := m.flushLocked(); err != nil {
		return err
	}
	select {
	case <-t.answered:
		if t.answer != nil {
			return t.answer
		}
		return t.lost(errHungUp)
	default:
	}
	m.failed = ErrClosed
	if err := t.conn.CloseWrite(); err != nil {
		return t.why(err)
	}
	return nil
}

// write hands one frame to the kernel, with the emitter's mutex held.
func (t *TCP) write(frame []byte) error {
	_ = t.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := t.conn.Write(frame); err != nil {
		return t.why(err)
	}
	return nil
}

// why returns the reason for a failed write: what the collector said, if it
// said anything.
func (t *TCP) why(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("emit: tcp://%s took no whole frame for %v: %w", t.address, writeTimeout, err)
	}
	_ = t.conn.SetReadDeadline(time.Now().Add(reasonWait))
	<-t.answered
	if t.answer != nil && !errors.Is(t.answer, os.ErrDeadlineExceeded) {
		return t.answer
	}
	return t.lost(err)
}

func (t *TCP) lost(err error) error {
	return fmt.Errorf("emit: the connection to tcp://%s is lost, and with it some of the last events perhaps: %w", t.address, err)
}

// errHungUp is for a collector that ended its stream before this side did.
var errHungUp = errors.New("the collector closed it; connect again when it is back")

// listen reads what the collector says until there is no more.
func (t *TCP) listen() {
	err := readAnswers(t.conn)
	if _, refused := err.(*RefusedError); err != nil && !refused {
		err = t.lost(err)
	}
	t.answer = err
	if err != nil {
		_ = t.conn.Close() // a write that waits ends with it
	}
	close(t.answered)
	if err == nil {
		err = t.lost(errHungUp)
	}
	m := &t.emitter
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed == nil {
		m.failed = err
	}
}
