package collector

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// scarce is a listener that fails so often before each connection.
type scarce struct {
	net.Listener
	errors []error
	left   []error
}

func (l *scarce) Accept() (net.Conn, error) {
	if len(l.left) > 0 {
		err := l.left[0]
		l.left = l.left[1:]
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	}
	l.left = l.errors
	return l.Listener.Accept()
}

// No error of accept ends the collector, or a loop: the connection waits until it
// can be accepted.
func TestAcceptFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, nil)
	ended := make(chan struct{})
	all := []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM}
	go func() {
		defer close(ended)
		r.accept(&scarce{Listener: l, errors: all})
	}()
	const clients = 3
	for i := range uint64(clients) {
		c := dial(t, "tcp", l.Addr().String())
		write(t, c, wire.AppendHello(nil, 1, 9+i, 0))
		k := &client{t, c}
		k.ack()
		write(t, c, frameOf(1, 9+i, 0, 0, epoch, opens(3)...))
		k.until(1)
	}
	_ = l.Close()
	<-ended
	select {
	case err := <-r.Failed():
		t.Error(err)
	default:
	}
	if n := int(r.acceptFailures.Load()); n < (clients-1)*len(all) {
		t.Errorf("%d failures are counted", n)
	}
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != 3*clients || !b.Balanced() {
		t.Errorf("%+v", b)
	}
}

// Connections above the limit are told so, as far as descriptors are kept for
// that; those above that are closed. All of them are counted, and none stays.
func TestMoreConnectionsThanDescriptors(t *testing.T) {
	const most = 4
	r := start(t, func(o *Options) { o.ConnectionsMax = most })
	held := make([]*client, most)
	for i := range held {
		held[i], _ = hello(t, r, 1, uint64(1+i))
	}
	told, closed := 0, 0
	over := r.reserve/4 + 20
	for range over {
		c := dial(t, "tcp", r.Address())
		b := make([]byte, 1)
		switch _, err := c.Read(b); {
		case err == nil:
			told++
		case errors.Is(err, syscall.ECONNRESET), err.Error() == "EOF":
			closed++
		default:
			t.Fatal(err)
		}
	}
	if told < r.reserve/4 || told+closed != over {
		t.Errorf("of %d clients %d were told why, and %d were not; room for the reason have %d", over, told, closed, r.reserve/4)
	}
	if n := r.metric(`lectern_frames_refused_total{reason="connections"}`); n != strconv.Itoa(over) {
		t.Errorf("%s refused connections are counted of %d", n, over)
	}
	for i, c := range held {
		write(t, c, frameOf(1, uint64(1+i), 0, 0, epoch, opens(1)...))
		c.until(1)
	}
}
