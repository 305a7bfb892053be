package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lectern/lectern/internal/testca"
)

// Daemon and clients are killed at random moments, the clients' queues and the
// daemon's directories stay, and in the end every event that Add took is stored
// once. LECTERN_TEST_KILL_SECONDS says for how long, LECTERN_TEST_SEED how.
func TestKilledAtRandom(t *testing.T) { killAtRandom(t, "") }

// Over TLS it is the same, while certificates are renewed.
func TestKilledAtRandomOverTLS(t *testing.T) { killAtRandom(t, t.TempDir()) }

// killAtRandom has clients speak TLS by the certificates of a directory, if there is one.
func killAtRandom(t *testing.T, certificates string) {
	seconds := 8
	if n, err := strconv.Atoi(os.Getenv("LECTERN_TEST_KILL_SECONDS")); err == nil {
		seconds = n
	}
	rng := rand.New(rand.NewPCG(crashSeed(t), 0))
	lines, address := "window.ack_interval = \"20ms\"\nwindow.flush_interval = \"300ms\"\nparquet.merge_interval = \"1s\"\n", ""
	renew := func() {}
	if certificates != "" {
		ca := testca.New(t)
		address = loopback(t)
		host, _, _ := net.SplitHostPort(address)
		renew = func() { ca.Replace(t, certificates, time.Now().Add(time.Hour), host) }
		renew()
		lines += tlsLines(address, certificates)
	}
	h := home(t, lines)
	d := serveOn(t, h.config)
	dir := t.TempDir()
	orders := make([]order, 3)
	clients := make([]*exec.Cmd, len(orders))
	said := make([]*bytes.Buffer, len(orders))
	for i := range orders {
		orders[i] = order{
			Address: cmp.Or(address, h.address), TLS: certificates, Queue: filepath.Join(dir, fmt.Sprint("queue", i)), Ledger: filepath.Join(dir, fmt.Sprint("ledger", i)),
			Stream: uint16(i + 1), Pause: 4 * time.Millisecond,
		}
		clients[i], said[i] = orders[i].start(t)
	}
	end := func(i int) {
		_ = clients[i].Process.Kill()
		if _ = clients[i].Wait(); clients[i].ProcessState.Exited() {
			t.Errorf("client %d had ended by itself:\n%s", i, said[i])
		}
	}
	var daemons, others int
	for until := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(until); {
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		if i := rng.IntN(2 * len(clients)); i < len(clients) {
			end(i)
			clients[i], said[i] = orders[i].start(t)
			others++
		} else {
			d.kill()
			for _, line := range complaints(d.said()) {
				t.Errorf("the daemon said: %s", line)
			}
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
			renew()
			d = serveOn(t, h.config)
			daemons++
		}
	}
	for i := range clients {
		end(i)
	}
	held := make([]int, len(orders))
	for i, o := range orders {
		held[i] = len(readLedger(t, o.Ledger))
		o.drain(t)
	}
	d.stop()
	checkBooks(t, h.config, h.spool)
	events := storedEvents(t, h.parquet)
	for i, o := range orders {
		fates := readLedger(t, o.Ledger)
		if err := compare(events[o.Stream], fates); err != nil {
			t.Errorf("stream %d: %v", o.Stream, err)
		}
		t.Logf("stream %d: %d events at the last kill, %d in the end, %d stored", o.Stream, held[i], len(fates), len(events[o.Stream]))
	}
	t.Logf("%d s, %d kills of the daemon, %d of clients", seconds, daemons, others)
}
