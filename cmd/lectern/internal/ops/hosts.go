package ops

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// knownHosts refuses requests for a name that the operator has not named: a page of
// a stranger may have its own name point to this address, and the browser that
// shows it takes what is here for that site's. An IP address and localhost are no
// stranger's names, and a request without a host is no browser's.
func knownHosts(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostKnown(r.Host, names) {
			w.Header().Set("Connection", "close")
			http.Error(w, fmt.Sprintf("%q is not a name of this server: ask by its IP address or as localhost, or put the name into ops.allowed_hosts", r.Host),
				http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostKnown says whether a Host, with or without a port, is fine.
func hostKnown(host string, names []string) bool {
	if host == "" {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	same := func(name string) bool { return strings.EqualFold(name, host) }
	return same("localhost") || slices.ContainsFunc(names, same)
}
