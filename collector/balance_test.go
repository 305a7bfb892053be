package collector

import (
	"github.com/lectern/lectern/internal/poll"
	"net"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// TestConnectionsAreSpread: the kernel gives a connection to a loop by chance,
// and of a few each loop has its share all the same. What they send is counted,
// whoever reads it, and the places of those that go are given to the next.
func TestConnectionsAreSpread(t *testing.T) {
	const loops, each, rounds = 3, 4, 5
	r := start(t, func(o *Options) { o.Loops = loops })
	for _, s := range r.shards {
		<-s.turning
	}
	held := func() (n [loops]int) {
		for i, s := range r.shards {
			s.Lock()
			n[i] = len(s.conns.list)
			s.Unlock()
		}
		return n
	}
	for round := range uint64(rounds) {
		var conns []net.Conn
		for i := range uint64(loops * each) {
			c := dial(t, "tcp", r.Address())
			conns = append(conns, c)
			frame := frameOf(1, 1+round*100+i, 0, 0, epoch, opens(5)...)
			write(t, c, frame[:30]) // may be there before the connection is passed on
			write(t, c, frame[30:])
		}
		poll.Until(t, "all connections are held, as many by each loop", func() bool { return held() == [loops]int{each, each, each} })
		for _, c := range conns {
			halfClose(t, c)
			if _, why, text := answer(t, c); why != wire.Accepted {
				t.Errorf("refused: %v %s", why, text)
			}
		}
		poll.Until(t, "all connections are gone", func() bool { return held() == [loops]int{} && r.connected() == 0 })
	}
	for i, s := range r.shards {
		if n := s.connCount.Load(); n != 0 {
			t.Errorf("loop %d says that it holds %d connections", i, n)
		}
	}
	r.stop()
	const events = loops * each * rounds * 5
	if b := r.book(1); b.Counts[storage.Accepted] != events || b.Counts[storage.Sent] != events || !b.Balanced() {
		t.Errorf("book %+v, want %d events accepted", b, events)
	}
}
