package edge

import (
	"net/http"
	"net/netip"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
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

// clientOf is who asks: the peer, or, where that is one of these proxies, for whom it
// does. Each of several headers goes on to the left of the one behind it.
func clientOf(r *http.Request, proxies accesslog.Networks) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	client := peer.Addr().Unmap()
	lists := r.Header["X-Forwarded-For"]
	for i, whole := len(lists)-1, true; i >= 0 && whole; i-- {
		client, whole = proxies.Behind(client, []byte(lists[i]))
	}
	return client.WithZone("")
}
