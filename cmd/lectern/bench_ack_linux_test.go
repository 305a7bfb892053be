package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/wire"
)

// How much later than window.ack_interval a frame is acknowledged that comes at
// any moment: most of it is the disk's. Run it with -benchtime=300x or more, and
// look at "ms-late-p99".
func BenchmarkAck(b *testing.B) {
	const interval = 100 * time.Millisecond
	h := home(b, fmt.Sprintf("window.ack_interval = %q", interval))
	serveOn(b, h.config)
	c := hello(b, h.address)
	var late []time.Duration
	for b.Loop() {
		time.Sleep(rand.N(interval))
		begin := time.Now()
		c.write(1)
		c.finish()
		late = append(late, time.Since(begin)-interval)
	}
	slices.Sort(late)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(late[(len(late)-1)*p/100].Microseconds())/1000, fmt.Sprintf("ms-late-p%d", p))
	}
}

// One client that sends all it can, with a session and without, to the same
// daemon with the default configuration. A session is done when everything is
// acknowledged, the other when everything was read.
func BenchmarkStream(b *testing.B) {
	const frames = 80_000 // a gigabyte: the wait for the last ack is a small part
	d := serveOn(b, home(b, "").config)
	for _, how := range []struct {
		name string
		open func(*testing.B, string) *client
	}{{"read", connect}, {"acknowledged", hello}} {
		b.Run(how.name, func(b *testing.B) {
			var sent int64
			before := d.cpu(b)
			for b.Loop() {
				c := how.open(b, d.address)
				c.write(frames)
				c.finish()
				sent += int64(frames * len(c.frame))
				_ = c.conn.Close()
			}
			events := float64(b.N * frames * eventsPerFrame)
			b.SetBytes(sent / int64(b.N))
			b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(d.cpu(b)-before)/events, "cpu-ns/event")
		})
	}
}

// eventsPerFrame of a client's frames.
const eventsPerFrame = 1500

// client speaks the protocol with as little work as it can, so that what is
// measured is the collector's.
type client struct {
	b        *testing.B
	conn     net.Conn
	frame    []byte // numbered and sent again and again
	sequence uint64 // of the next frame
	acks     chan wire.Ack
	last     wire.Ack
}

// connect makes a connection without a session.
func connect(b *testing.B, address string) *client {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	c := &client{b: b, conn: conn}
	c.frame = wire.AppendHeader(nil, wire.Header{
		Type: wire.TypeEvents, Count: eventsPerFrame, Stream: 1, Time: time.Now().UnixMilli(), Source: rand.Uint64(),
	})
	for i := range eventsPerFrame {
		e := wire.Event{Content: rand.Uint64N(1000), User: rand.Uint64N(100), Kind: wire.KindRead, At: uint32(i), Dwell: 15_000}
		c.frame = wire.AppendEvent(c.frame, &e, nil)
	}
	binary.LittleEndian.PutUint16(c.frame[4:], uint16(len(c.frame)))
	return c
}

// hello makes a connection with one.
func hello(b *testing.B, address string) *client {
	b.Helper()
	c := connect(b, address)
	if _, err := c.conn.Write(wire.AppendHello(nil, 1, binary.LittleEndian.Uint64(c.frame[16:]), time.Now().UnixMilli())); err != nil {
		b.Fatal(err)
	}
	c.acks = make(chan wire.Ack, 1024)
	go c.listen()
	c.last = <-c.acks
	return c
}

// listen reads acks until the connection ends.
func (c *client) listen() {
	defer close(c.acks)
	frame := make([]byte, wire.HeaderSize+wire.AckBodySize)
	for {
		if _, err := io.ReadFull(c.conn, frame); err != nil {
			return
		}
		h, _ := wire.ParseHeader(frame)
		a, why := wire.ParseAck(&h, frame[wire.HeaderSize:])
		if why != wire.Accepted {
			return
		}
		c.acks <- a
	}
}

// write sends n frames, with a session no more than its credit at a time.
func (c *client) write(n int) {
	for range n {
		for c.acks != nil && (c.sequence-c.last.Durable+1)*uint64(len(c.frame)) > c.last.Credit {
			c.hear()
		}
		binary.LittleEndian.PutUint64(c.frame[24:], c.sequence)
		binary.LittleEndian.PutUint64(c.frame[32:], c.sequence*eventsPerFrame)
		if _, err := c.conn.Write(c.frame); err != nil {
			c.b.Fatal(err)
		}
		c.sequence++
	}
}

func (c *client) hear() {
	a, ok := <-c.acks
	if !ok {
		c.b.Fatal("the collector closed the session")
	}
	c.last = a
}

// finish waits until everything is acknowledged, or read.
func (c *client) finish() {
	for c.acks != nil && c.last.Durable < c.sequence {
		c.hear()
	}
	if c.acks != nil {
		return
	}
	if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
		c.b.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c.conn); n > 0 || err != nil {
		c.b.Fatalf("the collector says %d bytes, %v", n, err)
	}
}

// cpu is the time that a daemon has used so far.
func (d *served) cpu(b testing.TB) time.Duration {
	b.Helper()
	return cpuOf(b, d.command.Process.Pid)
}

// cpuOf is the time that a process has used so far.
func cpuOf(b testing.TB, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("the time of a process cannot be read here: ", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks time.Duration // user and system, of 10 ms: proc(5)
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}
