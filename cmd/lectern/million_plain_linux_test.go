package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/wire"
)

// plainKey and plainRow are what an afternoon's program counts in a Go map.
type plainKey struct {
	stream        uint16
	minute        uint32
	content, user uint64
}

type plainRow struct {
	opens, reads, finishes, saves, shares uint32
	dwell                                 uint64
	progress                              uint8
	first, last                           int64
}

// plainProgram receives datagrams and counts them in a Go map. When a minute is
// over it makes ch-go's columns of it and throws them away. Nothing is
// acknowledged, kept, or checked for duplicates.
func plainProgram(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err == nil {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(os.Stderr, "msg=\"lectern is ready\" events=127.0.0.1:%d operations=none\n", name.(*syscall.SockaddrInet4).Port)

	counted, minute := make(map[plainKey]*plainRow), time.Now().Unix()/60
	buffer, events := make([]byte, wire.FrameSizeMax), make([]wire.Event, wire.CountMax)
	for {
		n, _, err := syscall.Recvfrom(fd, buffer, 0)
		if err != nil {
			continue
		}
		h, why := wire.ParseHeader(buffer[:n])
		if why != wire.Accepted {
			continue
		}
		got, why := wire.DecodeEvents(events, h.Body(buffer), h.Count)
		if why != wire.Accepted {
			continue
		}
		for i := range got {
			plainCount(counted, &h, &got[i])
		}
		if now := time.Now().Unix() / 60; now != minute {
			plainFlush(counted)
			clear(counted)
			minute = now
		}
	}
}

func plainCount(counted map[plainKey]*plainRow, h *wire.Header, e *wire.Event) {
	at := h.Time + int64(e.At)
	k := plainKey{h.Stream, uint32(at / 60_000 * 60), e.Content, e.User}
	r := counted[k]
	if r == nil {
		r = &plainRow{first: at}
		counted[k] = r
	}
	switch e.Kind {
	case wire.KindOpen:
		r.opens++
	case wire.KindRead:
		r.reads++
	case wire.KindFinish:
		r.finishes++
	case wire.KindSave:
		r.saves++
	case wire.KindShare:
		r.shares++
	}
	r.dwell += uint64(e.Dwell)
	r.progress = max(r.progress, e.Progress)
	r.first, r.last = min(r.first, at), max(r.last, at)
}

// plainFlush makes a block of ch-go's, and nothing of that.
func plainFlush(counted map[plainKey]*plainRow) {
	var stream proto.ColUInt16
	var minute, opens, reads, finishes, saves, shares proto.ColUInt32
	var content, user, dwell proto.ColUInt64
	var progress proto.ColUInt8
	var first, last proto.ColInt64
	for k, r := range counted {
		stream, minute, content, user = append(stream, k.stream), append(minute, k.minute), append(content, k.content), append(user, k.user)
		opens, reads, finishes = append(opens, r.opens), append(reads, r.reads), append(finishes, r.finishes)
		saves, shares, dwell = append(saves, r.saves), append(shares, r.shares), append(dwell, r.dwell)
		progress, first, last = append(progress, r.progress), append(first, r.first), append(last, r.last)
	}
	var out proto.Buffer
	for _, c := range []proto.ColInput{stream, minute, content, user, opens, reads, finishes, saves, shares, dwell, progress, first, last} {
		c.EncodeColumn(&out)
	}
}

// childVariable makes a process of this test binary a subject of its own.
const childVariable = "MILLION_CHILD"

// TestMillionChild is what `make bench-million` starts beside the daemon.
func TestMillionChild(t *testing.T) {
	switch os.Getenv(childVariable) {
	case "plain":
		go endOnTerm()
		plainProgram(t)
	case "front":
		frontAlone(t)
	default:
		t.Skip("a part of TestBenchMillion, which starts it")
	}
}

// endOnTerm ends the process as a daemon ends.
func endOnTerm() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	os.Exit(0)
}

// child starts a subject that is a part of this test binary.
func (b *million) child(what string) *served {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	c := exec.Command(self, "-test.run=^TestMillionChild$", "-test.timeout=0")
	c.Env = append(os.Environ(), childVariable+"="+what)
	return serveBy(b.T, "", c)
}

// alone measures a subject that stores nothing.
func (b *million) alone(name, what string, l *crowdLoad, network string) *millionResult {
	r := &millionResult{name: name}
	d := b.child(what)
	d.ops = ""
	b.send(d, l, network, r)
	if b.real {
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + time.Second))) // it flushes, as a daemon does
	}
	d.stop()
	r.ended(d.command.ProcessState)
	fmt.Print(r)
	return r
}

// plainKeys is how many keys the plain program's job has.
const plainKeys = 100_000

// plain measures the job of the plain program, by itself and beside the daemon.
func (b *million) plain() {
	head("A plain program: recvfrom, a Go map, ch-go's columns thrown away each minute; beside the same job done by a daemon")
	rates := []float64{50_000, 10_000}
	if !b.real {
		rates = []float64{5000}
	}
	for _, rate := range rates {
		job := func() *crowdLoad { return b.byChance(plainKeys, rate) }
		name := fmt.Sprintf("%.0f events/s of %d keys, ", rate, plainKeys)
		if b.wants(name + "plain program") {
			b.alone(name+"plain program", "plain", job(), "udp")
		}
		for _, of := range b.builds {
			if b.wants(name + of.name) {
				b.measure(name+of.name, of, "parquet", "udp", job(), "")
			}
		}
	}
}
