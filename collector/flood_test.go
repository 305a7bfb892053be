package collector

import (
	"cmp"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// floodTime is for how long floods are sent: LECTERN_TEST_FLOOD seconds, 2 without it.
func floodTime() time.Duration {
	seconds, _ := strconv.Atoi(cmp.Or(os.Getenv("LECTERN_TEST_FLOOD"), "2"))
	return time.Duration(seconds) * time.Second
}

// strangers send to a collector from addresses of their own, as fast as it takes it.
type strangers struct {
	r       *running
	sent    atomic.Uint64 // datagrams
	stopped atomic.Bool
	wait    sync.WaitGroup
}

// from dials from one of many addresses of this machine.
func (s *strangers) from(network string, n int) (net.Conn, error) {
	ip := net.IPv4(127, 0, 7, byte(1+n%200))
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: ip}}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	return d.Dial(network, s.r.Address())
}

// datagrams are frames under made-up sources, under one that is not theirs, and of
// contents and readers that nobody has seen.
func (s *strangers) datagrams(t *testing.T, seed, honest uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	var from []net.Conn
	for n := range 50 {
		c, err := s.from("udp", n)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		from = append(from, c)
	}
	for n := uint64(0); ; n++ {
		if s.stopped.Load() {
			return
		}
		events := make([]wire.Event, 10)
		for i := range events {
			events[i] = wire.Event{Content: r.Uint64(), User: r.Uint64()}
		}
		var frame []byte
		switch n % 3 {
		case 0:
			frame = frameOf(3, r.Uint64(), 0, 0, time.Now(), events...)
		case 1: // the numbers of the honest one, without its key
			frame = frameOf(2, honest, 1<<20+n, 1<<30, time.Now(), events...)
		case 2:
			frame = frameOf(uint16(4+r.IntN(1000)), 1+r.Uint64N(100), r.Uint64N(1<<40), r.Uint64N(1<<40), time.Now(), events...)
		}
		if _, err := from[n%50].Write(frame); err == nil {
			s.sent.Add(1)
		}
		for n%64 == 0 && !s.stopped.Load() && s.sent.Load() > s.r.framesOverUDP()+2000 { // the kernel would drop theirs and others' alike
			time.Sleep(time.Millisecond)
		}
	}
}

// sessions are short ones, each of a new source.
func (s *strangers) sessions(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	for n := 0; ; n++ {
		if s.stopped.Load() {
			return
		}
		time.Sleep(5 * time.Millisecond)
		c, err := s.from("tcp", n)
		if err != nil {
			continue
		}
		id := r.Uint64()
		_, _ = c.Write(wire.AppendHello(nil, 3, id, time.Now().UnixMilli()))
		_, _ = c.Write(frameOf(3, id, 0, 0, time.Now(), opens(5)...))
		_ = c.Close()
	}
}

// While strangers send over UDP and TCP under made-up sources, under an honest one's
// number, and of made-up contents, an honest sealed source and an honest session lose
// nothing, all of theirs is in rows of its own, and the books are exact.
func TestStrangersFloodHurtsNobody(t *testing.T) {
	const users = 1000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := start(t, func(o *Options) {
		withKeys(o)
		o.ReceiveBuffer, o.ConnectionsMax, o.AddressSourcesMax = 8<<20, 100, 100
		for i := range o.Streams.Known {
			o.Streams.Known[i].Share = 1
		}
		o.Streams.Unknown.Share = 1
	})
	key, u := frameKey(t, older, 2, audience), dial(t, "udp", r.Address())
	c, _ := sealedHello(t, r, older, 2, 1<<63+1)
	for _, conn := range []net.Conn{u, c} {
		_ = conn.SetDeadline(time.Now().Add(floodTime() + time.Minute))
	}
	s := &strangers{r: r}
	s.wait.Go(func() { s.datagrams(t, seed, 1<<63) })
	s.wait.Go(func() { s.sessions(seed) })

	var n, rows uint64
	look := func() { // rows are not kept: there are very many of them
		r.ear.mu.Lock()
		defer r.ear.mu.Unlock()
		for _, row := range r.ear.rows {
			if row.Stream == 2 {
				rows += uint64(row.Opens)
				if row.Coarse != storage.CoarseNot || row.User > users {
					t.Errorf("%+v", row)
				}
			}
		}
		r.ear.rows = r.ear.rows[:0]
	}
	for end := time.Now().Add(floodTime()); time.Now().Before(end); n++ {
		events := []wire.Event{{Content: 1, User: n % users}, {Content: 2, User: n % users}, {Content: 3, User: n % users}}
		write(t, u, sealed(key, frameOf(2, 1<<63, n, 3*n, time.Now(), events...)))
		c.send(n, 3*n, 3)
		if n%100 == 0 {
			look()
		}
		time.Sleep(time.Millisecond)
	}
	c.until(n)
	s.stopped.Store(true)
	s.wait.Wait()
	// Each loop may make one while the others do.
	if live := r.Collector.sources.live.Load(); int(live) > 1000+len(r.shards) {
		t.Errorf("%d sources are remembered, at most 1000 may be", live)
	}
	drops := r.KernelDrops()
	r.stop()
	look()
	honest := r.ear.accounts[storage.Account{Stream: 2, Class: storage.Sealed}]
	if honest.Counts[storage.Accepted] != 6*n || honest.Counts[storage.Sent] != 6*n || rows != 6*n || !honest.Balanced() {
		t.Errorf("%d events were sent, %d are in rows: %+v; the kernel dropped %d", 6*n, rows, honest, drops)
	}
	for stream, b := range r.ear.books {
		if !b.Balanced() {
			t.Errorf("stream %d: %+v", stream, b)
		}
	}
	t.Logf("%d honest frames, beside %d datagrams of strangers", 2*n, s.sent.Load())
}

// A client that has gone before it is answered, so that the answer cannot be written,
// stops nobody.
func TestGoneBeforeItIsAnswered(t *testing.T) {
	r := start(t, nil)
	for id := range uint64(20) {
		for _, s := range r.shards {
			s.Lock()
		}
		c := dial(t, "tcp", r.Address())
		// The ack finds nobody, and is reset; so the refusal finds no connection.
		write(t, c, append(wire.AppendHello(nil, 1, id, time.Now().UnixMilli()), "this is no frame, and has to be refused by size"...))
		c.Close()
		for _, s := range r.shards {
			s.Unlock()
		}
	}
	if _, a := hello(t, r, 1, 99); a.Credit == 0 {
		t.Errorf("the first ack is %+v", a)
	}
}
