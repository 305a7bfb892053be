//go:build go1.26

package emit

import (
	"context"
	"net"
	"testing"
	"time"
)

// What is skipped shows at the collector as a gap, also where nothing comes behind
// it, and the next emitter with the queue goes on behind it.
func TestSkip(t *testing.T) {
	fake := newFake(nil)
	dir := t.TempDir()
	dial := func() *TCP {
		e, err := dialTCP(t.Context(), "fake", func(context.Context) (net.Conn, error) {
			a, b := net.Pipe()
			go fake.serve(fake.spools[0], b)
			return a, nil
		}, Options{Stream: 7, Queue: dir, FlushAge: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := dial()
	add := func(user uint64) {
		t.Helper()
		if err := e.Add(Event{Time: instant, Content: 1, User: user}); err != nil {
			t.Fatal(err)
		}
	}
	add(1)
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := e.Skip(3); err != nil {
		t.Fatal(err)
	}
	add(2)
	if err := e.Skip(5); err != nil {
		t.Fatal(err)
	}
	if p, ok := e.Position(); !ok || p.Events != 10 {
		t.Errorf("position %+v, %v; want 10 events", p, ok)
	}
	source := e.Source()
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := e.Stats()
	if s.Events != 10 || s.Dropped != 8 || s.Acked != 2 {
		t.Errorf("%+v", s)
	}
	if err := e.Skip(1); err != ErrClosed {
		t.Errorf("after Close: %v", err)
	}
	if p, ok, err := QueuePosition(dir); err != nil || !ok || p != (Position{source, 10}) {
		t.Errorf("the queue is at %+v, %v, %v", p, ok, err)
	}
	if end := fake.spools[0].sealed[source].end; end != 10 {
		t.Errorf("the collector knows of %d events; 10 were numbered", end)
	}
}

// A source that begins with what is skipped, alone or beside an event, tells of all.
func TestSkipFirst(t *testing.T) {
	for _, events := range []int{0, 1} {
		fake := newFake(nil)
		e, err := dialTCP(t.Context(), "fake", func(context.Context) (net.Conn, error) {
			a, b := net.Pipe()
			go fake.serve(fake.spools[0], b)
			return a, nil
		}, Options{Stream: 7, FlushAge: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		for range events {
			if err := e.Add(Event{Time: instant, Content: 1, User: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Skip(5); err != nil {
			t.Fatal(err)
		}
		source := e.Source()
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := fake.spools[0].sealed[source]
		if want := uint64(5 + events); s == nil || s.end != want {
			t.Errorf("with %d events in front: the collector knows of %+v, and %d were numbered", events, s, want)
		}
	}
}
