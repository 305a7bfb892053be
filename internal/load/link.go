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

// link is one connection.
type link struct {
	conn    net.Conn
	durable atomic.Uint64 // frames that are acknowledged
	credit  atomic.Uint64
	heard   chan struct{} // gets a token after each ack
	ended   chan struct{} // closed when the collector has hung up
	err     error         // why, valid then; io.EOF for the good end
}

// refusedError is a collector's refusal. Its text comes from whoever answers,
// and is quoted for that.
type refusedError struct {
	reason wire.Refusal
	text   string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("load: the collector hung up: %v: %q", e.reason, e.text)
}

var errForeign = errors.New("what answers is no collector")

// listen reads what the collector says until it hangs up.
func (l *link) listen() {
	defer close(l.ended)
	b := make([]byte, wire.FrameSizeMax)
	for {
		if _, l.err = io.ReadFull(l.conn, b[:wire.HeaderSize]); l.err != nil {
			return
		}
		h, why := wire.ParseHeader(b)
		if why != wire.Accepted {
			l.err = fmt.Errorf("load: %w (%w); check the address", errForeign, why)
			return
		}
		if _, l.err = io.ReadFull(l.conn, b[wire.HeaderSize:h.Size]); l.err != nil {
			return
		}
		switch h.Type {
		case wire.TypeAck:
			if a, why := wire.ParseAck(&h, h.Body(b)); why == wire.Accepted {
				l.credit.Store(a.Credit)
				l.durable.Store(a.Durable)
				select {
				case l.heard <- struct{}{}:
				default:
				}
			}
		case wire.TypeRefusal:
			reason, text, _ := wire.ParseRefusalBody(h.Body(b))
			l.err = &refusedError{reason, string(text)}
			return
		}
	}
}

// wait returns after the next ack, or when there was none for long.
func (l *link) wait(ctx context.Context) error {
	timer := time.NewTimer(stallMax)
	defer timer.Stop()
	select {
	case <-l.heard:
		return nil
	case <-l.ended:
		return io.ErrUnexpectedEOF
	case <-timer.C:
		return fmt.Errorf("nothing was acknowledged for %v", stallMax)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// why is what the collector said, if it did, or else err.
func (l *link) why(err error) error {
	select {
	case <-l.ended:
		if !errors.Is(l.err, io.EOF) {
			return l.err
		}
	case <-time.After(time.Second):
	}
	return fmt.Errorf("load: the connection is lost: %w", err)
}
