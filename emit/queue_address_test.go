//go:build go1.26

package emit

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// Who gave a wrong address, and gives the right one, has his events sent; where a
// collector has answered once, what it may have is its own.
func TestQueueOfAWrongAddress(t *testing.T) {
	fake := newFake(nil)
	dir := t.TempDir()
	o := Options{Stream: 7, Queue: dir, Background: true, FlushAge: time.Millisecond}
	nowhere := func(context.Context) (net.Conn, error) { return nil, errors.New("nobody listens") }
	there := func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		go fake.serve(fake.spools[0], b)
		return a, nil
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	open := func(address string, dial func(context.Context) (net.Conn, error), users ...uint64) *TCP {
		t.Helper()
		e, err := dialTCP(t.Context(), address, dial, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range users {
			if err := e.Add(Event{Time: instant, Content: 1, User: user}); err != nil {
				t.Fatal(err)
			}
		}
		return e
	}
	_ = open("wrong", nowhere, 1, 2, 3).Close(over)
	_ = open("wrong again, and longer than before", nowhere, 4).Close(over)
	e := open("right", there, 5)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := e.Stats(); s.Recovered != 4 || s.Acked != 5 {
		t.Errorf("%+v", s)
	}
	for user := uint64(1); user <= 5; user++ {
		if fake.counted[user] != 1 {
			t.Errorf("event %d was counted %d times", user, fake.counted[user])
		}
	}
	// Now one that was answered, and keeps something.
	e = open("right", there)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		known := e.queue.spool != 0
		e.mu.Unlock()
		if known {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer")
		}
	}
	fake.mu.Lock() // what comes now is not acknowledged
	if err := e.Add(Event{Time: instant, Content: 1, User: 6}); err != nil {
		t.Fatal(err)
	}
	_ = e.Close(over)
	fake.mu.Unlock()
	if _, err := dialTCP(t.Context(), "another", nowhere, o); err == nil || !strings.Contains(err.Error(), "collector at right") {
		t.Errorf("another address: %v", err)
	}
}
