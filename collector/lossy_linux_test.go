package collector

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// The tests in this file make two network namespaces, one for senders and one
// for a collector, with a bad way between them, and compare what Lectern's books
// say with what the way itself counted. Nothing leaves the namespaces.

const (
	lossyRuns   = 20
	lossyInside = "LECTERN_TEST_IN_NAMESPACE"
	receiverIP  = "10.213.0.1"
	senderIP    = "10.213.0.2"
)

// TestLossyNetwork checks that what the books call lost is, to the event, what
// senders sent minus what arrived, in 20 runs each over: netem of the kernel;
// a token bucket of the kernel that drops, by its own counter; and a relay
// between two TUN devices that does what netem does and counts it.
func TestLossyNetwork(t *testing.T) {
	if os.Getenv(lossyInside) == "" {
		insideNamespaces(t)
		return
	}
	must(t, "ip", "link", "set", "lo", "up")
	t.Run("netem", func(t *testing.T) {
		lossyQdisc(t, "netem", "delay", "5ms", "reorder", "20%", "loss", "7%", "duplicate", "3%", "limit", "100000")
	})
	t.Run("tbf", func(t *testing.T) { lossyQdisc(t, "tbf", "rate", "1mbit", "burst", "2000", "limit", "4000") })
	t.Run("relay", lossyRelay)
}

// insideNamespaces runs the calling test again where it may make networks.
func insideNamespaces(t *testing.T) {
	for _, tool := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("DID NOT RUN: %v; install iproute2", err)
		}
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m")
	c.Env = append(os.Environ(), lossyInside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := c.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("DID NOT RUN: this machine allows no network namespaces: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "DID NOT RUN") {
			fmt.Fprint(os.Stderr, line) // go test shows what was skipped with -v alone
		}
	}
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// elsewhere is a thread in a network namespace of its own.
type elsewhere struct {
	t  testing.TB
	do chan func()
}

func newElsewhere(t testing.TB) *elsewhere {
	e := &elsewhere{t: t, do: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range e.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(e.do) })
	return e
}

// run calls f there, with programs that f starts.
func (e *elsewhere) run(f func()) {
	done := make(chan struct{})
	e.do <- func() { defer close(done); f() }
	<-done
	if e.t.Failed() {
		e.t.FailNow() // f has perhaps ended the thread
	}
}

// quiet keeps a namespace from sending packets of its own.
func quiet() {
	for _, what := range []string{"all", "default"} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+what+"/disable_ipv6", []byte("1"), 0)
	}
}

// arrivals is what came out of the bad way, in order.
type arrivals struct {
	mu        sync.Mutex
	copies    map[[2]uint64]int // of each frame, by source and sequence
	newest    map[uint64]uint64 // by source
	frames    int
	late      map[[2]uint64]bool // first came after a later one of its source
	beat, end map[uint64]bool    // an opening beat came, and a closing one
}

func newArrivals() *arrivals {
	return &arrivals{copies: map[[2]uint64]int{}, newest: map[uint64]uint64{}, late: map[[2]uint64]bool{}, beat: map[uint64]bool{}, end: map[uint64]bool{}}
}

// packet notes an IPv4 packet, if it is one with a frame.
func (a *arrivals) packet(b []byte) bool {
	frame, ok := frameIn(b)
	if !ok {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	source, sequence := binary.LittleEndian.Uint64(frame[16:]), binary.LittleEndian.Uint64(frame[24:])
	id := [2]uint64{source, sequence}
	if newest, ok := a.newest[source]; ok && sequence < newest && a.copies[id] == 0 {
		a.late[id] = true
	}
	a.newest[source] = max(a.newest[source], sequence)
	a.copies[id]++
	a.frames++
	if binary.LittleEndian.Uint16(frame[6:]) == 0 {
		if binary.LittleEndian.Uint64(frame[32:]) == 0 {
			a.beat[source] = true
		} else {
			a.end[source] = true
		}
	}
	return true
}

// frameIn is the frame in an IPv4 packet without options.
func frameIn(b []byte) ([]byte, bool) {
	if len(b) < 20+8+wire.HeaderSize || b[0] != 0x45 || b[9] != unix.IPPROTO_UDP {
		return nil, false
	}
	return b[28:], true
}

func (a *arrivals) has(which map[uint64]bool, source uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return which[source]
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.frames
}

// lossySources is how many sources a run has, lossyFrames what they send.
const lossySources, lossyFrames = 3, 500

// lossySender sends one run's frames, and knows how many events each has.
type lossySender struct {
	conn   net.Conn
	random *rand.Rand
	ids    [lossySources]uint64
	next   [lossySources]uint64 // sequence
	sent   [lossySources]uint64 // events
	events map[[2]uint64]uint64
	frames int
}

func (s *lossySender) send(t testing.TB, source, n int) {
	events := make([]wire.Event, n)
	for i := range events {
		events[i] = randomEvent(s.random, 1000)
	}
	id := s.ids[source]
	s.events[[2]uint64{id, s.next[source]}] = uint64(n)
	b := frameOf(1, id, s.next[source], s.sent[source], time.Now(), events...)
	s.next[source]++
	s.sent[source] += uint64(n)
	s.frames++
	if _, err := s.conn.Write(b); err != nil {
		t.Error("send:", err)
	}
}

// until sends beats of a source until one has come through: real emitters send
// some at the beginning and the end, and one a second meanwhile.
func (s *lossySender) until(t testing.TB, source int, came func() bool) {
	for range 500 {
		s.send(t, source, 0)
		for range 5 {
			if came() {
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	t.Error("no beat came through")
}

// lossyRun sends frames from there to a collector here, and compares its books
// with what arrived once nothing is on the way of so many frames. It returns the
// numbers of frames sent, and of those that were sent and never arrived.
func lossyRun(t *testing.T, there *elsewhere, a *arrivals, seed uint64, idle func(frames int) bool) (sent, missing int) {
	r := start(t, func(o *Options) { o.Address = receiverIP + ":0"; o.Loops = 1 })
	defer r.stop()
	s := &lossySender{random: rand.New(rand.NewPCG(seed, 0)), events: map[[2]uint64]uint64{}}
	for i := range s.ids {
		s.ids[i] = s.random.Uint64()
	}
	there.run(func() {
		conn, err := net.Dial("udp4", r.Address())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		s.conn = conn
		for i := range s.ids {
			s.until(t, i, func() bool { return a.has(a.beat, s.ids[i]) })
		}
		for n := range lossyFrames {
			s.send(t, s.random.IntN(lossySources), 1+s.random.IntN(20))
			if n%16 == 15 {
				time.Sleep(time.Millisecond)
			}
		}
		for i := range s.ids {
			s.until(t, i, func() bool { return a.has(a.end, s.ids[i]) })
		}
	})
	if t.Failed() {
		return 0, 0
	}
	poll.Until(t, "everything that arrived was read", func() bool {
		return idle(s.frames) && strconv.Itoa(a.count()) == r.metric("lectern_udp_datagrams_total")
	})
	if dropped := r.metric("lectern_udp_kernel_drops_total"); dropped != "0" {
		t.Fatalf("%s datagrams were dropped at the socket: the run proves nothing", dropped)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var arrived, duplicate, reordered, all uint64
	lostBy := map[uint64]uint64{}
	for id, n := range s.events {
		all += n
		copies := a.copies[id]
		if copies == 0 {
			missing++
			lostBy[id[0]] += n
			continue
		}
		arrived += n
		duplicate += uint64(copies-1) * n
		if a.late[id] {
			reordered += n
		}
	}
	for _, w := range []struct {
		name string
		want uint64
	}{
		{"lectern_events_sent_total", all}, {"lectern_events_accepted_total", arrived}, {"lectern_events_found_total", r.count("lectern_events_lost_total") - (all - arrived)},
		{"lectern_events_duplicate_total", duplicate}, {"lectern_events_stale_total", 0}, {"lectern_events_reordered_total", reordered},
		{"lectern_sources_met_midway", 0},
	} {
		if got := r.metric(w.name); got != strconv.FormatUint(w.want, 10) {
			t.Errorf("seed %d: %s is %s, want %d", seed, w.name, got, w.want)
		}
	}
	for _, src := range r.WorstSources(10, "sent") {
		if src.Lost != lostBy[src.Source] {
			t.Errorf("seed %d: source %x lost %d, want %d", seed, src.Source, src.Lost, lostBy[src.Source])
		}
	}
	r.stop()
	if b := r.book(1); !b.Balanced() || b.Net(storage.Lost) != int64(all-arrived) || b.Counts[storage.Reordered] != reordered || b.Counts[storage.Duplicate] != duplicate {
		t.Errorf("seed %d: the ledger says %+v; %d sent, %d arrived, %d twice, %d reordered", seed, b, all, arrived, duplicate, reordered)
	}
	return s.frames, missing
}

// lossyQdisc runs with a queueing discipline of the kernel on the sender's end
// of a veth pair.
func lossyQdisc(t *testing.T, qdisc ...string) {
	there := newElsewhere(t)
	quiet()
	must(t, "ip", "link", "add", "rx0", "type", "veth", "peer", "name", "tx0")
	defer func() { must(t, "ip", "link", "del", "rx0") }()
	tid := make(chan int, 1)
	there.run(func() { quiet(); tid <- unix.Gettid() })
	must(t, "ip", "link", "set", "tx0", "netns", strconv.Itoa(<-tid))
	// No address is asked for: every packet that the qdisc counts is ours.
	must(t, "ip", "addr", "add", receiverIP+"/24", "dev", "rx0")
	must(t, "ip", "link", "set", "rx0", "address", "02:00:00:00:00:01", "arp", "off", "up")
	var failed string
	there.run(func() {
		must(t, "ip", "addr", "add", senderIP+"/24", "dev", "tx0")
		must(t, "ip", "link", "set", "tx0", "address", "02:00:00:00:00:02", "up")
		must(t, "ip", "neigh", "add", receiverIP, "lladdr", "02:00:00:00:00:01", "dev", "tx0", "nud", "permanent")
		out, err := exec.Command("tc", append([]string{"qdisc", "add", "dev", "tx0", "root"}, qdisc...)...).CombinedOutput()
		if err != nil {
			failed = strings.TrimSpace(string(out))
		}
	})
	if failed != "" {
		t.Skipf("DID NOT RUN: this kernel has no %s qdisc (%s)", qdisc[0], failed)
	}
	for seed := range uint64(lossyRuns) {
		a := newArrivals()
		capture := newCapture(t, a)
		sentBefore, droppedBefore, _ := qdiscCounts(t, there)
		frames, missing := lossyRun(t, there, a, seed, func(int) bool {
			sent, _, waiting := qdiscCounts(t, there)
			return waiting == 0 && sent-sentBefore == a.count()
		})
		capture.stop()
		if t.Failed() {
			return
		}
		sent, dropped, _ := qdiscCounts(t, there)
		sent, dropped = sent-sentBefore, dropped-droppedBefore
		// Without duplicates every drop of the qdisc is a missing frame. netem may
		// drop a duplicate, too, and does not count what it makes.
		if qdisc[0] != "netem" && dropped != missing || sent+dropped < frames {
			t.Errorf("seed %d: %d frames sent; the qdisc says %d passed and %d dropped; %d arrived, %d are missing", seed, frames, sent, dropped, a.frames, missing)
		}
		t.Logf("seed %d: %d frames sent, %s passed %d, dropped %d; %d frames missing", seed, frames, qdisc[0], sent, dropped, missing)
		if missing == 0 {
			t.Errorf("seed %d: nothing was lost: the run proves nothing", seed)
		}
	}
}

// qdiscCounts asks tc what the qdisc has passed on and dropped, and what waits in it.
func qdiscCounts(t *testing.T, there *elsewhere) (sent, dropped, waiting int) {
	var out string
	there.run(func() { out = must(t, "tc", "-s", "-j", "qdisc", "show", "dev", "tx0") })
	var list []struct {
		Packets int  `json:"packets"`
		Drops   int  `json:"drops"`
		Waiting int  `json:"qlen"`
		Root    bool `json:"root"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err, out)
	}
	for _, q := range list {
		if q.Root {
			return q.Packets, q.Drops, q.Waiting
		}
	}
	t.Fatal("no root qdisc: ", out)
	return 0, 0, 0
}

// capture reads what comes out of the receiver's device, beside the collector.
type capture struct {
	socket     int
	quit, done chan struct{}
}

func newCapture(t *testing.T, a *arrivals) *capture {
	const ip = 0x0008 // ETH_P_IP in the order of the network
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, ip)
	if err != nil {
		t.Fatal(err)
	}
	device, err := net.InterfaceByName("rx0")
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	if err := unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: device.Index}); err != nil {
		t.Fatal(err)
	}
	_ = unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000})
	c := &capture{socket: socket, quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		b := make([]byte, 1<<16)
		for {
			n, _, err := unix.Recvfrom(socket, b, 0)
			if err == nil {
				a.packet(b[:n])
				continue
			}
			if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENETDOWN) {
				t.Error("capture:", err)
				return
			}
			select {
			case <-c.quit:
				return
			default:
			}
		}
	}()
	return c
}

// stop ends it when it has read what came.
func (c *capture) stop() {
	close(c.quit)
	<-c.done
	_ = unix.Close(c.socket)
}

// relay carries packets from one TUN device to another as netem would with
// "delay 5ms reorder 20% loss 7% duplicate 3%": a fifth goes at once, the rest
// later.
type relay struct {
	from, to   *os.File
	random     *rand.Rand
	out        *arrivals
	in         chan []byte
	mu         sync.Mutex // protects the counters, random and out
	dropped    int        // packets with a frame
	duplicated int
	taken      int
	waiting    int // for their delay to be over
}

// openTUN makes a TUN device in the caller's namespace.
func openTUN(name, address string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request := struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: unix.IFF_TUN | unix.IFF_NO_PI}
	copy(request.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
		_ = unix.Close(fd)
		return nil, errno
	}
	for _, c := range [][]string{
		{"addr", "add", address + "/24", "dev", name},
		{"link", "set", name, "txqueuelen", "10000", "up"},
	} {
		if out, err := exec.Command("ip", c...).CombinedOutput(); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("ip %v: %w: %s", c, err, out)
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (r *relay) begin() {
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := r.from.Read(b)
			if err != nil {
				close(r.in)
				return
			}
			r.in <- append([]byte(nil), b[:n]...)
		}
	}()
	go r.carry()
}

// carry is the only one that writes, from one processor, so that packets arrive
// in the order in which they are noted.
func (r *relay) carry() {
	runtime.LockOSThread()
	var one unix.CPUSet
	if unix.SchedGetaffinity(0, &one) == nil {
		for i := range 1024 {
			if one.IsSet(i) {
				one.Zero()
				one.Set(i)
				_ = unix.SchedSetaffinity(0, &one)
				break
			}
		}
	}
	type later struct {
		packet []byte
		due    time.Time
	}
	var queue []later
	const delay = 5 * time.Millisecond
	for {
		wait := time.Hour
		if len(queue) > 0 {
			wait = time.Until(queue[0].due)
		}
		select {
		case p, ok := <-r.in:
			if !ok {
				return
			}
			if _, is := frameIn(p); !is {
				continue // the namespace talks to itself
			}
			r.mu.Lock()
			copies := 1
			if r.random.IntN(100) < 3 {
				copies++
				r.duplicated++
			}
			if r.random.IntN(100) < 7 {
				copies--
			}
			if r.taken++; copies == 0 {
				r.dropped++
			}
			now := time.Now()
			for range copies {
				if r.random.IntN(100) < 20 {
					r.pass(p)
				} else {
					queue = append(queue, later{p, now.Add(delay)})
				}
			}
			r.waiting = len(queue)
			r.mu.Unlock()
		case <-time.After(wait):
			r.mu.Lock()
			r.pass(queue[0].packet)
			queue = queue[1:]
			r.waiting = len(queue)
			r.mu.Unlock()
		}
	}
}

func (r *relay) pass(p []byte) {
	r.out.packet(p)
	_, _ = r.to.Write(p)
}

func lossyRelay(t *testing.T) {
	there := newElsewhere(t)
	quiet()
	to, err := openTUN("rx1", receiverIP)
	if err != nil {
		t.Skipf("DID NOT RUN: no TUN device can be made: %v", err)
	}
	defer to.Close()
	var from *os.File
	there.run(func() { quiet(); from, err = openTUN("tx1", senderIP) })
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	r := &relay{from: from, to: to, in: make(chan []byte, 10000), out: newArrivals(), random: rand.New(rand.NewPCG(1, 1))}
	r.begin()
	var duplicated, dropped, reordered int
	for seed := range uint64(lossyRuns) {
		a := newArrivals()
		r.mu.Lock()
		r.out, r.random = a, rand.New(rand.NewPCG(seed, 1))
		r.taken, r.dropped, r.duplicated = 0, 0, 0
		r.mu.Unlock()
		frames, missing := lossyRun(t, there, a, seed, func(frames int) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.taken == frames && r.waiting == 0
		})
		if t.Failed() {
			return
		}
		r.mu.Lock()
		if r.dropped != missing {
			t.Errorf("seed %d: %d frames sent, %d missing; the relay dropped %d", seed, frames, missing, r.dropped)
		}
		t.Logf("seed %d: %d frames sent, the relay dropped %d, made %d twice, let %d overtake", seed, frames, r.dropped, r.duplicated, len(a.late))
		duplicated, dropped, reordered = duplicated+r.duplicated, dropped+r.dropped, reordered+len(a.late)
		r.mu.Unlock()
	}
	if duplicated == 0 || dropped == 0 || reordered == 0 {
		t.Errorf("%d dropped, %d made twice, %d reordered: the runs prove nothing", dropped, duplicated, reordered)
	}
}
