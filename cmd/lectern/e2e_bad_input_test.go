package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lectern/lectern/wire"
)

// TestBadInput sends everything that a collector should not be sent, while a
// good client works. Each kind must show under its word, nobody else's events
// may be lost, and memory must stay as it was.
func TestBadInput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	t.Setenv("GOGC", "20") // the heap in use is near what lives
	d := serveOn(t, configure(t, dir, "window.ack_interval = \"200ms\"\nwindow.flush_interval = \"1s\"\nlimits.connection_idle_max = \"2s\"\nlimits.connections_max = 12000\nlimits.sources_max = 5000\nlimits.source_idle_max = \"2s\"\nlimits.session_idle_max = \"5s\""))
	// The first round makes what good traffic needs; the second must not need more.
	d.badInput(7)
	before := d.heapMiB()
	d.badInput(9)
	after := d.heapMiB()
	t.Logf("the heap went from %d to %d MiB", before, after)
	if after > before+48 {
		t.Error("memory grows")
	}
	if status, body := d.get("/healthz"); status != http.StatusOK {
		t.Errorf("not healthy: %s", body)
	}
	if lines := strings.Count(d.said(), "\n"); lines > 100 {
		t.Errorf("the log has %d lines", lines)
	}
	d.stop()
	succeed(t, "books", "--config", d.config)
	sums := make(map[uint16]int)
	for _, r := range storedRows(t, dir) {
		sums[r.Stream] += int(r.Opens + r.Reads + r.Finishes + r.Saves + r.Shares)
	}
	for stream := uint16(7); stream <= 10; stream++ {
		if sums[stream] != goodEvents {
			t.Errorf("of the good client's %d events on stream %d %d are stored", goodEvents, stream, sums[stream])
		}
	}
}

// goodEvents is how many events each good client sends meanwhile.
const goodEvents = 200_000

// badInput is one round of everything, beside good clients on stream and
// stream + 1.
func (d *served) badInput(stream int) {
	t := d.t
	var good sync.WaitGroup
	good.Go(func() {
		d.emit("tcp", "--events", strconv.Itoa(goodEvents), "--rate", "50000", "--stream", strconv.Itoa(stream))
	})
	good.Go(func() {
		d.emit("udp", "--events", strconv.Itoa(goodEvents), "--rate", "50000", "--stream", strconv.Itoa(stream+1))
	})
	for _, c := range []struct {
		name string
		send func(*badClient)
		word wire.Refusal
		unit string
	}{
		{"random bytes over UDP", (*badClient).randomDatagrams, wire.RefusedMagic, "frames"},
		{"random bytes over TCP", (*badClient).randomStreams, wire.RefusedMagic, "frames"},
		{"HTTP on the port of events", (*badClient).http, wire.RefusedMagic, "frames"},
		{"truncated frames over UDP", (*badClient).truncatedDatagrams, wire.RefusedSize, "frames"},
		{"truncated frames over TCP", (*badClient).truncatedStreams, wire.RefusedSize, "frames"},
		{"a size above what is there", (*badClient).sizeLies, wire.RefusedSize, "frames"},
		{"a count that is not so", (*badClient).countLies, wire.RefusedCount, "events"},
		{"positions that jump", (*badClient).positionLies, wire.RefusedPosition, "frames"},
		{"sealed, and no key", (*badClient).sealed, wire.RefusedSealed, "frames"},
		{"a source a frame", (*badClient).manySources, wire.RefusedSources, "frames"},
		{"a port scan", (*badClient).portScan, wire.Accepted, ""},
		{"silent and slow clients", (*badClient).silent, wire.RefusedIdle, "frames"},
		{"ten thousand connections", (*badClient).connections, wire.RefusedSize, "frames"},
	} {
		metric := fmt.Sprintf("lectern_%s_refused_total{reason=%q}", c.unit, c.word.String())
		was := d.metrics()[metric]
		c.send(&badClient{TB: t, address: d.address})
		if c.word == wire.Accepted {
			continue
		}
		poll.Until(t, c.name+": "+metric+" grows", func() bool { return d.metrics()[metric] > was })
	}
	good.Wait()
	poll.Until(t, "connections are closed and sources forgotten", func() bool {
		m := d.metrics()
		return m["lectern_connections"] == 0 && m["lectern_sources"] == 0
	})
}

// heapMiB is the daemon's heap in use. (Resident memory goes on growing for a
// while: a table's pages come as keys happen to fall on them.)
func (d *served) heapMiB() int {
	d.t.Helper()
	return int(d.metrics()["go_memstats_heap_inuse_bytes"]) >> 20
}

// badClient sends what it should not.
type badClient struct {
	testing.TB
	address string
	source  uint64
}

func (c *badClient) dial(network string) net.Conn {
	c.Helper()
	conn, err := net.Dial(network, c.address)
	if err != nil {
		c.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// datagrams sends these, each by itself.
func (c *badClient) datagrams(all ...[]byte) {
	c.Helper()
	conn := c.dial("udp")
	defer conn.Close()
	for _, b := range all {
		if _, err := conn.Write(b); err != nil {
			c.Fatal(err)
		}
	}
}

// stream sends bytes on a connection, closes its half and reads to the end.
func (c *badClient) stream(b []byte) {
	c.Helper()
	conn := c.dial("tcp")
	defer conn.Close()
	_, _ = conn.Write(b) // it may be refused before all is written
	_ = conn.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, conn)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// frame is a good frame of a source of its own, on stream 66.
func (c *badClient) frame(sequence, position uint64, events int) []byte {
	if c.source == 0 {
		c.source = binary.LittleEndian.Uint64(randomBytes(8))
	}
	b := wire.AppendHeader(nil, wire.Header{
		Type: wire.TypeEvents, Count: events, Stream: 66, Time: time.Now().UnixMilli(),
		Source: c.source, Sequence: sequence, Position: position,
	})
	for i := range events {
		b = wire.AppendEvent(b, &wire.Event{Content: uint64(i) + 1, User: 1}, nil)
	}
	binary.LittleEndian.PutUint16(b[4:], uint16(len(b)))
	return b
}

func (c *badClient) randomDatagrams() {
	for range 200 {
		c.datagrams(randomBytes(41), randomBytes(1400), randomBytes(9000), randomBytes(1), nil)
	}
}

func (c *badClient) randomStreams() {
	for range 50 {
		c.stream(randomBytes(100_000))
	}
}

func (c *badClient) http() {
	c.stream([]byte("GET /metrics HTTP/1.1\r\nHost: lectern\r\nAccept: */*\r\n\r\n"))
}

func (c *badClient) truncatedDatagrams() {
	f := c.frame(0, 0, 20)
	for n := range f {
		c.datagrams(f[:n])
	}
}

func (c *badClient) truncatedStreams() {
	f := c.frame(0, 0, 20)
	for n := wire.HeaderSize; n < len(f); n += 7 {
		c.stream(f[:n])
	}
}

func (c *badClient) sizeLies() {
	f := c.frame(0, 0, 20)
	for _, size := range []uint16{0, 39, 65535} {
		binary.LittleEndian.PutUint16(f[4:], size)
		c.datagrams(f)
		c.stream(f)
	}
}

func (c *badClient) countLies() {
	for n, count := range []uint16{19, 21} {
		f := c.frame(uint64(n), uint64(20*n), 20)
		binary.LittleEndian.PutUint16(f[6:], count)
		c.datagrams(f)
	}
}

func (c *badClient) positionLies() {
	c.datagrams(c.frame(0, 0, 5), c.frame(1, 1<<40, 5), c.frame(2, 3, 5))
}

func (c *badClient) sealed() {
	f := append(c.frame(0, 0, 5), make([]byte, wire.TagSize)...)
	f[3] = wire.FlagSealed
	binary.LittleEndian.PutUint16(f[4:], uint16(len(f)))
	c.datagrams(f)
	c.stream(f)
}

func (c *badClient) manySources() {
	conn := c.dial("udp")
	defer conn.Close()
	for i := range 10_000 {
		c.source = 0
		if _, err := conn.Write(c.frame(0, 0, 1)); err != nil {
			c.Fatal(err)
		}
		if i%100 == 0 {
			time.Sleep(time.Millisecond) // paced: the good client shares the socket's buffer
		}
	}
}

// portScan opens and closes connections as fast as it can.
func (c *badClient) portScan() {
	for range 2000 {
		c.dial("tcp").Close()
	}
}

// silent says nothing on some connections, and drips a frame on others.
func (c *badClient) silent() {
	f := c.frame(0, 0, 1000)
	var all sync.WaitGroup
	for i := range 100 {
		conn := c.dial("tcp")
		all.Go(func() {
			defer conn.Close()
			answer := make(chan error, 1)
			go func() { _, err := io.Copy(io.Discard, conn); answer <- err }()
			for n := range f {
				if i%2 == 0 {
					_, _ = conn.Write(f[n : n+1])
				}
				select {
				case <-answer:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
			c.Error("a slow client was never closed")
		})
	}
	all.Wait()
}

// connections opens ten thousand at once, each with half a header.
func (c *badClient) connections() {
	half := c.frame(0, 0, 1)[:20]
	var open []net.Conn
	for range 10_000 {
		conn := c.dial("tcp")
		_, _ = conn.Write(half)
		open = append(open, conn)
	}
	for _, conn := range open {
		conn.Close()
	}
}
