package edge

import (
	"net/http"
	"net/netip"
	"strings"
)

// networkOf is the network by which an address is held to account: an IPv4 address
// itself, of IPv6 the /64.
func networkOf(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// proxies are networks that are believed when they say for whom they ask.
type proxies []netip.Prefix

func (p proxies) trusted(a netip.Addr) bool {
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// clientOf is who asks: the peer, or, where that is a trusted proxy, the last
// address in X-Forwarded-For that is none. What stands to the left of it anybody
// may have written.
func (p proxies) clientOf(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	client := peer.Addr().Unmap()
	if !p.trusted(client) {
		return client
	}
	lines := r.Header["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		rest := lines[i]
		for rest != "" {
			var last string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				rest, last = "", rest
			}
			a, ok := forwarded(strings.TrimSpace(last))
			if !ok {
				return client // what a proxy did not write
			}
			if client = a; !p.trusted(client) {
				return client
			}
		}
	}
	return client
}

// forwarded reads one address of X-Forwarded-For, which may have a port.
func forwarded(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddrPort(text)
	return a.Addr().Unmap().WithZone(""), err == nil
}
