package accesslog

import "bytes"

// parseHead reads what stands before the time: the client, ident and user, and
// in front of them perhaps the virtual host, or the X-Forwarded-For. A word that
// belongs to none of them, or one that is missing, makes the line another than it
// seems, so that all readers would become one: it is refused.
func (l *Line) parseHead(head []byte, format Format) Reason {
	switch first, rest, _ := bytes.Cut(head, []byte(" ")); {
	case format == VhostCombined:
		if !isVhost(first) {
			return BadHead
		}
		return l.parseClient(rest)
	case format == Auto && isVhost(first) && startsWithAddress(rest) && !isAddress(first):
		return l.parseClient(rest)
	}
	return l.parseClient(head)
}

// parseClient reads `client ident user`, with an X-Forwarded-For in front of them
// where the log's owner has put one.
func (l *Line) parseClient(head []byte) Reason {
	list := listSize(head)
	client, rest, _ := bytes.Cut(head[list:], []byte(" "))
	switch {
	case list > 0 && isAddress(client):
		l.Forwarded, l.InFront = head[:list-1], true
	case list > 0: // the list's last one is the peer
		i := bytes.LastIndexByte(head[:list], ',')
		l.Forwarded, l.InFront = head[:i], true
		client, rest = bytes.TrimSpace(head[i+1:list]), head[list:]
	case (isAddress(client) || string(client) == "-") && startsWithAddress(rest):
		l.Forwarded, l.InFront = client, true
		client, rest, _ = bytes.Cut(rest, []byte(" "))
	}
	ident, user, ok := bytes.Cut(rest, []byte(" "))
	switch {
	case !ok || len(ident) == 0 || len(user) == 0 || isAddress(ident):
		return BadHead
	case bytes.HasPrefix(user, []byte("- ")) || bytes.Contains(user, []byte(" - ")):
		return BadHead // another client, ident and user come behind these
	case !isAddress(client) && !isName(client) && string(client) != "unix:":
		return BadClient
	}
	l.Client = client
	return Read
}

// listSize is how many bytes of b are a list of addresses with commas between
// them, and the space behind it; 0 where b begins with none.
func listSize(b []byte) int {
	n, commas := 0, 0
	for {
		end := bytes.IndexByte(b[n:], ' ')
		if end < 0 {
			return 0
		}
		word := b[n : n+end]
		commas += bytes.Count(word, []byte(","))
		n += end + 1
		if !bytes.HasSuffix(word, []byte(",")) {
			break
		}
	}
	if commas == 0 {
		return 0
	}
	return n
}

func startsWithAddress(b []byte) bool {
	word, _, ok := bytes.Cut(b, []byte(" "))
	return ok && (isAddress(word) || listSize(b) > 0)
}

// isAddress reports whether b is an IP address, perhaps with a port.
func isAddress(b []byte) bool {
	_, ok := parseAddress(b)
	return ok
}

// isVhost reports whether b is a name or an address, perhaps with a port.
func isVhost(b []byte) bool {
	if isAddress(b) {
		return true
	}
	if i := bytes.LastIndexByte(b, ':'); i >= 0 {
		if _, ok := digits(b[i+1:]); !ok || i+1 == len(b) {
			return false
		}
		b = b[:i]
	}
	return isName(b)
}

// isName reports whether b may be the name of a host. One whose last part is a
// number is a piece of an address.
func isName(b []byte) bool {
	if len(b) == 0 || len(b) > 253 {
		return false
	}
	letters := false // in the last part
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			letters = true
		case c >= '0' && c <= '9':
		case c == '-' && i > 0:
			letters = true
		case c == '.' && i > 0 && b[i-1] != '.':
			letters = letters && i == len(b)-1
		default:
			return false
		}
	}
	return letters
}
