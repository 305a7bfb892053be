//go:build go1.26

package emit

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lectern/lectern/wire"
)

// ended keeps what Options.SourceEnded is told.
type ended []*SourceEndedError

func (e *ended) add(err *SourceEndedError) { *e = append(*e, err) }

// acknowledging is a collector that takes whatever comes, and remembers it.
func acknowledging(headers *[]wire.Header) func(net.Conn) {
	return func(conn net.Conn) {
		source := hello(conn, 1000).Source
		for {
			h, frame := readFrame(conn)
			if frame == nil {
				return
			}
			*headers = append(*headers, h)
			sendAck(conn, source, h.Sequence+1, 1000)
		}
	}
}

// A collector that says it has what was never sent has another's frames under
// this source. What was sent under it is unsure, what was not goes on under a
// new source, and nobody waits for ever.
func TestTCPToldOfWhatWasNeverSent(t *testing.T) {
	const far = 1 << 47
	ahead := func(conn net.Conn) { // in the answer to the hello
		h, _ := readFrame(conn)
		sendAck(conn, h.Source, far, 1000)
		_, _ = io.Copy(io.Discard, conn)
	}
	for name, scripts := range map[string][]func(net.Conn){
		"while it sends": {func(conn net.Conn) {
			source := hello(conn, 1000).Source
			readFrame(conn)
			sendAck(conn, source, far, 0)
			_, _ = io.Copy(io.Discard, conn)
		}},
		"when it comes back": {func(conn net.Conn) {
			hello(conn, 1000)
			readFrame(conn)
		}, ahead},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []wire.Header
				var ends ended
				s, err := scripted(t, Options{SourceEnded: ends.add}, append(scripts, acknowledging(&got))...)
				if err != nil {
					t.Fatal(err)
				}
				first := s.Source()
				for user := range uint64(3) {
					add(t, s, Event{User: user})
				}
				_ = s.Flush()
				synctest.Wait()
				add(t, s, Event{User: 4}) // meanwhile
				if err := s.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if len(got) == 0 || got[0].Source == first || got[0].Sequence != 0 || got[0].Position != 0 || got[0].Count != 1 {
					t.Errorf("under the new source came %+v", got)
				}
				if stats := s.Stats(); stats.Events != 4 || stats.Unsure != 3 || stats.Acked != 1 || stats.Buffered != 0 {
					t.Errorf("stats %+v", stats)
				}
				if len(ends) != 1 || ends[0].Source != first || ends[0].Next != s.Source() || ends[0].Unsure != 3 {
					t.Fatalf("told of %+v", ends)
				}
				for _, want := range []string{strconv.FormatUint(first, 10), "whether 3 events", strconv.FormatUint(s.Source(), 10)} {
					if !strings.Contains(ends[0].Error(), want) {
						t.Errorf("%q does not say %q", ends[0], want)
					}
				}
			})
		})
	}
}

// What answers so to every source is asked again and again, but not in a loop
// that takes a processor.
func TestTCPAlwaysToldOfWhatWasNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var connections atomic.Int64
		s, err := scripted(t, Options{}, func(conn net.Conn) {
			connections.Add(1)
			h, _ := readFrame(conn)
			sendAck(conn, h.Source, 7, 1000)
		})
		if err != nil {
			t.Fatal(err)
		}
		pause(t.Context(), 20*backoffMax)
		if n := connections.Load(); n < 10 || n > 60 {
			t.Errorf("%d connections in %v", n, 20*backoffMax)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A frame that contradicts the others says that somebody else numbers under this
// source: it was not taken, and goes on under another.
func TestTCPPositionContradicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []wire.Header
		var ends ended
		s, err := scripted(t, Options{SourceEnded: ends.add}, func(conn net.Conn) {
			hello(conn, 1000)
			readFrame(conn) // not acknowledged
			h, _ := readFrame(conn)
			_, _ = conn.Write(wire.AppendRefusal(nil, h, 0, wire.RefusedPosition, ""))
		}, acknowledging(&got))
		if err != nil {
			t.Fatal(err)
		}
		first := s.Source()
		for user := range uint64(3) {
			add(t, s, Event{User: user})
			if user > 0 {
				_ = s.Flush()
				synctest.Wait()
			}
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 || got[0].Source == first || got[0].Sequence != 0 || got[0].Count != 1 {
			t.Errorf("under the new source came %+v", got)
		}
		if stats := s.Stats(); stats.Unsure != 2 || stats.Acked != 1 || stats.Refused != 0 || len(ends) != 1 {
			t.Errorf("stats %+v, told of %+v", stats, ends)
		}
	})
}
