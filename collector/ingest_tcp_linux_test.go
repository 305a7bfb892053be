package collector

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/internal/load"
	"github.com/lectern/lectern/internal/testca"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// tcpLoad is a line of the table for streams: frames of 32 KiB over some
// connections, whose sender only patches the numbers into frames made before,
// and so is faster than any receiver.
type tcpLoad struct {
	name string
	keys int
	acks bool
	tls  bool // beside a reader of crypto/tls, in place of one that reads bytes
}

var tcpLoads = []tcpLoad{
	{"tcp, 1k keys", 1000, false, false},
	{"tcp, 1M keys", 1e6, false, false},
	{"tcp with acks, 1k keys", 1000, true, false},
	{"tcp with acks, 1M keys", 1e6, true, false},
	{"tls with acks, 1k keys", 1000, true, true},
	{"tls with acks, 1M keys", 1e6, true, true},
}

const (
	tcpConnections = 4
	tcpRound       = 64 << 20 // bytes
)

// tcpTaker is a receiver of streams.
type tcpTaker interface {
	address() string
	taken() uint64 // bytes
	stop()
}

func (l *tcpLoad) run(t *testing.T, out io.Writer, rounds int) {
	var secure []*TLS
	if l.tls {
		secure = append(secure, &TLS{Address: "127.0.0.1:0", Config: sync.OnceValue(func() *tls.Config { return benchTLS(t) }), ConnectionsMax: 10})
	}
	h := newHeldLectern(t, &ingestLoad{shape: load.Shape{Keys: l.keys}}, 1, secure...)
	all := []tcpTaker{newBareReader(t, l.tls), newBareStream(t), (*streamLectern)(h)}
	cost := make([][]float64, len(all))
	senders := make([]*tcpSender, len(all))
	for i, r := range all {
		defer r.stop()
		senders[i] = newTCPSender(t, r.address(), l.keys, l.acks && i == 2, l.tls && i != 1) // gnet has no TLS
		defer senders[i].close()
	}
	for round := range rounds + 2 {
		for i, r := range all {
			if spent := senders[i].round(t, r); round >= 2 {
				cost[i] = append(cost[i], spent)
			}
			if i == 2 { // what the acks of a round wait for
				h.cuts.cut(causeTime)
			}
		}
	}
	ratio := func(a, b int) float64 {
		r := make([]float64, rounds)
		for i := range r {
			r[i] = cost[a][i] / cost[b][i]
		}
		return median(r)
	}
	event := median(cost[2]) * float64(load.LargestFrame(1)-wire.HeaderSize)
	fmt.Fprintf(out, "%-34s %9.3f %9.3f %9.3f %8.2f %8.2f %9.1f %9.1f\n", l.name,
		median(cost[0]), median(cost[1]), median(cost[2]), ratio(2, 0), ratio(2, 1), event, 1e3/event)
}

// tcpSender writes frames made before.
type tcpSender struct {
	conns    [tcpConnections]net.Conn
	frames   [][]byte
	count    int // events of a frame
	ids      [tcpConnections]uint64
	sequence [tcpConnections]uint64
	sent     uint64
}

func newTCPSender(t *testing.T, address string, keys int, acks, secure bool) *tcpSender {
	m, err := load.NewMaker(load.Shape{Stream: 1, Sources: tcpConnections, Keys: keys, Size: 32768, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.Tick(ingestTime())
	s := &tcpSender{count: m.PerFrame()}
	for n := 0; n < 2*keys || len(s.frames) < 64; n += m.PerFrame() {
		s.frames = append(s.frames, m.Append(nil, 0))
	}
	for i := range s.conns {
		s.ids[i] = m.SourceID(i)
		if s.conns[i], err = net.Dial("tcp", address); err != nil {
			t.Fatal(err)
		}
		if secure {
			s.conns[i] = tls.Client(s.conns[i], &tls.Config{InsecureSkipVerify: true})
		}
		if acks {
			hello := wire.AppendHello(nil, 1, s.ids[i], time.Now().UnixMilli())
			if _, err := s.conns[i].Write(hello); err != nil {
				t.Fatal(err)
			}
			s.sent += uint64(len(hello))
			go func() { _, _ = io.Copy(io.Discard, s.conns[i]) }() // a round is less than the credit
		}
	}
	return s
}

func (s *tcpSender) close() {
	for _, c := range s.conns {
		c.Close()
	}
}

// round sends a round and returns the CPU nanoseconds that the receiver took
// for a byte: those of the process without the sender's thread.
func (s *tcpSender) round(t *testing.T, r tcpTaker) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, mine := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID), cpuTime(unix.CLOCK_THREAD_CPUTIME_ID)
	bytes := 0
	for n := 0; bytes < tcpRound; n++ {
		c := n % tcpConnections
		f := s.frames[int(s.sent/uint64(len(s.frames[0])))%len(s.frames)]
		binary.LittleEndian.PutUint64(f[16:], s.ids[c])
		binary.LittleEndian.PutUint64(f[24:], s.sequence[c])
		binary.LittleEndian.PutUint64(f[32:], s.sequence[c]*uint64(s.count))
		s.sequence[c]++
		if _, err := s.conns[c].Write(f); err != nil {
			t.Fatal(err)
		}
		bytes += len(f)
		s.sent += uint64(len(f))
	}
	for r.taken() < s.sent {
		time.Sleep(200 * time.Microsecond)
	}
	mine = cpuTime(unix.CLOCK_THREAD_CPUTIME_ID) - mine
	all = cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) - all
	return float64((all - mine).Nanoseconds()) / float64(bytes)
}

// bareReader reads in a blocking loop, a thread for each connection, and throws
// everything away.
type bareReader struct {
	listener *net.TCPListener
	bytes    atomic.Uint64
	reading  sync.WaitGroup
}

func newBareReader(t *testing.T, secure bool) *bareReader {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bareReader{listener: l.(*net.TCPListener)}
	if secure {
		go b.readTLS(benchTLS(t))
		return b
	}
	go func() {
		for {
			c, err := b.listener.AcceptTCP()
			if err != nil {
				return
			}
			f, err := c.File() // a descriptor that blocks
			c.Close()
			if err != nil {
				panic(err)
			}
			b.reading.Go(func() {
				defer f.Close()
				runtime.LockOSThread()
				buffer := make([]byte, 64<<10)
				fd := int(f.Fd())
				for {
					n, err := unix.Read(fd, buffer)
					if n <= 0 {
						return
					}
					if err == nil {
						b.bytes.Add(uint64(n))
					}
				}
			})
		}
	}()
	return b
}

// readTLS decrypts in a goroutine for each connection, and throws everything away.
func (b *bareReader) readTLS(config *tls.Config) {
	for {
		c, err := b.listener.AcceptTCP()
		if err != nil {
			return
		}
		b.reading.Go(func() {
			conn := tls.Server(c, config)
			defer conn.Close()
			for buffer := make([]byte, tlsRead); ; {
				n, err := conn.Read(buffer)
				b.bytes.Add(uint64(n))
				if err != nil {
					return
				}
			}
		})
	}
}

// benchTLS is what servers speak TLS by here.
func benchTLS(t *testing.T) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{testca.New(t).Certificate(t, "127.0.0.1")}}
}

func (b *bareReader) address() string { return b.listener.Addr().String() }
func (b *bareReader) taken() uint64   { return b.bytes.Load() }
func (b *bareReader) stop()           { b.listener.Close() }

// bareStream is a gnet handler that throws everything away.
type bareStream struct {
	gnet.BuiltinEventEngine
	at     string
	engine gnet.Engine
	booted chan struct{}
	bytes  atomic.Uint64
}

func newBareStream(t *testing.T) *bareStream {
	address := freeAddress(t)
	b := &bareStream{at: address, booted: make(chan struct{})}
	go func() {
		_ = gnet.Run(b, "tcp://"+address, gnet.WithNumEventLoop(1), gnet.WithReusePort(true), gnet.WithLogger(newNotes(slog.New(slog.DiscardHandler))))
	}()
	<-b.booted
	return b
}

func (b *bareStream) OnBoot(e gnet.Engine) gnet.Action {
	b.engine = e
	close(b.booted)
	return gnet.None
}

func (b *bareStream) OnTraffic(c gnet.Conn) gnet.Action {
	all, _ := c.Next(-1)
	b.bytes.Add(uint64(len(all)))
	return gnet.None
}

func (b *bareStream) address() string { return b.at }
func (b *bareStream) taken() uint64   { return b.bytes.Load() }
func (b *bareStream) stop()           { _ = b.engine.Stop(context.Background()) }

// streamLectern is heldLectern for streams.
type streamLectern heldLectern

func (s *streamLectern) address() string {
	if s.options.TLS != nil {
		return s.TLSAddress()
	}
	return s.Address()
}

func (s *streamLectern) stop() { (*heldLectern)(s).stop() }

func (s *streamLectern) taken() uint64 {
	sum := s.cuts.total()
	if refused := sum.ByReason(storage.RefusedFrames); len(refused) > 0 {
		panic(fmt.Sprint("refused: ", refused))
	}
	shard := s.shards[0]
	shard.Lock()
	defer shard.Unlock()
	return shard.tally[bytesBy+meter(overTCP)] + shard.tally[bytesBy+meter(overTLS)]
}
