package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	flag "github.com/spf13/pflag"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/cmd/lectern/internal/once"
)

// emitLogHelp is the part of emitHelp about logs.
const emitLogHelp = `An access log:

  --log FILE         plain, gzip or zstd; "-" reads standard input. Each GET
                     answered 200, 206 or 304 is an "open", at the line's own
                     time, by the client's address, of the path. Several ranges
                     (206) of one file by one client are one open, until half an
                     hour has passed without any. What docker compose, kubectl, a
                     container runtime or syslog puts in front of a line is passed
                     over. Lines that cannot be read are counted in skipped_lines,
                     and standard error says why, with the first of each kind.
  --format NAME      common, combined, vhost_combined or json; auto (the default)
                     takes each line for what it is
  --field WHAT=NAME  where a JSON line has its time, client, forwarded, request,
                     method, target, status, agent or sampled (one line of so
                     many is there): the name of a member, or names with points
                     between them. May be given for each of them. The names that
                     nginx, Caddy, Traefik, Envoy and Cloudflare use are known.
  --client-from peer|forwarded
                     who the client is: the address that connected, or what
                     X-Forwarded-For says (in JSON, or behind the agent), counted
                     from the right over trusted proxies. Without it, it is the
                     peer, or a list of addresses that stands in front of the line.
  --trusted-proxy NETWORK
                     a network of trusted proxies, such as 203.0.113.0/24; may be
                     given more than once. Without it, loopback, private,
                     link-local and shared addresses are.
  --keep-query       a page with another query is another content
  --trim-slash       /a/ and /a are one content
  --only PATTERN     only paths of this pattern, in which * stands for any
                     characters; may be given more than once
  --skip PATTERN     no paths of this pattern, likewise
  --no-bots          leave out, and count, crawlers, probes and libraries, by
                     their agent, and lines without one
  --follow           go on reading as the log grows, over its rotation or
                     truncation, until interrupted. Without --once it begins with
                     what is there.
  --once DIR         remember in DIR what was sent, and go on behind it the next
                     time, also where the log was renamed or compressed
                     meanwhile. Over TCP a queue in DIR sees to it that after a
                     kill no line is sent twice and none is left out; over UDP
                     lines of the last second before a kill are sent again.

`

// emitLogOptions say how a log is to be read.
type emitLogOptions struct {
	path     string // empty without --log
	format   accesslog.Format
	fields   map[string]string
	clients  accesslog.Clients
	targets  accesslog.Targets
	paths    accesslog.Paths
	noBots   bool
	follow   bool
	once     string // directory, empty without
	formatBy string
	from     string
}

// emitLogFlags are the flags that go with --log alone.
var emitLogFlags = []string{
	"format", "field", "client-from", "trusted-proxy", "keep-query", "trim-slash", "only", "skip", "no-bots", "follow", "once",
}

// flags adds them to a set.
func (o *emitLogOptions) flags(flags *flag.FlagSet) {
	o.fields = make(map[string]string)
	flags.StringVar(&o.path, "log", "", "")
	flags.StringVar(&o.formatBy, "format", "auto", "")
	flags.StringVar(&o.from, "client-from", "", "")
	flags.StringVar(&o.once, "once", "", "")
	flags.BoolVar(&o.targets.KeepQuery, "keep-query", false, "")
	flags.BoolVar(&o.targets.TrimSlash, "trim-slash", false, "")
	flags.BoolVar(&o.noBots, "no-bots", false, "")
	flags.BoolVar(&o.follow, "follow", false, "")
	flags.Func("field", "", func(text string) error {
		what, name, ok := strings.Cut(text, "=")
		if !ok || name == "" || !slices.Contains(accesslog.FieldNames, what) {
			return fmt.Errorf("it is not WHAT=NAME, with one of %s", strings.Join(accesslog.FieldNames, ", "))
		}
		o.fields[what] = name
		return nil
	})
	flags.Func("trusted-proxy", "", func(text string) error {
		list, err := config.ParseNetworks(text)
		if err != nil || len(list) != 1 {
			return errors.New("it is not a network, such as 203.0.113.0/24")
		}
		o.clients.Trusted = append(o.clients.Trusted, list...)
		return nil
	})
	pattern := func(list *[]string) func(string) error {
		return func(text string) error {
			if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "*") {
				return errors.New("no path is of this pattern: begin it with / or *")
			}
			*list = append(*list, text)
			return nil
		}
	}
	flags.Func("only", "", pattern(&o.paths.Only))
	flags.Func("skip", "", pattern(&o.paths.Skip))
}

// check completes the options.
func (o *emitLogOptions) check(flags *flag.FlagSet) (err error) {
	given := flags.Changed
	if !given("log") {
		for _, name := range emitLogFlags {
			if given(name) {
				return fmt.Errorf("--%s goes with --log", name)
			}
		}
		return nil
	}
	if o.format, err = accesslog.ParseFormat(o.formatBy); err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	switch o.from {
	case "":
	case "peer":
		o.clients.From = accesslog.FromPeer
	case "forwarded":
		o.clients.From = accesslog.FromForwarded
	default:
		return fmt.Errorf("--client-from %q is neither peer nor forwarded", o.from)
	}
	switch {
	case len(o.fields) > 0 && o.format != accesslog.JSON && o.format != accesslog.Auto:
		return fmt.Errorf("--field is for JSON lines, and --format is %v", o.format)
	case given("trusted-proxy") && o.from == "peer":
		return errors.New("--trusted-proxy goes with --client-from forwarded, not with peer")
	case given("once") && o.once == "":
		return errors.New("--once names no directory")
	case given("once") && given("queue"):
		return errors.New("--once and --queue exclude each other: --once keeps a queue in its own directory")
	case o.path == "-" && (o.follow || o.once != ""):
		return errors.New("--follow and --once are for a file; standard input cannot be resumed, and ends when it ends")
	}
	if len(o.clients.Trusted) == 0 {
		o.clients.Trusted = accesslog.TrustedDefault
	}
	return nil
}

// queue is the directory of the queue that --once keeps, empty where it keeps none.
func (o *emitLogOptions) queue(network string) string {
	if o.once == "" || network == "udp" {
		return ""
	}
	return once.Queue(o.once)
}
