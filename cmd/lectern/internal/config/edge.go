package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
)

// Edge is for `lectern edge`.
type Edge struct {
	Address        string // host:port for pages
	Demo           bool   // there is a page to read
	Relay          string // path of a Unix datagram socket; empty: none
	Syslog         string // where proxies send their lines, with commas between; empty: nowhere
	SyslogStream   string // whose they are, by name or number; empty: that of the only stream
	SyslogFormat   string
	SyslogSkip     string // patterns of paths that count nothing, with commas between them
	LogsTokenFile  string // tokens of those who push logs, one a line; empty: nobody may
	LogsFields     string // "what=name" of their lines' fields, with commas between them
	LogsSkip       string // as SyslogSkip
	FastlyServices string // numbers of services, with commas between them, or "*"; empty: none
	ConnectionsMax int    // for pages
	OpsAddress     string // host:port of its health and metrics
	Collector      string // "host:port" of the collector's TCP socket, or "tls://host:port" of that of its TLS
	TLSCA          string // file of those who may have signed its certificate; empty: the system's
	TLSCert        string // file of the certificate to show; empty: none
	TLSKey         string // and of its key
	Audience       string // that the collector has, to seal for; empty: nothing is sealed
	Dir            string // of its queues
	QueueSize      int    // bytes of each stream's queue
	TrustedProxies string // networks with commas between them; empty: none
	PagesMax       int
	PageIdleMax    time.Duration
	BudgetRate     int    // events a second of one network
	BudgetBurst    int    // and at once
	Origins        string // "refuse", "shadow" or "off", as the next ones
	Bots           string
	Previews       string
	DataCenters    string
	Budgets        string
	DataCenterFile string // networks, one a line; empty: none
}

// noPages are paths of what pages are made of.
const noPages = "*.css,*.js,*.ico,*.png,*.jpg,*.gif,*.svg,*.webp,*.woff,*.woff2"

var edgeDefaults = Edge{
	Address: "127.0.0.1:8480", OpsAddress: "127.0.0.1:8481", Collector: "127.0.0.1:8420", Dir: "data/edge", QueueSize: 64 << 20,
	SyslogFormat: "auto", SyslogSkip: noPages, LogsSkip: noPages,
	ConnectionsMax: 20_000, PagesMax: 200_000, PageIdleMax: 45 * time.Minute, BudgetRate: 200, BudgetBurst: 2000,
	Origins: "refuse", Bots: "refuse", Previews: "refuse", DataCenters: "refuse", Budgets: "refuse",
}

// Proxies are the networks of TrustedProxies, one by one.
func (e *Edge) Proxies() []netip.Prefix {
	list, _ := parseNetworks(strings.Split(e.TrustedProxies, ",")) // checked when it was set
	return list
}

// settings is every key of the edge.
func (e *Edge) settings() []setting {
	rule := func(key string, to *string) setting { return word(key, to, "refuse", "shadow", "off") }
	return []setting{
		address("edge.address", &e.Address),
		choice("edge.demo", &e.Demo),
		file("edge.relay", &e.Relay),
		list(syslog("edge.syslog", &e.Syslog)),
		optional(name("edge.syslog_stream", &e.SyslogStream), &e.SyslogStream),
		word("edge.syslog_format", &e.SyslogFormat, "auto", "common", "combined", "vhost_combined", "json"),
		list(optional(name("edge.syslog_skip", &e.SyslogSkip), &e.SyslogSkip)),
		opened("edge.logs_token_file", &e.LogsTokenFile),
		list(logsFields("edge.logs_fields", &e.LogsFields)),
		list(optional(name("edge.logs_skip", &e.LogsSkip), &e.LogsSkip)),
		list(optional(name("edge.fastly_services", &e.FastlyServices), &e.FastlyServices)),
		count("edge.connections_max", &e.ConnectionsMax, 1, 1_000_000),
		address("edge.ops_address", &e.OpsAddress),
		hostAddress("edge.collector", &e.Collector),
		opened("edge.tls_ca", &e.TLSCA),
		opened("edge.tls_cert", &e.TLSCert),
		opened("edge.tls_key", &e.TLSKey),
		audience("edge.audience", &e.Audience),
		path("edge.dir", &e.Dir),
		size("edge.queue_size", &e.QueueSize, 1<<20, 1<<30),
		list(networks("edge.trusted_proxies", &e.TrustedProxies)),
		count("edge.pages_max", &e.PagesMax, 100, 10_000_000),
		duration("edge.page_idle_max", &e.PageIdleMax, 30*time.Minute, 7*day),
		count("edge.budget_rate", &e.BudgetRate, 1, 1_000_000),
		count("edge.budget_burst", &e.BudgetBurst, 25, 10_000_000),
		rule("edge.origins", &e.Origins),
		rule("edge.bots", &e.Bots),
		rule("edge.previews", &e.Previews),
		rule("edge.data_centers", &e.DataCenters),
		rule("edge.budgets", &e.Budgets),
		opened("edge.data_center_file", &e.DataCenterFile),
	}
}

// LogsNamed are the names of LogsFields, by what they mean.
func (e *Edge) LogsNamed() map[string]string {
	named, _ := parseFields(e.LogsFields) // checked when it was set
	return named
}

// logsFields is a list of names of fields.
func logsFields(key string, to *string) setting {
	return text(key, to, `a string, such as "client=ip" or "client=ip,time=at"`, func(text string) error {
		named, err := parseFields(text)
		if err == nil {
			_, err = accesslog.NewParser(accesslog.JSON, named)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", quote(text), err)
		}
		return nil
	})
}

func parseFields(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	named := make(map[string]string)
	for _, part := range strings.Split(text, ",") {
		what, name, ok := strings.Cut(part, "=")
		if _, twice := named[what]; !ok || twice {
			return nil, errors.New("it is not a list of WHAT=NAME, each WHAT once")
		}
		named[what] = name
	}
	return named, nil
}

// syslog is a list of places where datagrams and connections come in.
func syslog(key string, to *string) setting {
	return texts(key, to, `a string, such as "udp://127.0.0.1:5140" or "tcp://127.0.0.1:5140,unix:///run/log"`, func(place string) error {
		network, at, _ := strings.Cut(place, "://")
		_, _, err := net.SplitHostPort(at)
		if network == "unix" && at != "" || (network == "udp" || network == "tcp") && err == nil {
			return nil
		}
		return fmt.Errorf(`%s is none of "udp://host:port", "tcp://host:port" and "unix:///path"`, quote(place))
	})
}

// hostAddress is host:port to connect to, with "tls://" in front where that is to be
// over TLS.
func hostAddress(key string, to *string) setting {
	return text(key, to, `a string, such as "127.0.0.1:8420"`, func(text string) error {
		at := strings.TrimPrefix(text, "tls://")
		if err := checkAddress(at); err != nil {
			return err
		}
		if strings.HasPrefix(at, ":") || strings.HasSuffix(at, ":0") {
			return fmt.Errorf("%s leads nowhere: a host and its port are wanted", quote(text))
		}
		return nil
	})
}

// networks is a list of networks.
func networks(key string, to *string) setting {
	return text(key, to, `a string, such as "10.0.0.0/8" or "10.0.0.0/8,fd00::/8"`, func(text string) error {
		_, err := parseNetworks(strings.Split(text, ","))
		return err
	})
}

// ParseNetworks reads networks, one in each line: "10.0.0.0/8", or an address
// alone. What stands behind a # is a comment.
func ParseNetworks(text string) ([]netip.Prefix, error) {
	var lines []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		lines = append(lines, strings.TrimSpace(line))
	}
	return parseNetworks(lines)
}

func parseNetworks(parts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, part := range parts {
		if part == "" {
			continue
		}
		network, err := netip.ParsePrefix(part)
		if a, alone := netip.ParseAddr(part); alone == nil {
			network, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf(`%s is not a network, such as "10.0.0.0/8" or "2001:db8::/32"`, quote(part))
		}
		list = append(list, network.Masked())
	}
	return list, nil
}

// origins is a list of origins of pages, as browsers write them.
func origins(key string, to *string) setting {
	return texts(key, to, `a string, such as "https://news.example" or "https://news.example,https://m.news.example"`, func(origin string) error {
		rest, ok := strings.CutPrefix(origin, "https://")
		if !ok {
			rest, ok = strings.CutPrefix(origin, "http://")
		}
		if !ok || rest == "" || strings.ContainsAny(rest, "/?#@ ") {
			return fmt.Errorf(`%s is not an origin, such as "https://news.example": a scheme and a host, without a path`, quote(origin))
		}
		return nil
	})
}
