package main

import (
	"context"
	"encoding/json"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// handovers is how often each hand-over is tried: LECTERN_TEST_HANDOVERS.
func handovers(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("LECTERN_TEST_HANDOVERS")); err == nil {
		return n
	}
	return usual
}

// peers writes the config of one of two daemons on one address.
func peers(t *testing.T, address, parquet, spool, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("listen.address = %q\nlisten.share_port = true\nops.address = \"127.0.0.1:0\"\nparquet.dir = %q\nspool.dir = %q\nspool.size_max = \"384MiB\"\n%s\n",
		address, parquet, spool, lines)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// flows sends datagrams of one event each, round robin from several sockets, so
// many a second, until stop is closed. It returns how many it sent.
func flows(t *testing.T, address string, stream uint16, sockets, rate int, stop <-chan struct{}) func() int {
	t.Helper()
	type flow struct {
		conn   net.Conn
		source uint64
		next   uint64
	}
	var all []*flow
	for range sockets {
		c, err := net.Dial("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &flow{conn: c, source: rand.Uint64()})
	}
	var sent int
	var sending sync.WaitGroup
	sending.Go(func() {
		began := time.Now()
		for {
			select {
			case <-stop:
				return
			default:
			}
			due := int(time.Since(began).Seconds() * float64(rate))
			for ; sent < due; sent++ {
				f := all[sent%sockets]
				frame := wire.AppendHeader(nil, wire.Header{
					Type: wire.TypeEvents, Count: 1, Stream: stream, Time: time.Now().UnixMilli(), Source: f.source, Sequence: f.next, Position: f.next,
				})
				frame = wire.AppendEvent(frame, &wire.Event{Content: f.source % 1000, User: f.next % 100}, nil)
				frame[4] = byte(len(frame))
				f.next++
				if _, err := f.conn.Write(frame); err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
	return func() int {
		sending.Wait()
		for _, f := range all {
			_ = f.conn.Close()
		}
		return sent
	}
}

// ledger adds up the books of a stopped daemon's store.
type ledger struct{ sent, accepted, lost, open int }

func ledgerOf(t *testing.T, config string, stream uint16) ledger {
	t.Helper()
	return ledgerIn(t, stream, "--config", config)
}

func ledgerIn(t *testing.T, stream uint16, store ...string) (l ledger) {
	t.Helper()
	var b struct {
		Streams []struct{ Stream, Sent, Accepted, Lost, Open json.Number }
	}
	out := succeed(t, append([]string{"books", "--json"}, store...)...)
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		t.Fatalf("books: %v\n%s", err, out)
	}
	for _, s := range b.Streams {
		if s.Stream.String() != strconv.Itoa(int(stream)) {
			continue
		}
		for to, n := range map[*int]json.Number{&l.sent: s.Sent, &l.accepted: s.Accepted, &l.lost: s.Lost, &l.open: s.Open} {
			v, err := n.Int64()
			if err != nil {
				t.Fatal(err)
			}
			*to += int(v)
		}
	}
	return l
}

// opens counts the stored events of a stream.
func opens(t *testing.T, dir string, stream uint16) (n int) {
	t.Helper()
	for _, r := range storedRows(t, dir) {
		if r.Stream == stream {
			n += int(r.Opens)
		}
	}
	return n
}

var dropsLine = regexp.MustCompile(`kernel_drops=(\d+)`)

// drops is what the daemon said of its sockets when it left.
func (d *served) drops() (n int) {
	d.t.Helper()
	m := dropsLine.FindStringSubmatch(d.said())
	if m == nil {
		d.t.Fatalf("the daemon did not say how many datagrams the kernel dropped:\n%s", d.said())
	}
	n, _ = strconv.Atoi(m[1])
	return n
}

// Two daemons on one UDP address, 20,000 datagrams a second, and the old one goes:
// nothing is lost, or the kernel dropped it for want of room in a socket.
func TestHandoverOfDatagrams(t *testing.T) {
	for round := range handovers(2) {
		address := loopback(t)
		dirs := [2]string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
		var configs [2]string
		for i, dir := range dirs {
			configs[i] = peers(t, address, dir, dir+".spool", "stop.drain_time = \"10s\"")
		}
		old := serveOn(t, configs[0])
		stop := make(chan struct{})
		sent := flows(t, address, 7, 8, 20_000, stop)
		time.Sleep(500 * time.Millisecond)
		young := serveOn(t, configs[1])
		time.Sleep(500 * time.Millisecond)
		old.stop()
		time.Sleep(500 * time.Millisecond)
		close(stop)
		n := sent()
		young.stop()
		first, second := opens(t, dirs[0], 7), opens(t, dirs[1], 7)
		dropped := old.drops() + young.drops()
		if missing := n - first - second; missing < 0 || missing > dropped {
			t.Errorf("round %d: of %d datagrams %d are in the old one's store and %d in the new one's: %d are missing, and the kernel dropped %d",
				round, n, first, second, missing, dropped)
		}
		// What lies between the two, and what one of them missed and the other has,
		// only the books of both can say, side by side.
		both := t.TempDir()
		for _, dir := range dirs {
			if err := os.RemoveAll(filepath.Join(dir, "lock")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, "collector")); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(both, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
		}
		a, b, all := ledgerOf(t, configs[0], 7), ledgerOf(t, configs[1], 7), ledgerIn(t, 7, "--dir", both)
		if all.sent != n || all.lost+all.open != n-first-second || all.accepted != first+second || a.accepted != first || b.accepted != second {
			t.Errorf("round %d: %d were sent; the books say %+v and %+v, and together %+v", round, n, a, b, all)
		}
		if second == 0 || first == 0 {
			t.Errorf("round %d: no hand-over: %d and %d", round, first, second)
		}
		t.Logf("round %d: %d sent, %d + %d stored, %d missing, %d dropped by the kernel", round, n, first, second, n-first-second, dropped)
	}
}

// Two daemons on one address, one spool and one store; clients of TCP and of UDP
// send all the time; the old one is told to go, or killed. What was acknowledged
// is stored once, and nothing is given up.
func TestHandoverOfASpool(t *testing.T) {
	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for round := range handovers(1) {
			t.Run(fmt.Sprintf("%v %d", how, round), func(t *testing.T) { handOverSpool(t, how) })
		}
	}
}

func handOverSpool(t *testing.T, how syscall.Signal) {
	address, parquet, spool := loopback(t), filepath.Join(t.TempDir(), "parquet"), filepath.Join(t.TempDir(), "spool")
	config := peers(t, address, parquet, spool, "spool.share = true\nwindow.ack_interval = \"100ms\"\nwindow.flush_interval = \"300ms\"")
	old := serveOn(t, config)
	var clients []*emit.TCP
	for range 4 {
		c, err := emit.DialTCP(t.Context(), address, emit.Options{Stream: 1, FlushAge: time.Millisecond, Background: true})
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	stop := make(chan struct{})
	sent := flows(t, address, 2, 4, 5000, stop)
	var adding sync.WaitGroup
	added := make([]int, len(clients)+1)
	add := func(i int, c *emit.TCP) {
		adding.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				for range 5 {
					added[i]++
					if err := c.Add(emit.Event{Content: uint64(i + 1), User: uint64(added[i] % 50), Kind: emit.Open, Time: time.Now().UnixMilli()}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for i, c := range clients {
		add(i, c)
	}
	acked := func(c *emit.TCP) func() bool { return func() bool { return c.Stats().Acked > 500 } }
	for _, c := range clients {
		poll.Until(t, "the old daemon acknowledges", acked(c))
	}
	young := serveOn(t, config)
	// One that begins while there are two, and may come to either.
	late, err := emit.DialTCP(t.Context(), address, emit.Options{Stream: 1, FlushAge: time.Millisecond, Background: true})
	if err != nil {
		t.Fatal(err)
	}
	clients = append(clients, late)
	add(len(clients)-1, late)
	time.Sleep(300 * time.Millisecond)
	if how == syscall.SIGTERM {
		old.stop()
	} else {
		_ = old.command.Process.Kill()
		<-old.finished
	}
	for _, c := range clients {
		before := c.Stats().Acked
		poll.Until(t, "the new daemon acknowledges", func() bool { return c.Stats().Acked > before+500 })
	}
	close(stop)
	adding.Wait()
	datagrams := sent()
	total := 0
	for i, c := range clients {
		total += added[i]
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if s := c.Stats(); s.Unsure+s.Refused+s.Dropped > 0 || s.Acked != uint64(added[i]) {
			t.Errorf("client %d added %d events: %+v", i, added[i], s)
		}
	}
	poll.Until(t, "the old spool is empty", func() bool {
		_, err := os.Stat(filepath.Join(spool, "vacant"))
		return err == nil
	})
	young.stop()
	if n := opens(t, parquet, 1); n != total {
		t.Errorf("%d events were acknowledged over TCP, %d are stored", total, n)
	}
	l := ledgerOf(t, config, 1)
	if l.sent != total || l.lost != 0 || l.accepted != total {
		t.Errorf("over TCP %d were sent; the books say %+v", total, l)
	}
	l = ledgerOf(t, config, 2)
	stored := opens(t, parquet, 2)
	if l.sent != datagrams || l.accepted != stored || l.lost+l.open != datagrams-stored || how == syscall.SIGTERM && l.lost+l.open > old.drops()+young.drops() {
		t.Errorf("over UDP %d were sent and %d are stored; the books say %+v", datagrams, stored, l)
	}
	succeed(t, "spool", "verify", "--config", config)
	t.Logf("%d over TCP, all stored; %d over UDP, %d lost; young met %s", total, datagrams, l.lost+l.open, young.said())
}

// Each daemon has a spool of its own, as pods without a common disk have: the new
// one does not know the clients of the old one, which go on under new sources. The
// last ack says what became of what they had sent.
func TestHandoverWithoutASharedSpool(t *testing.T) {
	address := loopback(t)
	dirs := [2]string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	var configs [2]string
	for i, dir := range dirs {
		configs[i] = peers(t, address, dir, dir+".spool", "window.ack_interval = \"100ms\"")
	}
	old := serveOn(t, configs[0])
	c, err := emit.DialTCP(t.Context(), address, emit.Options{Stream: 1, FlushAge: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	young := serveOn(t, configs[1])
	added := uint64(0)
	send := func(more uint64) {
		for until := c.Stats().Acked + more; c.Stats().Acked < until; time.Sleep(time.Millisecond) {
			for range 5 {
				added++
				if err := c.Add(emit.Event{Content: 1, User: added % 50, Kind: emit.Open, Time: time.Now().UnixMilli()}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	send(500)
	old.signal(syscall.SIGTERM)
	send(2000)
	old.left()
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	young.stop()
	s := c.Stats()
	stored := uint64(opens(t, dirs[0], 1) + opens(t, dirs[1], 1))
	if s.Acked+s.Unsure != added || stored < s.Acked || stored > added {
		t.Errorf("%d were added, %d acknowledged, %d may be counted, and %d are stored", added, s.Acked, s.Unsure, stored)
	}
	t.Logf("%d added, %d acknowledged, %d unsure", added, s.Acked, s.Unsure)
}
