package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/lectern/lectern/wire"
)

// TCP sends frames over several connections, a source each. It belongs to one
// goroutine.
type TCP struct {
	streams []*stream
	acks    bool
	next    int
	buffer  []byte
}

// stream is one connection.
type stream struct {
	conn    net.Conn
	durable atomic.Uint64 // frames that are acknowledged
	credit  atomic.Uint64
	heard   chan struct{} // gets a token after each ack
	ended   chan struct{} // closed when the collector has hung up
	err     error         // why, valid then; io.EOF for the good end
}

// DialTCP connects so many times. With acks the collector acknowledges what is
// on its disk, and no more than its credit is on the way. The maker has as many
// sources as there are connections.
func DialTCP(ctx context.Context, to string, connections int, acks bool, m *Maker) (*TCP, error) {
	if connections != m.Sources() {
		return nil, fmt.Errorf("load: %d connections and %d sources; over TCP each connection is one source", connections, m.Sources())
	}
	t := &TCP{acks: acks}
	for i := range connections {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", to)
		if err != nil {
			t.Close()
			return nil, fmt.Errorf("load: connection %d of %d: %w", i+1, connections, err)
		}
		s := &stream{conn: conn, heard: make(chan struct{}, 1), ended: make(chan struct{})}
		t.streams = append(t.streams, s)
		go s.listen()
		if !acks {
			continue
		}
		if _, err := conn.Write(wire.AppendHello(nil, m.shape.Stream, m.SourceID(i), m.now)); err != nil {
			t.Close()
			return nil, fmt.Errorf("load: say hello: %w", err)
		}
	}
	return t, nil
}

// listen reads what the collector says until it hangs up.
func (s *stream) listen() {
	defer close(s.ended)
	b := make([]byte, wire.FrameSizeMax)
	for {
		if _, s.err = io.ReadFull(s.conn, b[:wire.HeaderSize]); s.err != nil {
			return
		}
		h, why := wire.ParseHeader(b)
		if why != wire.Accepted {
			s.err = fmt.Errorf("load: what answers is no collector (%w); check the address", why)
			return
		}
		if _, s.err = io.ReadFull(s.conn, b[wire.HeaderSize:h.Size]); s.err != nil {
			return
		}
		switch h.Type {
		case wire.TypeAck:
			if a, why := wire.ParseAck(h.Body(b)); why == wire.Accepted {
				s.credit.Store(a.Credit)
				s.durable.Store(a.Durable)
				select {
				case s.heard <- struct{}{}:
				default:
				}
			}
		case wire.TypeRefusal:
			reason, text, _ := wire.ParseRefusalBody(h.Body(b))
			s.err = fmt.Errorf("load: the collector hung up: %w: %q", reason, text)
			return
		}
	}
}

// Send makes and sends n frames, one of each connection in turn. It waits for
// credit, and for the collector to read.
func (t *TCP) Send(ctx context.Context, m *Maker, n int) error {
	for range n {
		i := t.next
		t.next = (i + 1) % len(t.streams)
		s := t.streams[i]
		size := uint64(m.FrameSize())
		for t.acks {
			sequence, _ := m.Sent(i)
			if (sequence-s.durable.Load()+1)*size <= s.credit.Load() {
				break
			}
			if err := s.wait(ctx); err != nil {
				return err
			}
		}
		t.buffer = m.Append(t.buffer[:0], i)
		if _, err := s.conn.Write(t.buffer); err != nil {
			return s.why(err)
		}
	}
	return nil
}

// wait returns after the next ack.
func (s *stream) wait(ctx context.Context) error {
	select {
	case <-s.heard:
		return nil
	case <-s.ended:
		return s.why(io.ErrUnexpectedEOF)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// why is what the collector said, if it did, or else err.
func (s *stream) why(err error) error {
	select {
	case <-s.ended:
		if !errors.Is(s.err, io.EOF) {
			return s.err
		}
	case <-time.After(time.Second):
	}
	return fmt.Errorf("load: the connection is lost: %w", err)
}

// Finish waits until all that was sent is acknowledged, or without acks was
// read, and closes the connections.
func (t *TCP) Finish(ctx context.Context, m *Maker) error {
	defer t.Close()
	for i, s := range t.streams {
		if t.acks {
			for sequence, _ := m.Sent(i); s.durable.Load() < sequence; {
				if err := s.wait(ctx); err != nil {
					return err
				}
			}
			continue
		}
		if err := s.conn.(*net.TCPConn).CloseWrite(); err != nil {
			return s.why(err)
		}
		select {
		case <-s.ended: // it has read everything and closed its half
			if !errors.Is(s.err, io.EOF) {
				return s.err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close closes the connections.
func (t *TCP) Close() {
	for _, s := range t.streams {
		_ = s.conn.Close()
	}
}
