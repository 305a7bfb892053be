package edge

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// budgets are token buckets of the networks that send, at most budgetNetworks of
// them. One is forgotten when it is full again, which changes nothing.
type budgets struct {
	rate, burst float64 // events a second, and at once
	seed        maphash.Seed
	parts       [budgetParts]budgetPart
}

const (
	budgetParts    = 64
	budgetNetworks = 1 << 17
	// budgetLooks is how many entries are looked at for one that may go.
	budgetLooks = 8
)

type budgetPart struct {
	mu sync.Mutex // protects the fields below
	of map[netip.Addr]*bucket
	// shared is of all networks for which there is no room.
	shared bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBudgets(rate, burst int) *budgets {
	b := &budgets{rate: float64(rate), burst: float64(burst), seed: maphash.MakeSeed()}
	for i := range b.parts {
		b.parts[i].of = make(map[netip.Addr]*bucket)
	}
	return b
}

// spend says whether a network may send that number of events now.
func (b *budgets) spend(a netip.Addr, events int, now time.Time) bool {
	network := networkOf(a)
	p := &b.parts[maphash.Comparable(b.seed, network)%budgetParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.of[network]
	switch {
	case one != nil:
	case len(p.of) < budgetNetworks/budgetParts || b.makeRoom(p, now):
		one = &bucket{tokens: b.burst, at: now}
		p.of[network] = one
	default:
		one = &p.shared
	}
	b.fill(one, now)
	if one.tokens < float64(events) {
		return false
	}
	one.tokens -= float64(events)
	return true
}

func (b *budgets) fill(one *bucket, now time.Time) {
	if passed := now.Sub(one.at).Seconds(); passed > 0 {
		one.tokens = min(b.burst, one.tokens+passed*b.rate)
		one.at = now
	}
}

// makeRoom forgets a network that is owed nothing: of a few, since the order of a
// map is another each time.
func (b *budgets) makeRoom(p *budgetPart, now time.Time) bool {
	looks := 0
	for network, one := range p.of {
		if b.fill(one, now); one.tokens == b.burst {
			delete(p.of, network)
			return true
		}
		if looks++; looks == budgetLooks {
			break
		}
	}
	return false
}
