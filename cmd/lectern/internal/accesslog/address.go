package accesslog

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// parseAddress reads an IP address, perhaps with a port, perhaps in brackets.
// An IPv4 address in IPv6 form is one of IPv4.
func parseAddress(b []byte) (netip.Addr, bool) {
	if len(b) < 2 || len(b) > 100 || b[len(b)-1] == '.' {
		return netip.Addr{}, false
	}
	switch colons := bytes.Count(b, []byte(":")); {
	case b[0] == '[':
		inside, rest, ok := bytes.Cut(b[1:], []byte("]"))
		if !ok || len(rest) > 0 && !isPort(rest) || colons < 2 {
			return netip.Addr{}, false
		}
		b = inside
	case colons == 1:
		i := bytes.IndexByte(b, ':')
		if !isPort(b[i:]) {
			return netip.Addr{}, false
		}
		b = b[:i]
		fallthrough
	case colons == 0:
		if !looksIPv4(b) { // an error of netip costs an allocation
			return netip.Addr{}, false
		}
	}
	if len(b) == 0 {
		return netip.Addr{}, false
	}
	// The address keeps nothing of the text: netip makes a zone's own.
	address, err := netip.ParseAddr(unsafe.String(&b[0], len(b)))
	if err != nil {
		return netip.Addr{}, false
	}
	return address.Unmap(), true
}

// isPort reports whether b is a colon and digits.
func isPort(b []byte) bool {
	_, ok := digits(b[1:])
	return b[0] == ':' && len(b) > 1 && len(b) <= 6 && ok
}

// looksIPv4 reports whether b is made of digits and three points.
func looksIPv4(b []byte) bool {
	points := 0
	for _, c := range b {
		switch {
		case c == '.':
			points++
		case c < '0' || c > '9':
			return false
		}
	}
	return points == 3
}

// ClientFrom says whose address the client's is.
type ClientFrom int

// Where the client's address comes from.
const (
	// FromFront is the peer's, or what an X-Forwarded-For in front of the line
	// says: who made such a log wanted it.
	FromFront ClientFrom = iota
	// FromPeer is the peer's: the address that connected.
	FromPeer
	// FromForwarded is what X-Forwarded-For says, wherever the line has it.
	FromForwarded
)

// TrustedDefault are the networks of proxies that are trusted where none are
// named: loopback, private, link-local and shared addresses.
var TrustedDefault = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// Clients tells clients from the proxies before them. It is not safe for
// concurrent use.
type Clients struct {
	From    ClientFrom
	Trusted Networks
	text    []byte
}

// Of is the client of a line, in one form: an address as RFC 5952 writes it,
// without its port, or the name that stands there. X-Forwarded-For is read from
// the right: each proxy that is trusted has added the address that it saw; what
// stands to the left of the first other one was sent by that one, and may be
// anything. The slice is good until the next call.
func (c *Clients) Of(l *Line) []byte {
	at, _ := parseAddress(l.Client) // a name has none
	if l.Forwarded != nil && (c.From == FromForwarded || c.From == FromFront && l.InFront) {
		at, _ = c.Trusted.Behind(at, l.Forwarded)
	}
	if !at.IsValid() {
		return l.Client
	}
	c.text = at.AppendTo(c.text[:0])
	return c.text
}

// Networks are some networks.
type Networks []netip.Prefix

// Contain says whether an address is in one of them.
func (n Networks) Contain(a netip.Addr) bool {
	a = a.WithZone("")
	for _, p := range n {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Behind is for whom the peer at this address asks, where it is one of the networks,
// or is not known: the last address of the list, the X-Forwarded-For, that is none of
// them. What stands to the left of it anybody may have written. whole says that there
// is none: it is the first of the list.
func (n Networks) Behind(at netip.Addr, list []byte) (client netip.Addr, whole bool) {
	for len(list) > 0 && (!at.IsValid() || n.Contain(at)) {
		i := bytes.LastIndexByte(list, ',')
		before, ok := parseAddress(bytes.TrimSpace(list[i+1:]))
		if !ok {
			return at, false // what a proxy did not write
		}
		at, list = before, list[:max(i, 0)]
	}
	return at, len(list) == 0
}
