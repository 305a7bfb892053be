package load

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lectern/lectern/wire"
)

// crowded is a collector that has no room again and again: it closes each of its
// first connections after some frames, of which it has acknowledged one less.
type crowded struct {
	mu     sync.Mutex
	taken  map[[2]uint64][]byte // frames by source and sequence
	turned int                  // connections that it has closed so
	again  int                  // frames that came twice, byte for byte
	odd    []string             // what must not be
}

const turnedMax = 6

// frames is how many each source sends.
const frames = 100

func (c *crowded) serve(conn net.Conn) {
	defer conn.Close()
	b := make([]byte, wire.FrameSizeMax)
	durable, session := uint64(0), false
	for n := 0; ; n++ {
		if _, err := io.ReadFull(conn, b[:wire.HeaderSize]); err != nil {
			return
		}
		h, why := wire.ParseHeader(b)
		if why != wire.Accepted {
			c.odd = append(c.odd, why.String())
			return
		}
		_, _ = io.ReadFull(conn, b[wire.HeaderSize:h.Size])
		c.mu.Lock()
		if h.Type == wire.TypeEvents {
			key := [2]uint64{h.Source, h.Sequence}
			if before, ok := c.taken[key]; !ok {
				c.taken[key] = bytes.Clone(b[:h.Size])
			} else if c.again++; !bytes.Equal(before, b[:h.Size]) {
				c.odd = append(c.odd, "a numbered frame has changed")
			}
		}
		session = session || h.Type == wire.TypeHello
		for durable = 0; c.taken[[2]uint64{h.Source, durable}] != nil; durable++ {
		}
		full := n > 5 && c.turned < turnedMax
		if full {
			c.turned++
		}
		c.mu.Unlock()
		if full {
			return
		}
		if session {
			// At first one less, so that something is always on its way.
			for _, durable := range []uint64{max(durable, 1) - 1, durable}[:1+n%2] {
				_, _ = conn.Write(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: durable, Credit: 3000}))
			}
			if durable == frames {
				_, _ = conn.Write(wire.AppendAck(nil, h.Stream, h.Source, 0, wire.Ack{Durable: durable, Credit: 3000}))
			}
		}
	}
}

func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// A collector without room closes. The load comes again: with acks every frame
// arrives, without the last numbers tell what did not.
func TestTCPComesAgain(t *testing.T) {
	for _, acks := range []bool{true, false} {
		c := &crowded{taken: map[[2]uint64][]byte{}}
		m, err := NewMaker(Shape{Sources: 2, Keys: 10, Events: 10, Size: 1400, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := DialTCP(ctx, listen(t, c.serve), 2, acks, m)
		if err == nil {
			err = s.Send(ctx, 2*frames)
		}
		if err == nil {
			err = s.Finish(ctx)
		}
		if err != nil {
			t.Fatalf("acks %v: %v", acks, err)
		}
		c.mu.Lock()
		if len(c.odd) > 0 || s.Reconnects < 1 || acks && (c.turned != turnedMax || s.Reconnects < turnedMax) {
			t.Errorf("acks %v: %v, %d turned away, %d came again", acks, c.odd, c.turned, s.Reconnects)
		}
		for source := range 2 {
			sequence, _ := m.Sent(source)
			last := [2]uint64{m.SourceID(source), sequence - 1}
			if c.taken[last] == nil {
				t.Errorf("acks %v: the last frame of source %d did not arrive", acks, source)
			}
		}
		if acks && len(c.taken) != 2*frames || !acks && c.again > 0 {
			t.Errorf("acks %v: %d frames arrived, %d again", acks, len(c.taken), c.again)
		}
		c.mu.Unlock()
	}
}

// A refusal for good is said, with its text quoted, and not asked for again.
func TestTCPRefused(t *testing.T) {
	m, err := NewMaker(Shape{Sources: 1, Keys: 10, Events: 10, Size: 1400, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, func(conn net.Conn) {
		defer conn.Close()
		_, _ = io.ReadFull(conn, make([]byte, wire.HeaderSize))
		_, _ = conn.Write(wire.AppendRefusal(nil, wire.Header{}, 0, wire.RefusedUnexpected, "no\x1b[2J"))
		_, _ = io.Copy(io.Discard, conn)
	})
	s, err := DialTCP(t.Context(), addr, 1, true, m)
	if err == nil {
		err = s.Send(t.Context(), 1)
	}
	if err == nil || !strings.Contains(err.Error(), `unexpected: "no\x1b[2J"`) {
		t.Errorf("%v", err)
	}
	if s != nil {
		s.Close()
	}
}
