package kube

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A node of a cluster, made of network namespaces, with the rules that kube-proxy
// writes for the Service "lectern" and what it does to connection tracking. The
// rules are those of its iptables mode (Kubernetes 1.32 and later), for one node.

// insideNode is set where a test runs in namespaces of its own.
const insideNode = "LECTERN_TEST_INSIDE_NODE"

// onNode runs the calling test again where it may make networks, as root of a user
// namespace. It is true where that is.
func onNode(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideNode) != "" {
		return true
	}
	for tool, pkg := range map[string]string{"ip": "iproute2", "iptables-restore": "iptables", "conntrack": "conntrack"} {
		if _, err := exec.LookPath(tool); err != nil {
			absent(t, tool, "Debian's package is "+pkg)
		}
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	c.Env = append(os.Environ(), insideNode+"="+binary)
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
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "DID NOT RUN") {
		t.Skip("DID NOT RUN: see above")
	}
	return false
}

func must(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// The addresses of the node's pods, and of the Service.
var (
	nodeIP    = netip.MustParseAddr("10.244.0.1")
	serviceIP = netip.MustParseAddr("10.96.0.10")
)

const eventPort = 8420

// netns is a pod's network: a thread in a namespace of its own.
type netns struct {
	ip netip.Addr
	do chan func()
}

// newNode makes the bridge of the node.
func newNode(t *testing.T) {
	t.Helper()
	must(t, "ip", "link", "set", "lo", "up")
	must(t, "ip", "link", "add", "cbr0", "type", "bridge")
	must(t, "ip", "addr", "add", nodeIP.String()+"/24", "dev", "cbr0")
	must(t, "ip", "link", "set", "cbr0", "up")
	for path, value := range map[string]string{"ip_forward": "1", "conf/all/send_redirects": "0", "conf/cbr0/send_redirects": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+path, []byte(value), 0); err != nil {
			t.Skipf("DID NOT RUN: the network of a namespace cannot be set here: %v", err)
		}
	}
	if out, err := exec.Command("iptables", "-t", "nat", "-L").CombinedOutput(); err != nil {
		t.Skipf("DID NOT RUN: iptables does not work in a namespace here: %v\n%s", err, out)
	}
}

// newPod makes a pod's network on the bridge.
func newPod(t *testing.T, n int) *netns {
	t.Helper()
	p := &netns{ip: netip.AddrFrom4([4]byte{10, 244, 0, byte(n)}), do: make(chan func())}
	tid := make(chan int)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			panic(err)
		}
		tid <- unix.Gettid()
		for f := range p.do {
			f()
		}
	}()
	t.Cleanup(func() { close(p.do) })
	outer := fmt.Sprint("veth", n)
	must(t, "ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(<-tid))
	must(t, "ip", "link", "set", outer, "master", "cbr0", "up")
	p.run(func() {
		must(t, "ip", "link", "set", "lo", "up")
		must(t, "ip", "addr", "add", p.ip.String()+"/24", "dev", "eth0")
		must(t, "ip", "link", "set", "eth0", "up")
		must(t, "ip", "route", "add", "default", "via", nodeIP.String())
	})
	return p
}

// run calls f in the pod's network, with the programs that f starts.
func (p *netns) run(f func()) {
	done := make(chan struct{})
	p.do <- func() { defer close(done); f() }
	<-done
}

// endpoint is one of a Service's EndpointSlice.
type endpoint struct {
	ip                   netip.Addr
	serving, terminating bool
}

// proxy is kube-proxy of the node.
type proxy struct {
	t         *testing.T
	endpoints []endpoint
}

// set takes an endpoint as the API server has it now, and syncs the rules.
func (p *proxy) set(e endpoint) {
	p.t.Helper()
	p.endpoints = slices.DeleteFunc(p.endpoints, func(o endpoint) bool { return o.ip == e.ip })
	p.endpoints = append(p.endpoints, e)
	p.sync()
}

// remove takes it that an endpoint is gone, and syncs the rules.
func (p *proxy) remove(ip netip.Addr) {
	p.t.Helper()
	p.endpoints = slices.DeleteFunc(p.endpoints, func(o endpoint) bool { return o.ip == ip })
	p.sync()
}

// local is what the Service's traffic is spread over: the endpoints that are
// ready, or, where there are none, those that end and still serve (KEP-1669).
func (p *proxy) local() []endpoint {
	ready := func(e endpoint) bool { return e.serving && !e.terminating }
	ending := func(e endpoint) bool { return e.serving && e.terminating }
	for _, wanted := range []func(endpoint) bool{ready, ending} {
		if found := slices.DeleteFunc(slices.Clone(p.endpoints), func(e endpoint) bool { return !wanted(e) }); len(found) > 0 {
			return found
		}
	}
	return nil
}

// sync writes the rules at once, as iptables-restore does it, then cleans the
// connection tracking.
func (p *proxy) sync() {
	p.t.Helper()
	const name, portal = "KUBE-SVL-6AZNYKJBNCZ2L5PB", "lectern/lectern:events-udp"
	var chains, rules, filter strings.Builder
	fmt.Fprintf(&chains, ":PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:%s - [0:0]\n", name)
	rules.WriteString("-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n")
	local := p.local()
	if len(local) > 0 {
		fmt.Fprintf(&rules, "-A KUBE-SERVICES -m comment --comment \"%s cluster IP\" -m udp -p udp -d %s --dport %d -j %s\n", portal, serviceIP, eventPort, name)
	} else {
		fmt.Fprintf(&filter, "-A KUBE-SERVICES -m comment --comment \"%s has no local endpoints\" -m udp -p udp -d %s --dport %d -j DROP\n", portal, serviceIP, eventPort)
	}
	for i, e := range local {
		chain := fmt.Sprintf("KUBE-SEP-%02X", e.ip.As4()[3])
		fmt.Fprintf(&chains, ":%s - [0:0]\n", chain)
		random := ""
		if rest := len(local) - i; rest > 1 {
			random = fmt.Sprintf("-m statistic --mode random --probability %.10f ", 1/float64(rest))
		}
		fmt.Fprintf(&rules, "-A %s -m comment --comment \"%s -> %s:%d\" %s-j %s\n", name, portal, e.ip, eventPort, random, chain)
		fmt.Fprintf(&rules, "-A %s -s %s -j KUBE-MARK-MASQ\n-A %s -m udp -p udp -j DNAT --to-destination %s:%d\n", chain, e.ip, chain, e.ip, eventPort)
	}
	restore := exec.Command("iptables-restore", "--counters")
	restore.Stdin = strings.NewReader("*filter\n:FORWARD ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n" +
		"-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n" + filter.String() +
		"COMMIT\n*nat\n" + chains.String() + rules.String() + "COMMIT\n")
	if out, err := restore.CombinedOutput(); err != nil {
		p.t.Fatalf("iptables-restore: %v\n%s", err, out)
	}
	p.clean()
}

var tracked = regexp.MustCompile(`^udp .* dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) `)

// clean deletes what is tracked to the Service and leads to no endpoint that
// serves, whatever else it is; and nothing, where none serves (CleanStaleEntries
// of pkg/proxy/conntrack).
func (p *proxy) clean() {
	p.t.Helper()
	serving := make(map[string]bool)
	for _, e := range p.endpoints {
		if e.serving {
			serving[e.ip.String()] = true
		}
	}
	if len(serving) == 0 {
		return
	}
	for line := range strings.Lines(must(p.t, "conntrack", "-L", "-p", "udp", "-o", "extended")) {
		line = line[max(0, strings.Index(line, "udp ")):]
		found := tracked.FindStringSubmatch(line)
		if found == nil || found[1] != serviceIP.String() || found[2] != fmt.Sprint(eventPort) || serving[found[3]] {
			continue
		}
		// An entry that has gone by itself meanwhile is no error of ours.
		_ = exec.Command("conntrack", "-D", "-p", "udp", "--orig-dst", found[1], "--orig-port-dst", found[2], "--reply-src", found[3]).Run()
	}
}

// tracks says whether a flow to the Service is pinned to a pod.
func (p *proxy) tracks(ip netip.Addr) bool {
	p.t.Helper()
	out := must(p.t, "conntrack", "-L", "-p", "udp", "--orig-dst", serviceIP.String())
	return strings.Contains(out, "src="+ip.String()+" ")
}
