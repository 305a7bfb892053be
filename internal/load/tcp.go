package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/lectern/lectern/wire"
)

const (
	// stallMax is how long a collector may take nothing before that is an error.
	stallMax = time.Minute
	// comeAgainMin and comeAgainMax bound the pause before another connection.
	comeAgainMin = 50 * time.Millisecond
	comeAgainMax = time.Second
)

// TCP sends frames over several connections, a source each. A connection that
// the collector closes, having no room, is made again: with acks the frames that
// it has not acknowledged are sent again; without, they show as lost. It belongs
// to one goroutine.
type TCP struct {
	to      string
	acks    bool
	maker   *Maker
	streams []*stream
	next    int
	buffer  []byte

	Reconnects int // connections after the first of each source
}

// stream is one source.
type stream struct {
	source   int
	link     *link
	pending  []frame // with acks: made and not acknowledged, the oldest first
	written  int     // of pending, over this connection
	free     [][]byte
	progress time.Time // when the collector took something last
}

type frame struct {
	sequence uint64
	bytes    []byte
}

// DialTCP makes that number of connections. With acks the collector acknowledges what is
// on its disk, and no more than its credit is on the way. The maker has as many
// sources as there are connections, and is used by TCP until Close.
func DialTCP(ctx context.Context, to string, connections int, acks bool, m *Maker) (*TCP, error) {
	if connections != m.Sources() {
		return nil, fmt.Errorf("load: %d connections and %d sources; over TCP each connection is one source", connections, m.Sources())
	}
	t := &TCP{to: to, acks: acks, maker: m}
	for i := range connections {
		l, err := t.connect(ctx, i)
		if err != nil {
			t.Close()
			return nil, fmt.Errorf("load: connection %d of %d: %w", i+1, connections, err)
		}
		t.streams = append(t.streams, &stream{source: i, link: l, progress: time.Now()})
	}
	return t, nil
}

// connect makes a connection of a source, and with acks says hello.
func (t *TCP) connect(ctx context.Context, source int) (*link, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.to)
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, heard: make(chan struct{}, 1), ended: make(chan struct{})}
	go l.listen()
	if t.acks {
		if _, err := conn.Write(wire.AppendHello(nil, t.maker.shape.Stream, t.maker.SourceID(source), t.maker.now)); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("say hello: %w", err)
		}
	}
	return l, nil
}

// Send makes and sends n frames, one of each source in turn. It waits for
// credit, and for the collector to read.
func (t *TCP) Send(ctx context.Context, n int) error {
	for range n {
		s := t.streams[t.next]
		t.next = (t.next + 1) % len(t.streams)
		var err error
		if t.acks {
			s.make(t.maker)
			err = t.bring(ctx, s, false)
		} else {
			t.buffer = t.maker.Append(t.buffer[:0], s.source)
			err = t.write(ctx, s, t.buffer)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends a frame that nobody acknowledges. With its connection it is lost.
func (t *TCP) write(ctx context.Context, s *stream, b []byte) error {
	_, err := s.link.conn.Write(b)
	if err != nil {
		return t.comeAgain(ctx, s, err)
	}
	s.progress = time.Now()
	return nil
}

// make makes the next frame of a source that keeps it.
func (s *stream) make(m *Maker) {
	var b []byte
	if n := len(s.free); n > 0 {
		b, s.free = s.free[n-1], s.free[:n-1]
	}
	sequence, _ := m.Sent(s.source)
	s.pending = append(s.pending, frame{sequence, m.Append(b[:0], s.source)})
}

// release drops what is acknowledged.
func (s *stream) release() {
	durable := s.link.durable.Load()
	for len(s.pending) > 0 && s.pending[0].sequence < durable {
		s.free = append(s.free, s.pending[0].bytes)
		s.pending = s.pending[1:]
		s.written = max(0, s.written-1)
		s.progress = time.Now()
	}
}

// bring sends what is pending, as credit allows, until all of it is on its way,
// or with acked until all of it is acknowledged.
func (t *TCP) bring(ctx context.Context, s *stream, acked bool) error {
	for {
		s.release()
		if len(s.pending) == 0 || s.written == len(s.pending) && !acked {
			return nil
		}
		credit, size := s.link.credit.Load(), uint64(t.maker.FrameSize())
		var err error
		if s.written < len(s.pending) && uint64(s.written+1)*size <= credit {
			_, err = s.link.conn.Write(s.pending[s.written].bytes)
			s.written++
		} else {
			err = s.link.wait(ctx)
		}
		if err == nil && time.Since(s.progress) < stallMax {
			continue
		}
		if err == nil {
			err = errStalled
		}
		if err := t.comeAgain(ctx, s, err); err != nil {
			return err
		}
	}
}

var errStalled = errors.New("acks came, but of nothing new")

// comeAgain makes the connection anew that was lost by err, unless that would
// not help.
func (t *TCP) comeAgain(ctx context.Context, s *stream, err error) error {
	for wait := comeAgainMin; ; wait = min(2*wait, comeAgainMax) {
		err = s.link.why(err)
		_ = s.link.conn.Close()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !momentary(err):
			return err
		case time.Since(s.progress) >= stallMax:
			return fmt.Errorf("load: the collector took nothing for %v: %w", stallMax, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		l, failed := t.connect(ctx, s.source)
		if failed != nil {
			err = failed
			continue
		}
		t.Reconnects++
		s.link, s.written = l, 0
		if !t.acks {
			return nil
		}
		if err = l.wait(ctx); err == nil {
			return nil
		}
	}
}

// momentary reports whether another connection may do better.
func momentary(err error) bool {
	var refused *refusedError
	if errors.As(err, &refused) {
		switch refused.reason {
		case wire.RefusedConnections, wire.RefusedIdle, wire.RefusedSources, wire.RefusedCredit:
			return true
		}
		return false
	}
	return !errors.Is(err, errForeign)
}

// Acknowledged returns when everything that was sent is acknowledged, which needs
// acks.
func (t *TCP) Acknowledged(ctx context.Context) error {
	for _, s := range t.streams {
		s.progress = time.Now()
		if err := t.bring(ctx, s, true); err != nil {
			return err
		}
	}
	return nil
}

// Finish waits until all that was sent is acknowledged, or without acks was
// read, and closes the connections.
func (t *TCP) Finish(ctx context.Context) error {
	defer t.Close()
	for _, s := range t.streams {
		s.progress = time.Now()
		var err error
		if t.acks {
			err = t.bring(ctx, s, true)
		} else {
			err = t.end(ctx, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// end ends a source that nobody acknowledges. Where its connection was lost, a
// beat over another shows what was lost with it.
func (t *TCP) end(ctx context.Context, s *stream) error {
	for {
		err := s.link.conn.(*net.TCPConn).CloseWrite()
		if err == nil {
			select {
			case <-s.link.ended: // it has read everything and closed its half
				if err = s.link.err; errors.Is(err, io.EOF) {
					return nil
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err = t.comeAgain(ctx, s, err); err != nil {
			return err
		}
		t.buffer = t.maker.Beat(t.buffer[:0], s.source)
		_, _ = s.link.conn.Write(t.buffer) // what goes wrong shows in the next round
	}
}

// Close closes the connections.
func (t *TCP) Close() {
	for _, s := range t.streams {
		_ = s.link.conn.Close()
	}
}
