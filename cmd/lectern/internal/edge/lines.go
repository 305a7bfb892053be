package edge

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/emit"
)

// lines makes events of the lines of access logs, one open for each GET that was
// answered with 200, 206 or 304, as docs/ACCESS-LOGS.md has it. It is not safe for
// concurrent use.
type lines struct {
	edge      *Edge
	door      *door
	stream    *stream
	paths     accesslog.Paths
	parser    *accesslog.Parser
	clients   accesslog.Clients
	targets   accesslog.Targets
	downloads *downloads
}

func (e *Edge) newLines(d *door, s *stream, parser *accesslog.Parser, paths accesslog.Paths) *lines {
	return &lines{
		downloads: &d.downloads, edge: e, door: d, stream: s, paths: paths, parser: parser,
		clients: accesslog.Clients{Trusted: append(accesslog.TrustedDefault, e.proxies...)},
	}
}

// take brings what a line stands for to its queue, and counts it. The log has one of
// oneOf lines, unless the line itself says otherwise.
func (l *lines) take(line []byte, oneOf float64, now time.Time) (Reason, error) {
	event, content, why, err := l.event(line, oneOf, now)
	events := 0
	if why == Taken {
		events = 1
		l.stream.mu.Lock()
		l.stream.name(content)
		why, err = l.stream.addAll([]emit.Event{event})
		l.stream.mu.Unlock()
	}
	l.edge.count(l.door, why, events, err)
	return why, err
}

// event is what a line stands for, and what its content is called.
func (l *lines) event(line []byte, oneOf float64, now time.Time) (e emit.Event, content string, why Reason, err error) {
	entry, unread := l.parser.Parse(line)
	if unread != accesslog.Read {
		return e, "", Malformed, fmt.Errorf("the line %v", unread)
	}
	if entry.OneOf == 1 {
		entry.OneOf = oneOf
	}
	if !entry.Opened() {
		return e, "", NotRead, nil
	}
	target, path := l.targets.Of(&entry)
	if !l.paths.Wants(path) {
		return e, "", NotRead, nil
	}
	from := sender{agent: string(entry.Agent)}
	client := l.clients.Of(&entry)
	from.address, _ = netip.ParseAddr(string(client)) // a name has none
	if why = l.edge.judge(l.door, &l.stream.Stream, nil, &from); why != Taken {
		return e, "", why, nil
	}
	content = string(target)
	e = emit.Event{Time: entry.Time, Content: emit.ID(content), Kind: emit.Open, Skipped: entry.Skipped()}
	e.User = l.edge.readers.of(&l.stream.Stream, 0, now, lineReader(from.address, client), from.agent) // logs know no accounts
	reader := e.User
	if reader == 0 {
		reader = emit.ID(string(client)) // in memory alone, to know a download that goes on
	}
	if l.downloads.further(e.Content, reader, entry.Status, entry.Time) {
		return e, "", NotRead, nil
	}
	return e, content, Taken, nil
}

// lineReader is the client of a line as a reader has it: a name stands for itself.
func lineReader(a netip.Addr, client []byte) string {
	if a.IsValid() {
		address := reader(a)
		return string(address[:])
	}
	return string(client)
}

// downloads are those of all lines of a door: the parts of one may come over several
// connections.
type downloads struct {
	mu sync.Mutex // protects of
	of accesslog.Downloads
}

func (d *downloads) further(content, user uint64, status int, at int64) bool {
	if status != http.StatusOK && status != http.StatusPartialContent {
		return false // as accesslog.Downloads has it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.of.Further(content, user, status, at)
}

// Syslog says where the lines of proxies come in, and what they are.
type Syslog struct {
	Listen []string // "udp://host:port", "tcp://host:port" or "unix:///path"; empty: nowhere
	Stream string   // by name, or number
	Format accesslog.Format
	Paths  accesslog.Paths
}

// splitAddress takes "udp://host:port" apart.
func splitAddress(address string) (network, at string, err error) {
	network, at, ok := strings.Cut(address, "://")
	if !ok || at == "" || network != "udp" && network != "tcp" && network != "unix" {
		return "", "", fmt.Errorf(`%q is none of "udp://host:port", "tcp://host:port" and "unix:///path"`, address)
	}
	return network, at, nil
}
