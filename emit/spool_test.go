//go:build go1.26 && (darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package emit

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lectern/lectern/wire"
)

// answerAs answers a hello for a spool, and returns the source that it came from.
func answerAs(conn net.Conn, spool, durable uint64) (source uint64) {
	h, _ := readFrame(conn)
	_, _ = conn.Write(wire.AppendAck(nil, 0, h.Source, 0, wire.Ack{Durable: durable, Credit: 1000, Spool: spool}))
	return h.Source
}

// A collector is sent a source's first frames and is cut off before it says that
// they are durable. The next one has a spool of its own: it knows nothing of the
// source, and would count them again.
func TestTCPAnotherSpool(t *testing.T) {
	for name, durable := range map[string]uint64{"it knows nothing of the source": 0, "it says that it has it": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { anotherSpool(t, durable) })
		})
	}
}

func anotherSpool(t *testing.T, durable uint64) {
	var first uint64
	cut := make(chan struct{})
	var ended []*SourceEndedError
	s, err := scripted(t, Options{SourceEnded: func(e *SourceEndedError) { ended = append(ended, e) }}, func(conn net.Conn) {
		first = answerAs(conn, 5, 0)
		readFrame(conn)
		<-cut // it has sealed the frame, and the ack is lost
	}, func(conn net.Conn) {
		if source := answerAs(conn, 6, durable); source != first {
			t.Errorf("hello of source %d, want %d", source, first)
		}
		if h, b := readFrame(conn); b != nil {
			t.Errorf("frame %d of source %d is sent to another spool", h.Sequence, h.Source)
		}
	}, func(conn net.Conn) {
		source := answerAs(conn, 6, 0)
		h, _ := readFrame(conn)
		if source == first || h.Source != source || h.Sequence != 0 || h.Position != 0 || h.Count != 2 {
			t.Errorf("the first frame of the new source: %+v", h)
		}
		_, _ = conn.Write(wire.AppendAck(nil, 0, source, 0, wire.Ack{Durable: 1, Credit: 1000, Spool: 6}))
		_, _ = io.Copy(io.Discard, conn)
	})
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, Event{User: 1})
	_ = s.Flush()
	synctest.Wait()
	close(cut)
	synctest.Wait() // it waits before it connects again
	add(t, s, Event{User: 2})
	add(t, s, Event{User: 3})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if stats := s.Stats(); stats.Acked != 2 || stats.Unsure != 1 {
		t.Errorf("stats %+v", stats)
	}
	if len(ended) != 1 || ended[0].Source != first || ended[0].Unsure != 1 || !errors.Is(ended[0], errSpool) {
		t.Errorf("told of %v", ended)
	}
}

// What was never sent, or left out by a final ack, is not in doubt where another
// spool answers; and a spool stays the same whichever connection leads there.
func TestTCPAnotherSpoolWithoutDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		sources := map[uint64]bool{}
		note := func(source uint64) {
			mu.Lock()
			defer mu.Unlock()
			sources[source] = true
		}
		s, err := scripted(t, Options{}, func(conn net.Conn) {
			note(answerAs(conn, 5, 0))
		}, func(conn net.Conn) {
			note(answerAs(conn, 6, 0)) // nothing was sent
		}, func(conn net.Conn) {
			note(answerAs(conn, 6, 0))
			h, _ := readFrame(conn)
			_, _ = conn.Write(wire.AppendAck(nil, 0, h.Source, 0, wire.Ack{Final: true, Spool: 6}))
		}, func(conn net.Conn) {
			note(answerAs(conn, 7, 0)) // what was sent was not taken
		}, func(conn net.Conn) {
			note(answerAs(conn, 7, 0))
			readFrame(conn)
		}, func(conn net.Conn) {
			source := answerAs(conn, 7, 0)
			note(source)
			h, _ := readFrame(conn)
			_, _ = conn.Write(wire.AppendAck(nil, 0, source, 0, wire.Ack{Durable: h.Sequence + 1, Credit: 1000, Spool: 7}))
			_, _ = io.Copy(io.Discard, conn)
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the first connection has ended
		add(t, s, Event{User: 1})
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if stats := s.Stats(); stats.Acked != 1 || stats.Unsure != 0 || len(sources) != 3 {
			t.Errorf("%d sources, stats %+v", len(sources), stats)
		}
	})
}

// The spool that a source belongs to is in the queue: a client that begins again
// does not take another one for it.
func TestQueueAnotherSpool(t *testing.T) {
	for _, restart := range []bool{false, true} { // of the machine
		dir := t.TempDir()
		taken := make(chan struct{})
		o := Options{Queue: dir, FlushAge: time.Millisecond}
		s, err := scripted(t, o, func(conn net.Conn) {
			answerAs(conn, 5, 0)
			readFrame(conn)
			close(taken)
			_, _ = io.Copy(io.Discard, conn)
		})
		if err != nil {
			t.Fatal(err)
		}
		add(t, s, Event{User: 1})
		<-taken
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = s.Close(ctx)
		if restart {
			path := filepath.Join(dir, queueName)
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			word(file, bootAt).Add(1)
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err = scripted(t, o, func(conn net.Conn) {
			answerAs(conn, 6, 0)
			if h, b := readFrame(conn); b != nil {
				t.Errorf("restart of the machine %t: frame %d is sent to another spool", restart, h.Sequence)
			}
		}, func(conn net.Conn) {
			answerAs(conn, 6, 0)
			_, _ = io.Copy(io.Discard, conn)
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if stats := s.Stats(); stats.Recovered != 1 || stats.Unsure != 1 {
			t.Errorf("restart of the machine %t: stats %+v", restart, stats)
		}
	}
}
