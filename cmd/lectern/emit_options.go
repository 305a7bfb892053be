package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	flag "github.com/spf13/pflag"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

const emitHelp = `Send read events to a Lectern collector: those of an access log, or made-up ones.

Usage:

  lectern emit --to URL --log FILE [flags]
  lectern emit --to URL --events N [flags]

Where to:

  --to URL           the collector, as udp://HOST:PORT (fire and forget),
                     tcp://HOST:PORT (waits until the collector has acknowledged
                     everything: it is on its disk then, and counted once;
                     connects again when the connection is lost) or
                     tls://HOST:PORT (the same over TLS 1.3, at its tls.address)
  --tls-ca FILE      believe collectors whose certificates were signed by those in
                     FILE (PEM), in place of those that the system knows
  --tls-cert FILE    show the collector the certificate in FILE, for which
  --tls-key FILE     is the key; both are read again at each connection
  --stream N         the application or site, 0 to 65534 (default 0)

` + emitLogHelp + `Made-up readers, who open, read on, finish, and now and then save or share:

  --events N         how many events
  --users N          how many readers there are (default 10000)
  --contents N       how many pieces of content, read by a Zipf law (default 1000)
  --seed N           the same seed gives the same events, but for their times,
                     which are now (default 1)
  --readers N        N readers who are there at once, in place of --users and
                     --rate: each opens something, sends a heartbeat every 10
                     seconds, finishes or leaves, and another takes the place.
                     Events happen as fast as that makes them: N / 10 a second
                     and a few more

How:

  --rate N           events a second; 0 is as fast as it goes (default 0). Over
                     UDP at full speed the collector's socket buffer may
                     overflow. Its books show what was lost; give a rate.
  --datagram-size N  bytes of the largest datagram, 65 to 65507 (default 1400)
  --frame-size N     bytes of the largest frame over TCP, 65 to 65519
                     (default 32768)
  --key-file FILE    seal what is sent with the key in FILE ("lectern keys new"
                     makes one), or in the directory FILE, which has one: the
                     collector knows that it is from here, and over TCP nobody
                     else can acknowledge. It is read again when it changes
  --audience NAME    the collector's listen.audience; needed with --key-file
  --queue DIR        keep in DIR what the collector has not acknowledged: after
                     a kill, or an end without all acknowledged, the next run
                     with the same DIR, --to and --stream sends it first, each
                     event once. The collector may be away, also at the start;
                     when the queue is full, reading waits for it. At the end,
                     what it has acknowledged nothing of for 10 s stays in DIR
                     (not udp://; needs 17 MiB of disk)

The last line on standard output is JSON:

  {"events":N,"recovered":N,"sent":N,"queued":N,"dropped":{"REASON":N,...},
   "frames":N,"bytes":N,"skipped_lines":N,"seconds":S,"log":{…}}

Events of this run and those recovered from the queue are sent, queued for the
next run, or dropped. Over TCP sent means acknowledged; over UDP, that the kernel
took it and nobody has said that it cannot arrive. The reasons: "send_error" (the
kernel did not take the datagram), "unreachable" (the host answered that nobody
listens there; there may be more, since hosts limit how often they answer),
"refused" by the collector, "unsure" (the collector answered what does not fit, and
whether it counted them is not known), "unacknowledged" (it had not acknowledged
them when this run ended). Bytes are those of frames as they were sent: over TCP
a frame that is sent again counts again.

Exit status: 0 when everything was sent, or is in the queue for the next run; 1
when events were dropped, no collector could be reached at the start (without
--queue), more than half of a log's lines could not be read, or it was interrupted
(--follow: with something unsent); 2 when the arguments make no sense.

Examples:

  lectern emit --to udp://127.0.0.1:8420 --log access.log.gz
  lectern emit --to tcp://127.0.0.1:8420 --log access.log --follow --once sent
  kubectl logs -f deploy/web | lectern emit --to tcp://127.0.0.1:8420 --log -
  lectern emit --to udp://127.0.0.1:8420 --events 1000000 --users 50000 --rate 200000
  lectern emit --to udp://127.0.0.1:8420 --events 1000000 --readers 100000
`

// emitOptions are the arguments of `lectern emit`.
type emitOptions struct {
	flags            *flag.FlagSet
	to               string
	network, address string // of to: "udp", "tcp" or "tls", "host:port"
	tls              emitTLS
	log              emitLogOptions
	events           int64
	users, contents  int64
	readers          int64 // who are there at once; 0 for users
	seed             int64
	rate             int64
	stream           int64
	datagramSize     int64
	frameSize        int64
	client           emit.Options
}

func newEmitOptions() *emitOptions {
	o := &emitOptions{flags: newFlags("emit")}
	o.flags.StringVar(&o.to, "to", "", "")
	o.log.flags(o.flags)
	for _, n := range o.numbers() {
		o.flags.Int64Var(n.to, n.name, n.otherwise, "")
	}
	o.tls.flags(o.flags)
	o.flags.StringVar(&o.client.Queue, "queue", "", "")
	o.flags.StringVar(&o.client.KeyFile, "key-file", "", "")
	o.flags.StringVar(&o.client.Audience, "audience", "", "")
	return o
}

// emitNumber is a flag that takes a number.
type emitNumber struct {
	name                      string
	to                        *int64
	otherwise, least, largest int64
}

func (o *emitOptions) numbers() []emitNumber {
	return []emitNumber{
		{"events", &o.events, 0, 1, 1<<48 - 1},
		{"users", &o.users, 10_000, 1, 1<<48 - 1},
		{"contents", &o.contents, 1000, 1, 1<<48 - 1},
		{"seed", &o.seed, 1, 0, 1<<63 - 1},
		{"readers", &o.readers, 0, 1, 100_000_000},
		{"rate", &o.rate, 0, 0, 1e12},
		{"stream", &o.stream, 0, 0, wire.StreamReserved - 1},
		{"datagram-size", &o.datagramSize, emit.DatagramSizeDefault, emit.SizeMin, emit.DatagramSizeMax},
		{"frame-size", &o.frameSize, emit.FrameSizeDefault, emit.SizeMin, emit.FrameSizeMax},
	}
}

// complete checks the arguments, and makes of them what the client library wants.
func (o *emitOptions) complete() (err error) {
	if o.network, o.address, err = parseTo(o.to); err != nil {
		return err
	}
	for _, check := range []func() error{o.checkSources, o.checkLog, o.checkNumbers, o.checkWay} {
		if err := check(); err != nil {
			return err
		}
	}
	if own := o.log.queue(o.network); own != "" {
		o.client.Queue = own
	}
	o.client.Stream = uint16(o.stream)
	if o.network == "udp" {
		o.client.DatagramSize = int(o.datagramSize)
	} else {
		// With a queue nothing is lost while the collector is away, from the start.
		o.client.FrameSize, o.client.Background = int(o.frameSize), o.client.Queue != ""
	}
	return nil
}

// checkSources sees to it that there is one source of events, and that every
// flag belongs to it.
func (o *emitOptions) checkSources() error {
	given := o.flags.Changed
	switch {
	case given("log") && given("events"):
		return errors.New("--log and --events exclude each other")
	case !given("log") && !given("events"):
		return errors.New("nothing to send: give --log FILE or --events N")
	case given("readers") && (given("users") || given("rate")):
		return errors.New("--readers sets the readers and the rate itself: leave --users and --rate out")
	case given("log") && o.log.path == "":
		return errors.New("--log names no file; \"-\" is standard input")
	case given("log"):
		for _, name := range []string{"users", "contents", "seed", "readers"} {
			if given(name) {
				return fmt.Errorf("--%s goes with --events, not with --log", name)
			}
		}
	}
	return nil
}

func (o *emitOptions) checkLog() error { return o.log.check(o.flags) }

func (o *emitOptions) checkNumbers() error {
	for _, n := range o.numbers() {
		if o.flags.Changed(n.name) && (*n.to < n.least || *n.to > n.largest) {
			return fmt.Errorf("--%s %d is outside of %d to %d", n.name, *n.to, n.least, n.largest)
		}
	}
	return nil
}

// checkWay sees to it that every flag belongs to the way to the collector.
func (o *emitOptions) checkWay() error {
	given := o.flags.Changed
	for _, only := range []struct {
		name string
		of   []string
	}{
		{"datagram-size", []string{"udp"}}, {"frame-size", []string{"tcp", "tls"}}, {"queue", []string{"tcp", "tls"}},
		{"tls-ca", []string{"tls"}}, {"tls-cert", []string{"tls"}}, {"tls-key", []string{"tls"}},
	} {
		if given(only.name) && !slices.Contains(only.of, o.network) {
			return fmt.Errorf("--%s is for %s://, and --to is %s://", only.name, strings.Join(only.of, ":// and "), o.network)
		}
	}
	switch {
	case given("tls-cert") != given("tls-key"):
		return errors.New("--tls-cert and --tls-key go together")
	case given("queue") && o.client.Queue == "":
		return errors.New("--queue names no directory")
	case given("key-file") && o.client.KeyFile == "":
		return errors.New("--key-file names no file")
	case given("key-file") != given("audience"):
		return errors.New("--key-file and --audience go together")
	}
	return nil
}

// parseTo takes udp://HOST:PORT apart.
func parseTo(to string) (network, address string, err error) {
	if to == "" {
		return "", "", errors.New("--to is missing: udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT")
	}
	u, err := url.Parse(to)
	if err != nil || !slices.Contains([]string{"udp", "tcp", "tls"}, u.Scheme) {
		return "", "", fmt.Errorf("--to %q is not udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT", to)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case err != nil || port == 0:
		return "", "", fmt.Errorf("--to %q has no port from 1 to 65535", to)
	case u.Hostname() == "":
		return "", "", fmt.Errorf("--to %q has no host", to)
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", "", fmt.Errorf("--to %q has more than a host and a port", to)
	}
	return u.Scheme, net.JoinHostPort(u.Hostname(), u.Port()), nil
}

// open opens the source of events.
func (o *emitOptions) open(stdin io.Reader) (emitSource, error) {
	switch {
	case o.log.path == "" && o.readers > 0:
		return newEmitPresent(o), nil
	case o.log.path == "":
		return newEmitCrowd(o), nil
	}
	return openEmitLog(o, stdin)
}

// dial opens the way to the collector.
func (o *emitOptions) dial(ctx context.Context) (emitter, error) {
	if o.network == "udp" {
		return emit.DialUDP(ctx, o.address, o.client)
	}
	t, err := o.dialTCP(ctx)
	if err != nil || o.client.Queue == "" {
		return t, err
	}
	return &emitQueue{TCP: t}, nil
}
