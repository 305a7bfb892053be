package collector

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/VictoriaMetrics/metrics"
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/internal/load"
	"github.com/lectern/lectern/storage"
)

// TestBenchIngest is `make bench-ingest`: what a datagram and an event cost in
// CPU, beside a bare recvmmsg loop and a bare gnet handler, which throw
// everything away, in the same rounds on the same machine.
//
// Receivers are measured saturated: each is held while its socket's buffer is
// filled, then drains it, and its CPU time is taken over the drain. What else
// runs on the machine, and what a sender reaches, makes no difference to that.
// LECTERN_BENCH_INGEST is the number of rounds.
func TestBenchIngest(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("LECTERN_BENCH_INGEST"))
	if rounds == 0 {
		t.Skip("not asked for: run `make bench-ingest`")
	}
	only := os.Getenv("LECTERN_BENCH_ONLY")
	fmt.Fprintf(os.Stdout, "%s, median of %d rounds; CPU nanoseconds a datagram, of user and kernel together\n\n", runtime.Version(), rounds)
	fmt.Fprintf(os.Stdout, "%-34s %9s %9s %9s %8s %8s %9s %9s\n", "load", "recvmmsg", "gnet", "lectern", "/recvmm", "/gnet", "ns/event", "M/core-s")
	for _, l := range ingestLoads {
		if only != "" && !strings.Contains(l.name, only) {
			continue
		}
		l.run(t, os.Stdout, rounds)
	}
	fmt.Fprintf(os.Stdout, "\nThe same without tags, sealed, and forged: CPU nanoseconds a datagram\n\n%-34s %9s %9s %8s %9s %8s\n", "load", "unsealed", "sealed", "/unseal", "forged", "/sealed")
	for _, l := range sealedLoads {
		if strings.Contains(l.name, only) {
			l.runSealed(t, os.Stdout, rounds)
		}
	}
	fmt.Fprintf(os.Stdout, "\nOne loop, and one on each CPU: CPU nanoseconds a datagram, and millions of events a second by the clock\n\n")
	for _, l := range ingestLoads {
		if l.grows && strings.Contains(l.name, only) {
			l.grow(t, os.Stdout, rounds)
		}
	}
	fmt.Fprintf(os.Stdout, "\nCPU nanoseconds a byte, of streams; the first column is read(2) in a loop, or over TLS a goroutine that reads crypto/tls\n\n")
	for _, l := range tcpLoads {
		if strings.Contains(l.name, only) {
			l.run(t, os.Stdout, rounds)
		}
	}
}

// ingestLoad is one line of the table.
type ingestLoad struct {
	name      string
	shape     load.Shape
	udp       load.UDPOptions
	datagrams int  // a round
	grows     bool // is measured with more loops, too
	streams   Streams
}

const ingestSize = 1400 // bytes of a full datagram

var ingestLoads = []ingestLoad{
	{"one event, 1 source", load.Shape{Sources: 1, Keys: 1000, Events: 1}, load.UDPOptions{Flows: 1, Burst: 16}, 16000, false, Streams{}},
	{"one event, 1k sources", load.Shape{Sources: 1000, Keys: 1000, Events: 1}, load.UDPOptions{Flows: 64, Burst: 1}, 16000, true, Streams{}},
	{"one event, 1k sources, 1M keys", load.Shape{Sources: 1000, Keys: 1e6, Events: 1}, load.UDPOptions{Flows: 64, Burst: 1}, 16000, false, Streams{}},
	{"one event, 1M sources", load.Shape{Sources: 1e6, Keys: 1000, Events: 1}, load.UDPOptions{Flows: 64, Burst: 1}, 16000, false, Streams{}},
	{"one event, 1M sources, 1M keys", load.Shape{Sources: 1e6, Keys: 1e6, Events: 1}, load.UDPOptions{Flows: 64, Burst: 1}, 16000, true, Streams{}},
	{"full, 1 flow, 1k keys", load.Shape{Sources: 1, Keys: 1000}, load.UDPOptions{Flows: 1, Burst: 44, GSO: true}, 8800, false, Streams{}},
	{"full, 64 flows, 1k keys", load.Shape{Sources: 64, Keys: 1000}, load.UDPOptions{Flows: 64, Burst: 8, GSO: true}, 8192, true, Streams{}},
	{"full, 64 flows no GSO, 1k keys", load.Shape{Sources: 64, Keys: 1000}, load.UDPOptions{Flows: 64, Burst: 1}, 8192, false, Streams{}},
	{"full, 1 flow, 1M keys", load.Shape{Sources: 1, Keys: 1e6}, load.UDPOptions{Flows: 1, Burst: 44, GSO: true}, 8800, false, Streams{}},
	{"full, 64 flows, 1M keys", load.Shape{Sources: 64, Keys: 1e6}, load.UDPOptions{Flows: 64, Burst: 8, GSO: true}, 8192, true, Streams{}},
	{"full, 64 flows, 1M keys Zipf 1.1", load.Shape{Sources: 64, Keys: 1e6, Zipf: 1.1}, load.UDPOptions{Flows: 64, Burst: 8, GSO: true}, 8192, false, Streams{}},
	{"full, 64 flows, 10M keys", load.Shape{Sources: 64, Keys: 10e6}, load.UDPOptions{Flows: 64, Burst: 8, GSO: true}, 8192, false, Streams{}},
	{"full, 64 flows, 10M keys Zipf 1.1", load.Shape{Sources: 64, Keys: 10e6, Zipf: 1.1}, load.UDPOptions{Flows: 64, Burst: 8, GSO: true}, 8192, false, Streams{}},
}

// ingestTime is what all frames carry: now, or a little before, in a minute that
// their events do not leave.
func ingestTime() time.Time { return time.Now().Truncate(time.Minute) }

// drainer is a receiver that can be held.
type drainer interface {
	address() netip.AddrPort
	hold()
	// drain lets it go until it has taken so many datagrams, and returns the CPU
	// time that this took.
	drain(datagrams int) time.Duration
	stop()
}

// inTurns has each receiver drain what is sent to it, one after the other in each round,
// and returns what a datagram cost each of them in each round, in nanoseconds.
func inTurns[D drainer](t *testing.T, rounds int, all []D, makers []*load.Maker, senders []*load.UDP, datagrams int) [][]float64 {
	cost := make([][]float64, len(all))
	on := cpus(t)
	defer onCPU(t, on...)
	for round := range rounds + 2 {
		for i, d := range all {
			d.hold()
			onCPU(t, on[0])
			before := makers[i].Frames
			if err := senders[i].Send(makers[i], datagrams); err != nil {
				t.Fatal(err)
			}
			onCPU(t, on[len(on)-1])
			n := int(makers[i].Frames - before)
			if spent := d.drain(n); round >= 2 { // the first rounds warm buffers up
				cost[i] = append(cost[i], float64(spent.Nanoseconds())/float64(n))
			}
		}
	}
	return cost
}

// medianRatio is the median of what one cost in a round, divided by what the other did.
func medianRatio(of, by []float64) float64 {
	r := make([]float64, len(of))
	for i := range r {
		r[i] = of[i] / by[i]
	}
	return median(r)
}

func (l *ingestLoad) run(t *testing.T, out io.Writer, rounds int) {
	l.shape.Stream, l.shape.Size, l.shape.Seed = 1, ingestSize, 1
	bare, err := newBareLoop(l.udp.GSO)
	if err != nil {
		t.Fatal(err)
	}
	lectern := newHeldLectern(t, l, 1)
	all := []drainer{bare, newBareGnet(t), lectern}
	var makers []*load.Maker
	var senders []*load.UDP
	for _, d := range all {
		defer d.stop()
		m, err := load.NewMaker(l.shape)
		if err != nil {
			t.Fatal(err)
		}
		m.Tick(ingestTime())
		s, err := load.DialUDP(d.address(), l.udp)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		makers, senders = append(makers, m), append(senders, s)
	}
	lectern.warm(makers[2])
	cost := inTurns(t, rounds, all, makers, senders, l.datagrams)
	perEvent := makers[2].PerFrame()
	event := median(cost[2]) / float64(perEvent)
	fmt.Fprintf(out, "%-34s %9.0f %9.0f %9.0f %8.2f %8.2f %9.1f %9.1f\n", l.name,
		median(cost[0]), median(cost[1]), median(cost[2]), medianRatio(cost[2], cost[0]), medianRatio(cost[2], cost[1]), event, 1e3/event)
}

// grow measures the load with one loop, and with one on each CPU, which drain
// their sockets at the same time.
func (l *ingestLoad) grow(t *testing.T, out io.Writer, rounds int) {
	l.shape.Stream, l.shape.Size, l.shape.Seed = 1, ingestSize, 1
	loops := [2]int{1, runtime.NumCPU()}
	var cost, rate [2][]float64
	for i := range loops {
		h := newHeldLectern(t, l, loops[i])
		m, err := load.NewMaker(l.shape)
		if err != nil {
			t.Fatal(err)
		}
		m.Tick(ingestTime())
		s, err := load.DialUDP(h.address(), l.udp)
		if err != nil {
			t.Fatal(err)
		}
		h.warm(m)
		for round := range rounds + 2 {
			h.hold()
			before := m.Frames
			if err := s.Send(m, 2*l.datagrams); err != nil {
				t.Fatal(err)
			}
			n := int(m.Frames - before)
			start := time.Now()
			if spent := h.drain(n); round >= 2 {
				cost[i] = append(cost[i], float64(spent.Nanoseconds())/float64(n))
				rate[i] = append(rate[i], 1e3*float64(n*m.PerFrame())/float64(time.Since(start).Nanoseconds()))
			}
		}
		s.Close()
		h.stop()
	}
	fmt.Fprintf(out, "%-34s %9.0f %9.0f %8.2f    %9.1f %9.1f %8.2f\n", l.name,
		median(cost[0]), median(cost[1]), median(cost[1])/median(cost[0]),
		median(rate[0]), median(rate[1]), median(rate[1])/median(rate[0]))
}

// cpus are those that the process may use.
func cpus(t *testing.T) (all []int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; len(all) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	return all
}

// onCPU moves all threads to these CPUs. Each buffer is filled on one and drained on
// another: the kernel gives a datagram's memory back to the CPU that took it, with
// an interrupt to it now and then, and who happens to drain on the sender's would
// be spared that.
func onCPU(t *testing.T, cpus ...int) {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range threads {
		id, _ := strconv.Atoi(e.Name())
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH { // it may have ended
			t.Fatalf("a thread to CPU %v: %v", cpus, err)
		}
	}
}

func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.SortFunc(x, cmp.Compare)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// cpuTime is the CPU time of the calling thread, or of the whole process.
func cpuTime(clock int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

const ingestBuffer = 96 << 20 // bytes of the socket's buffer: a round must fit

// bareLoop is recvmmsg in a loop, and nothing else.
type bareLoop struct {
	socket  int
	headers []mmsghdr
	size    int
	memory  []byte
	at      netip.AddrPort
}

func newBareLoop(gro bool) (*bareLoop, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	b := &bareLoop{socket: socket, size: 2048, headers: make([]mmsghdr, 64)}
	if gro {
		b.size = 65536 + 1024 // with the same offset, all would share the same few lines of the cache
		if err := unix.SetsockoptInt(socket, unix.IPPROTO_UDP, udpGRO, 1); err != nil {
			return nil, err
		}
	}
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ingestBuffer); err != nil {
		return nil, fmt.Errorf("the buffer of a round: %w; run it with CAP_NET_ADMIN", err)
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		return nil, err
	}
	b.at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	b.memory = make([]byte, len(b.headers)*b.size)
	for i := range b.headers {
		v := &unix.Iovec{Base: &b.memory[i*b.size]}
		v.SetLen(min(b.size, 65536))
		b.headers[i].header.Iov = v
		b.headers[i].header.SetIovlen(1)
	}
	return b, nil
}

func (b *bareLoop) address() netip.AddrPort { return b.at }
func (b *bareLoop) hold()                   {}
func (b *bareLoop) stop()                   { _ = unix.Close(b.socket) }

func (b *bareLoop) drain(int) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := cpuTime(unix.CLOCK_THREAD_CPUTIME_ID)
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(b.socket),
			uintptr(unsafe.Pointer(&b.headers[0])), uintptr(len(b.headers)), unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			return cpuTime(unix.CLOCK_THREAD_CPUTIME_ID) - start
		}
	}
}

// bareGnet is a gnet handler that throws everything away.
type bareGnet struct {
	gnet.BuiltinEventEngine
	at     netip.AddrPort
	engine gnet.Engine
	booted chan struct{}
	held   atomic.Bool
	gate   sync.Mutex
	seen   atomic.Int64
	want   int64
	done   chan struct{}
}

func newBareGnet(t *testing.T) *bareGnet {
	address := freeAddress(t)
	b := &bareGnet{at: netip.MustParseAddrPort(address), booted: make(chan struct{}), done: make(chan struct{}, 1)}
	go func() {
		_ = gnet.Run(b, "udp://"+address, gnet.WithNumEventLoop(1), gnet.WithReusePort(true), gnet.WithSocketRecvBuffer(1<<20), gnet.WithLogger(newNotes(slog.New(slog.DiscardHandler))))
	}()
	<-b.booted
	return b
}

func (b *bareGnet) OnBoot(e gnet.Engine) gnet.Action {
	b.engine = e
	socket, err := e.DupListener("udp", b.at.String())
	if err == nil {
		err = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ingestBuffer)
		_ = unix.Close(socket)
	}
	if err != nil {
		panic(err)
	}
	close(b.booted)
	return gnet.None
}

func (b *bareGnet) OnTraffic(c gnet.Conn) gnet.Action {
	if b.held.Load() {
		b.gate.Lock()
		//lint:ignore SA2001 it is a gate
		b.gate.Unlock()
	}
	_, _ = c.Next(-1)
	if b.seen.Add(1) == b.want {
		b.done <- struct{}{}
	}
	return gnet.None
}

func (b *bareGnet) address() netip.AddrPort { return b.at }
func (b *bareGnet) stop()                   { _ = b.engine.Stop(context.Background()) }

func (b *bareGnet) hold() {
	b.gate.Lock()
	b.held.Store(true)
}

func (b *bareGnet) drain(n int) time.Duration {
	b.want += int64(n)
	b.held.Store(false)
	start := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	b.gate.Unlock()
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
		panic(fmt.Sprintf("gnet has taken %d of %d datagrams", b.seen.Load(), b.want))
	}
	return cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) - start
}

// heldLectern is a collector whose cuts go nowhere.
type heldLectern struct {
	*Collector
	want    uint64
	refuses bool   // every frame
	unread  uint64 // frames of a round, at the most: the rest of a buffer whose first was refused
}

// nowhere is a sink that has room and keeps nothing.
type nowhere struct{}

func (nowhere) Room() int                                  { return math.MaxInt }
func (nowhere) MakeRoom()                                  {}
func (nowhere) Seal(_ *storage.Seal, durable func()) error { durable(); return nil }
func (nowhere) Retry() error                               { return nil }

func newHeldLectern(t *testing.T, l *ingestLoad, loops int, secure ...*TLS) *heldLectern {
	o := Options{
		Address: "127.0.0.1:0", Loops: loops, ReceiveBuffer: ingestBuffer, CutInterval: time.Hour, CreditMax: 4 * tcpRound,
		KeysMax: 2 * l.shape.Keys * loops, SourcesMax: max(1000, 2*l.shape.Sources), ConnectionsMax: 10,
		LateMax: 48 * time.Hour, FutureMax: 5 * time.Minute, Streams: l.streams,
		Sink: nowhere{}, Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
	}
	for _, t := range secure {
		o.TLS = t
	}
	c := New(o)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return &heldLectern{Collector: c}
}

// warm makes all keys live in each loop, and all sources.
func (h *heldLectern) warm(m *load.Maker) {
	var b []byte
	source, sources := 0, min(m.Sources(), h.options.SourcesMax)
	if m.PerFrame() > 1 {
		sources = 64
	}
	keys := 3 * h.options.KeysMax / len(h.shards) / 2
	for _, s := range h.shards {
		s.Lock()
		s.tick()
		for n := 0; n < keys || source < sources; n += m.PerFrame() {
			b = m.Append(b[:0], source%m.Sources())
			s.datagram(b, address{})
			source++
		}
		s.Unlock()
	}
	h.want, _ = h.total()
}

// total is what all loops have counted.
func (h *heldLectern) total() (frames uint64, sum storage.Book) {
	for _, s := range h.shards {
		s.Lock()
		frames += s.tally[framesBy+meter(overUDP)]
		s.Unlock()
	}
	return frames, h.cuts.total()
}

func (h *heldLectern) address() netip.AddrPort { return netip.MustParseAddrPort(h.Address()) }
func (h *heldLectern) stop()                   { _ = h.Stop(context.Background()) }

func (h *heldLectern) hold() {
	for _, s := range h.shards {
		s.Lock()
	}
}

func (h *heldLectern) drain(n int) time.Duration {
	h.want += uint64(n)
	start := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	for _, s := range h.shards {
		s.Unlock()
	}
	var frames uint64
	for range 20000 {
		time.Sleep(500 * time.Microsecond)
		var sum storage.Book
		if frames, sum = h.total(); frames+h.unread < h.want {
			continue
		}
		if h.refuses {
			h.want = frames
		}
		spent := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) - start
		if refused := sum.ByReason(storage.RefusedFrames); frames > h.want || sum.Counts[storage.Accepted] != sum.Counts[storage.Sent] || !h.refuses && len(refused) > 0 {
			panic(fmt.Sprintf("%d frames of %d, %d events of %d; refused %v", frames, h.want, sum.Counts[storage.Accepted], sum.Counts[storage.Sent], refused))
		}
		return spent
	}
	panic(fmt.Sprintf("lectern has taken %d of %d datagrams", frames, h.want))
}

// freeAddress is one of loopback that nobody has.
func freeAddress(t testing.TB) string {
	t.Helper()
	c := &Collector{options: Options{Address: "127.0.0.1:0"}}
	l, err := c.listen()
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return c.address
}
