package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lectern/lectern/wire"
)

// podDaemon is a collector in a pod of the node.
type podDaemon struct {
	t       *testing.T
	net     *netns
	command *exec.Cmd
	said    bytes.Buffer
	parquet string
	gone    chan struct{}
	err     error // of its end, behind gone
}

// startPod starts a collector and waits until its probe succeeds.
func startPod(t *testing.T, n int, env ...string) *podDaemon {
	t.Helper()
	dir := t.TempDir()
	d := &podDaemon{t: t, net: newPod(t, n), parquet: filepath.Join(dir, "parquet"), gone: make(chan struct{})}
	d.command = exec.Command(binary, "serve")
	d.command.Dir = dir
	d.command.Env = append([]string{
		"LECTERN_LISTEN_ADDRESS=:8420", "LECTERN_OPS_ADDRESS=:8421", "LECTERN_SPOOL_SIZE_MAX=256MiB", "LECTERN_PARQUET_DIR=" + d.parquet,
		"LECTERN_WINDOW_ACK_INTERVAL=50ms", "LECTERN_LISTEN_LOOPS=1", "LECTERN_STOP_GRACE=1h",
	}, env...)
	d.command.Stdout, d.command.Stderr = &d.said, &d.said
	d.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	d.net.run(func() { err = d.command.Start() })
	if err != nil {
		t.Fatal(err)
	}
	go func() { d.err = d.command.Wait(); close(d.gone) }()
	t.Cleanup(func() { _ = d.command.Process.Kill(); <-d.gone })
	until(t, "it is ready", func() bool { return d.ready() })
	return d
}

// get asks as the kubelet does, from the node; empty where nobody answers.
func (d *podDaemon) get(path string) (status int, body string) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + netip.AddrPortFrom(d.net.ip, 8421).String() + path)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text)
}

// ready is one probe.
func (d *podDaemon) ready() bool {
	status, _ := d.get("/readyz")
	return status == http.StatusOK
}

var acceptedLine = regexp.MustCompile(`(?m)^lectern_events_accepted_total(?:\{[^}]*\})? (\d+)`)

// accepted is how many events it has counted.
func (d *podDaemon) accepted() (n int) {
	_, text := d.get("/metrics")
	for _, found := range acceptedLine.FindAllStringSubmatch(text, -1) {
		m, _ := strconv.Atoi(found[1])
		n += m
	}
	return n
}

// counts waits until it has counted more events than it has now.
func (d *podDaemon) counts(what string, more int) {
	d.t.Helper()
	from := d.accepted()
	until(d.t, what, func() bool { return d.accepted() >= from+more })
}

func (d *podDaemon) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.command.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// left wants it to end by itself, and returns how many events it has stored.
func (d *podDaemon) left() int {
	d.t.Helper()
	select {
	case <-d.gone:
	case <-time.After(time.Minute):
		d.t.Fatalf("it does not go:\n%s", d.said.String())
	}
	if d.err != nil {
		d.t.Fatalf("it left with %v:\n%s", d.err, d.said.String())
	}
	c := exec.Command(binary, "books", "--json", "--dir", d.parquet)
	out, _ := c.Output() // whether it adds up is not asked here
	var books struct {
		Streams []struct {
			Stored int `json:"stored"`
		} `json:"streams"`
	}
	if err := json.Unmarshal(out, &books); err != nil {
		d.t.Fatalf("lectern books: %v: %s", err, out)
	}
	n := 0
	for _, s := range books.Streams {
		n += s.Stored
	}
	return n
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// sender sends one event a datagram, to the Service or to a pod.
type sender struct {
	t    *testing.T
	pod  *netns
	to   netip.Addr
	conn net.Conn
	next uint64 // frames sent of this source
	id   uint64
}

func newSender(t *testing.T, pod *netns, id uint64) *sender {
	s := &sender{t: t, pod: pod, id: id, to: serviceIP}
	s.dial()
	return s
}

// dial begins another flow.
func (s *sender) dial() {
	s.t.Helper()
	if s.conn != nil {
		_ = s.conn.Close()
	}
	var err error
	s.pod.run(func() { s.conn, err = net.Dial("udp", netip.AddrPortFrom(s.to, eventPort).String()) })
	if err != nil {
		s.t.Fatal(err)
	}
}

// send sends one event more. The kernel takes it: what becomes of it then is the
// network's.
func (s *sender) send() error {
	body := wire.AppendEvent(nil, &wire.Event{Content: 7, User: s.next + 1, Kind: wire.KindOpen}, nil)
	frame := wire.AppendHeader(nil, wire.Header{
		Type: wire.TypeEvents, Size: wire.HeaderSize + len(body), Count: 1, Stream: 1, Time: time.Now().UnixMilli(),
		Source: s.id, Sequence: s.next, Position: s.next,
	})
	_, err := s.conn.Write(append(frame, body...))
	s.next++
	return err
}

// steadily sends a thousand a second over one socket until it is stopped, and
// then says how many that were.
func (s *sender) steadily() (stop func() int) {
	end := make(chan struct{})
	var sending sync.WaitGroup
	var failed error
	sending.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				if err := s.send(); err != nil {
					failed = fmt.Errorf("event %d: %w", s.next-1, err)
					return
				}
			}
		}
	})
	return func() int {
		close(end)
		sending.Wait()
		if failed != nil {
			s.t.Error(failed)
		}
		return int(s.next)
	}
}

// probes asks as the kubelet does until a probe has failed as often as makes a
// pod unready: the base's failureThreshold.
func (d *podDaemon) probes() {
	failed := 0
	until(d.t, "it says that it is not ready", func() bool {
		if d.ready() {
			failed = 0
		} else {
			failed++
		}
		return failed == 3
	})
}

// An update: a steady flow is pinned to the elder for as long as that is ready,
// and moves to the newcomer when it is not, while the elder still reads. Every
// datagram is counted by one of the two.
func TestUpdateMovesPinnedFlow(t *testing.T) {
	const unready = "2999s" // so that it is ready for a second, however long the rest takes
	if !onNode(t) {
		return
	}
	newNode(t)
	p := &proxy{t: t}
	elder := startPod(t, 2, "LECTERN_STOP_DRAIN_TIME=50m", "LECTERN_STOP_UNREADY_TIME="+unready)
	p.set(endpoint{ip: elder.net.ip, serving: true})
	flow := newSender(t, newPod(t, 4), 1)
	stop := flow.steadily()
	elder.counts("the flow reaches the elder", 100)

	newcomer := startPod(t, 3)
	p.set(endpoint{ip: newcomer.net.ip, serving: true})
	elder.signal(syscall.SIGTERM)
	p.set(endpoint{ip: elder.net.ip, serving: true, terminating: true})
	elder.counts("the flow stays with the elder while that is ready", 100)
	if n := newcomer.accepted(); n != 0 || !p.tracks(elder.net.ip) {
		t.Errorf("the newcomer has %d events of a flow that is pinned to the elder", n)
	}
	elder.probes()
	p.set(endpoint{ip: elder.net.ip, terminating: true})
	// What is under way to it meanwhile is still read: the kubelet and kube-proxy
	// take seconds to get here.
	straggler := &sender{t: t, pod: newPod(t, 5), id: 2, to: elder.net.ip}
	straggler.dial()
	before := elder.accepted()
	if err := straggler.send(); err != nil {
		t.Fatal(err)
	}
	until(t, "the elder reads while it is not ready", func() bool { return elder.accepted() > before })
	newcomer.counts("the flow moves to the newcomer", 100)
	elder.signal(syscall.SIGTERM) // the drain is over
	first := elder.left()
	p.remove(elder.net.ip)
	newcomer.counts("the flow goes on", 100)
	sent := stop() + 1 // the straggler
	until(t, "the newcomer has read all", func() bool { return first+newcomer.accepted() >= sent })
	newcomer.signal(syscall.SIGTERM)
	second := newcomer.left()
	t.Logf("sent %d: the elder has %d, the newcomer %d", sent, first, second)
	if first+second != sent {
		t.Errorf("%d of %d events were lost", sent-first-second, sent)
	}
}

// A pod that ends without a successor is sent what its node sends, new flows too,
// for as long as it is ready. When it is not, it still has the flows that it had.
func TestDrainWithoutSuccessor(t *testing.T) {
	if !onNode(t) {
		return
	}
	newNode(t)
	pod := newPod(t, 4)
	for n, unready := range map[int]string{2: "1s", 3: "50m"} {
		d := startPod(t, n, "LECTERN_STOP_DRAIN_TIME=50m", "LECTERN_STOP_UNREADY_TIME="+unready)
		p := &proxy{t: t}
		p.set(endpoint{ip: d.net.ip, serving: true})
		sent := 0
		send := func(s *sender) {
			t.Helper()
			if err := s.send(); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		counted := func(what string) { t.Helper(); until(t, what, func() bool { return d.accepted() == sent }) }
		old := newSender(t, pod, 1)
		send(old)
		counted("it counts")
		d.signal(syscall.SIGTERM)
		if unready == "1s" {
			p.set(endpoint{ip: d.net.ip, serving: true, terminating: true})
			young := newSender(t, pod, 2)
			for range 20 {
				young.dial() // another port, another flow
				send(young)
				send(old)
			}
			counted("new flows reach the pod that ends")
			if !d.ready() {
				t.Error("it is not ready for the first part of its drain")
			}
		} else {
			d.probes()
			p.set(endpoint{ip: d.net.ip, terminating: true})
			send(old) // kube-proxy leaves it where it was, where nobody serves
			counted("a flow of before reaches the pod that is not ready")
		}
		d.signal(syscall.SIGTERM) // the drain is over
		if n := d.left(); n != sent {
			t.Errorf("%d of %d events were lost", sent-n, sent)
		}
	}
}

// What the two tests above are built on does what it is meant to: without an
// endpoint a new flow is dropped, and with another it is not pinned to the first.
func TestProxyRules(t *testing.T) {
	if !onNode(t) {
		return
	}
	newNode(t)
	p := &proxy{t: t}
	listen := func(pod *netns) net.PacketConn {
		var c net.PacketConn
		var err error
		pod.run(func() { c, err = net.ListenPacket("udp", netip.AddrPortFrom(pod.ip, eventPort).String()) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	one, two := newPod(t, 2), newPod(t, 3)
	first, second := listen(one), listen(two)
	from := newPod(t, 4)
	say := func(text string) net.Conn {
		var c net.Conn
		var err error
		from.run(func() { c, err = net.Dial("udp", netip.AddrPortFrom(serviceIP, eventPort).String()) })
		if err == nil {
			_, err = c.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	hears := func(c net.PacketConn, want string) {
		t.Helper()
		b := make([]byte, 64)
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, _, err := c.ReadFrom(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("heard %q (%v), want %q", b[:n], err, want)
		}
	}
	p.sync()
	say("to nobody")
	p.set(endpoint{ip: one.ip, serving: true})
	pinned := say("a")
	hears(first, "a") // and nothing before it
	p.set(endpoint{ip: two.ip, serving: true})
	p.set(endpoint{ip: one.ip, serving: true, terminating: true})
	say("b")
	hears(second, "b")
	write := func(text string) {
		t.Helper()
		if _, err := pinned.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("c")
	hears(first, "c")
	p.set(endpoint{ip: one.ip, terminating: true})
	write("d")
	hears(second, "d")
}
