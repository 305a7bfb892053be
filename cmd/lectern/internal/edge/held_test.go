package edge

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// toldConn takes note of the deadlines that it is told: "-" for none.
type toldConn struct {
	net.Conn
	told []string
}

func (c *toldConn) tell(of string, at time.Time) error {
	if at.IsZero() {
		of += "-"
	}
	c.told = append(c.told, of)
	return nil
}

func (c *toldConn) SetReadDeadline(at time.Time) error  { return c.tell("read", at) }
func (c *toldConn) SetWriteDeadline(at time.Time) error { return c.tell("write", at) }

// A connection hears of a deadline when it has passed, and when it is to forget it.
func TestDeadlinesAreLookedAtOnceASecond(t *testing.T) {
	late := 0
	l := limitListener(nil, 10, nil, func() { late++ })
	now := time.Now()
	in := func(d time.Duration) time.Time { return now.Add(d) }
	conn := new(toldConn)
	c := l.hold(conn).(*heldConn)
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() {
			c.SetReadDeadline(in(headerWait))
			c.SetWriteDeadline(in(answerWait))
			l.sweep(in(headerWait - 1))
		}, nil},
		{func() { c.SetReadDeadline(in(idleWait)); l.sweep(in(headerWait)); l.sweep(in(idleWait - 1)) }, []string{"write"}},
		{func() { l.sweep(in(idleWait)); l.sweep(in(idleWait + 1)) }, []string{"read"}},
		{func() { c.SetDeadline(time.Time{}); l.sweep(in(time.Hour)) }, []string{"read-", "write-"}},
		{func() { c.SetReadDeadline(time.Unix(1, 0)); c.SetReadDeadline(time.Time{}) }, []string{"read", "read-"}},
		{func() { c.SetDeadline(in(time.Minute)) }, []string{"read", "write"}}, // an hour ago, by now
		{func() { c.SetDeadline(in(2 * time.Hour)) }, []string{"read-", "write-"}},
	} {
		conn.told = nil
		step.do()
		if !slices.Equal(conn.told, step.want) {
			t.Errorf("told %v, want %v", conn.told, step.want)
		}
	}
	// What never sent a byte is no request, and neither is what waits for another.
	again := in(3 * time.Hour)
	for _, one := range []struct {
		sent bool
		wait time.Duration
		late int
	}{{false, headerWait, 0}, {true, idleWait, 0}, {true, bodyWait, 0}, {true, headerWait, 1}} {
		l.sweep(again)
		late = 0
		c := l.hold(new(toldConn)).(*heldConn)
		c.sent.Store(one.sent)
		c.SetReadDeadline(again.Add(one.wait))
		again = again.Add(one.wait)
		l.sweep(again)
		l.sweep(again.Add(1))
		if late != one.late {
			t.Errorf("sent %v, after %v: %d are late, want %d", one.sent, one.wait, late, one.late)
		}
	}
}

// One connection too many is told so, in a way that a page of any origin hears.
func TestOneConnectionTooMany(t *testing.T) {
	e := newTestEdge(t, func(o *Options) { o.ConnectionsMax = 1 })
	e.dial(t, "P")
	answer, err := http.ReadResponse(bufio.NewReader(e.dial(t, "")), nil)
	if err != nil || answer.StatusCode != 503 || answer.Header.Get("Access-Control-Allow-Origin") != "*" || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%v, %v", answer, err)
	}
	if n := e.http.things[Connections].Get(); n != 1 {
		t.Errorf("%d are counted", n)
	}
}
