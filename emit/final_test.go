//go:build go1.26

package emit

import (
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/lectern/lectern/wire"
)

// What a final ack leaves out was not counted by the collector that ended. Where
// the next one knows nothing of the source it goes there under a new one, and
// nothing is unsure.
func TestTCPFinalAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first uint64
		s, err := scripted(t, Options{}, func(conn net.Conn) {
			first = hello(conn, 1000).Source
			readFrame(conn)
			sendAck(conn, first, 1, 1000)
			readFrame(conn) // sent, and not taken
			_, _ = conn.Write(wire.AppendAck(nil, 0, first, 0, wire.Ack{Durable: 1, Final: true}))
		}, func(conn net.Conn) {
			hello(conn, 1000)
			h, _ := readFrame(conn)
			if h.Source != first || h.Sequence != 1 {
				t.Errorf("it goes on with %+v", h)
			}
			_, _ = conn.Write(wire.AppendRefusal(nil, h, 0, wire.RefusedForgotten, ""))
		}, func(conn net.Conn) {
			source := hello(conn, 1000).Source
			h, _ := readFrame(conn)
			if source == first || h.Sequence != 0 || h.Position != 0 || h.Count != 2 {
				t.Errorf("the first frame of the new source: %+v", h)
			}
			sendAck(conn, source, 1, 1000)
			_, _ = io.Copy(io.Discard, conn)
		})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			for range n + 1 {
				add(t, s, Event{User: uint64(n)})
			}
			_ = s.Flush()
			synctest.Wait()
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if stats := s.Stats(); stats.Acked != 3 || stats.Unsure != 0 {
			t.Errorf("stats %+v", stats)
		}
	})
}
