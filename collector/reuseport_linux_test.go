package collector

import (
	"errors"
	"github.com/lectern/lectern/internal/poll"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"testing"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
)

// A collector that accepts no more goes on with the connections it has.
func TestAcceptIsClosed(t *testing.T) {
	r := start(t, nil)
	c, _ := hello(t, r, 1, 9)
	r.close()
	for range 20 {
		if other, err := net.Dial("tcp", r.Address()); err == nil {
			other.Close()
			t.Fatal("a connection is accepted")
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	write(t, c, frameOf(1, 9, 0, 0, epoch, opens(3)...))
	c.until(1)
	r.stop()
	if b := r.book(1); b.Counts[storage.Accepted] != 3 {
		t.Errorf("%+v", b)
	}
}

// Of two collectors on one port each gets new connections and datagrams only as
// long as it has not left.
func TestSharedPort(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		t.Run(address, func(t *testing.T) {
			old := start(t, func(o *Options) { o.Address, o.SharePort = address, true })
			young := start(t, func(o *Options) { o.Address, o.SharePort = old.Address(), true })
			host, port, err := net.SplitHostPort(old.Address())
			if err != nil {
				t.Fatal(err)
			}
			if host == "" {
				host = "127.0.0.1"
			}
			to := net.JoinHostPort(host, port)
			send := func(source uint64) {
				for range 40 {
					write(t, dial(t, "udp", to), frameOf(1, source, 0, 0, epoch, opens(1)...))
					source++
				}
			}
			send(100)
			poll.Until(t, "all came", func() bool { return count(old)+count(young) == 40 })
			if count(old) == 0 || count(young) == 0 {
				t.Logf("the kernel gave one %d and the other %d", count(old), count(young))
			}
			before := count(old)
			old.close()
			send(200)
			poll.Until(t, "all came again", func() bool { return count(old)+count(young) == 80 })
			if count(old) != before {
				t.Errorf("the one that left got %d datagrams", count(old)-before)
			}
			for range 20 {
				write(t, dial(t, "tcp", to), frameOf(1, 1, 0, 0, epoch))
			}
			poll.Until(t, "all connections came", func() bool { return young.metric("lectern_connections_opened_total") == "20" })
		})
	}
}

func count(r *running) uint64 { return r.cuts.total().Counts[storage.Accepted] }

// Who does not share does not join those who do.
func TestPortThatIsShared(t *testing.T) {
	r := start(t, func(o *Options) { o.SharePort = true })
	c := New(Options{
		Address: r.Address(), Loops: 1, ReceiveBuffer: 1 << 16, KeysMax: 1, SourcesMax: 1, ConnectionsMax: 1,
		Sink: newEar(), Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
	})
	if err := c.Start(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
}

// While one leaves, socket by socket, no flow comes back to it from the other.
func TestNoFlowComesBack(t *testing.T) {
	share := func(o *Options) { o.Loops, o.KeysMax, o.SharePort = 3, 3<<16, true }
	old := start(t, share)
	young := start(t, func(o *Options) { share(o); o.Address = old.Address() })
	flows := make([]net.Conn, 200)
	for i := range flows {
		flows[i] = dial(t, "udp", old.Address())
	}
	next := uint64(0)
	round := func() (here map[uint64]bool) {
		for i, c := range flows {
			write(t, c, frameOf(1, uint64(i+1), next, next, epoch, opens(1)...))
		}
		next++
		poll.Until(t, "all came", func() bool { return count(old)+count(young) == next*uint64(len(flows)) })
		here = map[uint64]bool{}
		for i := range flows {
			id := uint64(i + 1)
			st := old.Collector.sources.of(id)
			st.Lock()
			if src := st.known(id); src != nil && src.next == next {
				here[id] = true
			}
			st.Unlock()
		}
		return here
	}
	before := round()
	if len(before) == 0 || len(before) == len(flows) {
		t.Fatalf("%d of %d flows are with the old one", len(before), len(flows))
	}
	for _, s := range slices.Backward(old.shards) {
		if err := leaveGroup(s.udp.socket); err != nil {
			t.Fatal(err)
		}
		after := round()
		for id := range after {
			if !before[id] {
				t.Errorf("flow %d came back", id)
			}
		}
		before = after
	}
	if len(before) > 0 {
		t.Errorf("%d flows stay", len(before))
	}
}
