package now

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of asking.
const (
	peersMax      = 64
	peerWait      = 300 * time.Millisecond // for one answer; there are two questions
	peerRest      = 3 * time.Second        // until one that failed is asked again
	resolveRest   = 5 * time.Second        // until names are looked up again
	resolveWait   = 200 * time.Millisecond
	repliesBytes  = 24 << 20 // all answers to a question together
	replyBytesMax = 4 << 20
	whyMax        = 200 // characters of node.Why
)

// MemoryBytes is what asking peers may take: answers as they come, and as they are
// read.
const MemoryBytes = 3 * repliesBytes

// peers are the other daemons, and what was found out about them.
type peers struct {
	names   []string // host:port, each of which may lead to several daemons
	resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
	client  *http.Client
	wait    time.Duration // for one answer
	clock   func() time.Time
	failed  interface{ Inc() }

	mu       sync.Mutex // protects what follows
	resolved time.Time  // when names were looked up
	all      []peer
	unasked  int
	problems []Node // names that lead nowhere
}

// peer is one daemon.
type peer struct {
	address   netip.AddrPort
	own       bool      // it is this one
	collector string    // empty: it has not answered yet
	rest      time.Time // it is not asked before, since it failed,
	why       string    // and how
}

func newPeers(names []string, clock func() time.Time, failed interface{ Inc() }) *peers {
	p := &peers{names: names, resolve: net.DefaultResolver.LookupNetIP, wait: peerWait, clock: clock, failed: failed}
	p.client = &http.Client{
		Transport: &http.Transport{
			// A dial may outlive its question.
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return (&net.Dialer{Timeout: p.wait}).DialContext(ctx, network, address)
			},
			MaxIdleConnsPerHost: 1, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute,
			DisableCompression: true, MaxResponseHeaderBytes: 8 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it sends elsewhere") },
	}
	return p
}

// look looks names up where that was some time ago. What a name led to stays when it
// cannot be looked up. The caller has mu.
func (p *peers) look(ctx context.Context, again time.Duration) {
	now := p.clock()
	if !p.resolved.IsZero() && now.Sub(p.resolved) < again {
		return
	}
	p.resolved = now
	ctx, cancel := context.WithTimeout(ctx, resolveWait)
	defer cancel()
	var found []netip.AddrPort
	p.problems = nil
	for _, name := range p.names {
		addresses, err := p.addressesOf(ctx, name)
		if err != nil {
			p.problems = append(p.problems, Node{Node: name, State: stateLeftOut, Why: shortened(fmt.Sprintf("its name cannot be looked up: %v", err))})
		}
		found = append(found, addresses...)
	}
	if len(p.problems) > 0 {
		for i := range p.all {
			found = append(found, p.all[i].address)
		}
	}
	slices.SortFunc(found, netip.AddrPort.Compare)
	found = slices.Compact(found)
	p.unasked = max(0, len(found)-peersMax)
	var all []peer
	for _, a := range found[:min(len(found), peersMax)] {
		x := peer{address: a}
		if i := slices.IndexFunc(p.all, func(o peer) bool { return o.address == a }); i >= 0 {
			x = p.all[i]
		}
		all = append(all, x)
	}
	p.all = all
}

func (p *peers) addressesOf(ctx context.Context, name string) ([]netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, err
	}
	ips, err := p.resolve(ctx, "ip", host)
	var all []netip.AddrPort
	for _, ip := range ips {
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(number)))
	}
	return all, err
}

// knows says whether an address is that of a peer. A name may have just come to lead
// there.
func (p *peers) knows(ctx context.Context, a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	is := func(x peer) bool { return x.address.Addr() == a }
	p.look(ctx, resolveRest)
	if !slices.ContainsFunc(p.all, is) {
		p.look(ctx, time.Second)
	}
	return slices.ContainsFunc(p.all, is)
}

// now returns the peers as they are known at the moment, and how many more there are.
func (p *peers) now(ctx context.Context) (all []peer, problems []Node, unasked int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look(ctx, resolveRest)
	return slices.Clone(p.all), slices.Clone(p.problems), p.unasked
}

// asked is one peer and what it said.
type asked struct {
	peer
	reply *reply
	err   error
}

// ask asks several peers at once, those that are not resting and are not this daemon.
func (p *peers) ask(ctx context.Context, of []peer, q *question, own uint64) []*asked {
	var all []*asked
	now := p.clock()
	for _, x := range of {
		if !x.own {
			all = append(all, &asked{peer: x})
		}
	}
	body, _ := json.Marshal(q) // numbers always marshal
	most := min(replyBytesMax, int64(repliesBytes/max(1, len(all))))
	var asking sync.WaitGroup
	for _, a := range all {
		if now.Before(a.rest) {
			a.err = errors.New(a.why)
			continue
		}
		asking.Go(func() {
			a.reply, a.err = p.askOne(ctx, a.address, body, most)
			p.learn(a, own)
		})
	}
	asking.Wait()
	return all
}

// askOne asks one peer.
func (p *peers) askOne(ctx context.Context, address netip.AddrPort, body []byte, most int64) (*reply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.wait, fmt.Errorf("it did not answer within %v", p.wait))
	defer cancel()
	r, err := p.exchange(ctx, "http://"+address.String()+PeerPath, body, most)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r, err
}

func (p *peers) exchange(ctx context.Context, url string, body []byte, most int64) (*reply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := p.client.Do(request)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the address, which stands beside it
		}
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, whyMax))
		return nil, fmt.Errorf("it answered %s: %s", answer.Status, strings.TrimSpace(string(text)))
	}
	return readReply(answer.Body, most)
}

// learn remembers how a peer has answered.
func (p *peers) learn(a *asked, own uint64) {
	if a.err != nil {
		a.why, a.rest = a.err.Error(), p.clock().Add(peerRest)
		p.failed.Inc()
	} else {
		a.collector, a.own = collectorWord(a.reply.Collector), a.reply.Collector == own
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.all {
		if p.all[i].address == a.address {
			p.all[i] = a.peer
		}
	}
}

// node is how a peer is shown.
func (a *asked) node() Node {
	n := Node{Node: a.address.String(), Collector: a.collector, State: stateAsked}
	if a.err != nil {
		n.State, n.Why = stateLeftOut, shortened(a.err.Error())
		return n
	}
	n.Time, n.Since = a.reply.Time, a.reply.Since
	return n
}

// shortened is a text that may be anybody's, as one line of bounded length.
func shortened(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	if len(text) > whyMax {
		text = strings.ToValidUTF8(text[:whyMax], "") + "…"
	}
	return text
}

// distinct leaves out this daemon, and every further address of another.
func distinct(all []*asked, own uint64) (others []*asked) {
	seen := map[uint64]bool{own: true}
	for _, a := range all {
		if a.err == nil {
			if seen[a.reply.Collector] {
				continue
			}
			seen[a.reply.Collector] = true
		}
		others = append(others, a)
	}
	return others
}
