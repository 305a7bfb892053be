package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lectern/lectern/internal/load"
	"github.com/lectern/lectern/wire"
)

const benchHelp = `Measure what load this node sustains, and what it loses.

Usage:

  lectern bench [flags]
  lectern bench --to udp://HOST:PORT|tcp://HOST:PORT [--ops http://HOST:PORT] [flags]
  lectern bench --table [--rows N] [flags]

Without --to it starts a daemon of its own on 127.0.0.1, with a spool and a store
in a temporary directory, sends a load to it as fast as it goes, reads its
counters and stops it. With --to it starts nothing and sends to a collector that
is running; its events are counted like all others, so give it a --stream.

  --to URL         the collector: udp:// or tcp://
  --ops URL        its operations server, for what became of the load
  --network udp|tcp|tcp-acks
                   how, without --to (default udp). Over TCP every connection
                   is one source; with acks each frame is on disk at the end
  --acks           wait for acks, with --to tcp://
  --config FILE    limits of the daemon that is started (default: the built-in)
  --dir DIR        where its spool and store are meanwhile (default: a temporary
                   directory); its disk is part of what is measured

The load:

  --events N       events at the most (default 20000000)
  --seconds N      seconds at the most (default 10)
  --rate N         events a second; 0 is as fast as it goes (default 0)
  --frame N        events a frame; 0: as many as fit (default 0)
  --size N         bytes of the largest datagram or frame (default 1400, and
                   32768 over TCP)
  --flows N        sockets, or connections (default 64, and 4 over TCP)
  --sources N      sources, which take turns (default 1000; over TCP, --flows)
  --keys N         pairs of content and user (default 1000000)
  --zipf S         draw keys by a Zipf law with this exponent, above 1 (default:
                   all alike)
  --gso            give the kernel several datagrams of a flow at once (default
                   true)
  --stream N       stream of the events (default 65000)
  --json           one line of JSON in place of the table

CPU time is that of the daemon, all of it: reading, counting, sealing, storing.
Sender and daemon share this machine: for what a loop takes alone, see
docs/PERFORMANCE.md.

With --table it sends nothing: it makes tables of a sample in ClickHouse, at
clickhouse.address of the configuration, with rows such as readers make them who
come, read some pages and go, so that you see how long your questions take and
what rows take on disk. The rows are made inside ClickHouse. Their blocks have
receipts and books, and "lectern books" balances. What was ended at any moment goes
on where it was with the same command. DROP DATABASE ends it.

  --table          make the tables
  --rows N         rows, about (default 500000000: a day of a million readers)
  --days N         days that they are of (default 1)
  --day DATE       the last of them, as 2026-11-28 (default: yesterday)
  --contents N     pieces of content, read by a Zipf law (default 20000)
  --readers N      people that there are (default: one for 20 rows)
  --streams N      streams, from 1 on; three quarters are of the first (default 3)
  --database NAME  the database, made where there is none (default lectern_bench)
  --block N        rows of a block, at the most (default 500000, as a collector's;
                   with more there is less to merge, and the table is made sooner)
  --jobs N         blocks that are made at once (default 2)

A collector that has no room closes its connections: bench connects again and
resends what is not acknowledged. Lost is what was sent and is neither accepted,
refused nor shed, whether the daemon knows of it or not.

Exit status: 0 when the load was sent, whatever was lost; 1 when something failed,
after the figures up to there; 2 when the arguments make no sense.
`

// benchOptions are the arguments of `lectern bench`.
type benchOptions struct {
	to, ops, network, config, dir string
	acks, gso, json               bool
	events, rate                  uint64
	seconds                       float64
	flows                         int
	shape                         load.Shape
}

// benchResult is what a run came to.
type benchResult struct {
	Network    string  `json:"network"`
	Frames     uint64  `json:"frames"`
	Events     uint64  `json:"events"`
	Bytes      uint64  `json:"bytes"`
	Seconds    float64 `json:"seconds"`
	Reconnects int     `json:"reconnects"`
	Counters   bool    `json:"counters"` // what follows is known

	Accepted  uint64  `json:"accepted"`
	Lost      int64   `json:"lost"`    // sent and not accepted, refused or shed
	Unheard   int64   `json:"unheard"` // of those lost: of which the daemon does not know, for want of a beat
	Refused   uint64  `json:"refused"`
	Shed      uint64  `json:"shed"`
	Duplicate uint64  `json:"duplicate"`
	Dropped   uint64  `json:"kernel_drops"`
	CPU       float64 `json:"cpu_seconds"` // of the daemon
}

// runBench is `lectern bench`.
func (p *process) runBench(ctx context.Context, args []string) int {
	flags := newFlags("bench")
	var o benchOptions
	stream, events, rate := 65000, int64(20_000_000), int64(0)
	flags.StringVar(&o.to, "to", "", "")
	flags.StringVar(&o.ops, "ops", "", "")
	flags.StringVar(&o.network, "network", "udp", "")
	flags.BoolVar(&o.acks, "acks", false, "")
	flags.StringVar(&o.config, "config", "", "")
	flags.StringVar(&o.dir, "dir", "", "")
	flags.Int64Var(&events, "events", events, "")
	flags.Float64Var(&o.seconds, "seconds", 10, "")
	flags.Int64Var(&rate, "rate", 0, "")
	flags.IntVar(&o.shape.Events, "frame", 0, "")
	flags.IntVar(&o.shape.Size, "size", 0, "")
	flags.IntVar(&o.flows, "flows", 0, "")
	flags.IntVar(&o.shape.Sources, "sources", 0, "")
	flags.IntVar(&o.shape.Keys, "keys", 1_000_000, "")
	flags.Float64Var(&o.shape.Zipf, "zipf", 0, "")
	flags.BoolVar(&o.gso, "gso", true, "")
	flags.IntVar(&stream, "stream", stream, "")
	flags.BoolVar(&o.json, "json", false, "")
	var table benchTable
	table.flags(flags)
	if code, done := p.parse(flags, args, benchHelp); done {
		return code
	}
	if table.wanted {
		return p.benchTable(ctx, flags, o.config, &table, o.json)
	}
	if stream < 0 || stream >= wire.StreamReserved || events < 1 || rate < 0 || o.seconds <= 0 || o.seconds > 86400 {
		return p.usage("bench", errors.New("--stream is 0 to 65534, --events at least 1, --rate at least 0, --seconds above 0 and at most 86400"))
	}
	o.shape.Stream, o.events, o.rate = uint16(stream), uint64(events), uint64(rate)
	if err := o.complete(); err != nil {
		return p.usage("bench", err)
	}
	r, err := o.run(ctx)
	code := 0
	if r.Frames > 0 { // whatever went wrong behind it
		text := r.table()
		if o.json {
			line, _ := json.Marshal(r) // plain numbers always marshal
			text = string(line) + "\n"
		}
		code = p.print("bench", text)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted before all was sent")
	}
	if err != nil {
		return p.fail("bench", err)
	}
	return code
}

// complete fills in what was not said, and checks the rest.
func (o *benchOptions) complete() error {
	if o.to != "" {
		network, address, err := parseTo(o.to)
		if err != nil {
			return err
		}
		o.network, o.to = network, address
	}
	if o.network == "tcp-acks" {
		o.network, o.acks = "tcp", true
	}
	if o.network != "udp" && o.network != "tcp" {
		return fmt.Errorf("--network %q is none of udp, tcp and tcp-acks", o.network)
	}
	if o.acks && o.network == "udp" {
		return errors.New("--acks is for TCP: nothing is acknowledged over UDP")
	}
	or := func(v *int, udp, tcp int) {
		if *v == 0 {
			if *v = udp; o.network == "tcp" {
				*v = tcp
			}
		}
	}
	or(&o.flows, 64, 4)
	or(&o.shape.Sources, 1000, o.flows)
	or(&o.shape.Size, wire.DatagramSizeDefault, 32768)
	if o.flows < 1 || o.flows > 10_000 {
		return fmt.Errorf("--flows %d is outside of 1 to 10000", o.flows)
	}
	if o.network == "tcp" && o.shape.Sources != o.flows {
		return errors.New("over TCP every connection is one source: leave --sources out")
	}
	_, err := load.NewMaker(o.shape)
	return err
}

// run starts a daemon where none was named, and sends the load.
func (o *benchOptions) run(ctx context.Context) (r benchResult, err error) {
	if o.to == "" {
		d, err := o.startDaemon(ctx)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, d.stop()) }()
		o.to, o.ops = d.address, "http://"+d.ops
	}
	// Keys that the seed has drawn before would be there already.
	o.shape.Seed = uint64(time.Now().UnixNano())
	m, err := load.NewMaker(o.shape)
	if err != nil {
		return r, err
	}
	var before map[string]float64
	if o.ops != "" {
		if before, err = o.counters(ctx); err != nil {
			return r, err
		}
	}
	r.Network = o.network
	began := time.Now()
	beats := func() error { return nil } // over TCP nothing is lost in silence
	if o.network == "udp" {
		var u *load.UDP
		if u, err = o.sendUDP(ctx, m); u != nil {
			defer u.Close()
			beats = func() error { return sendBeats(ctx, u, m) }
		}
	} else {
		r.Reconnects, err = o.sendTCP(ctx, m)
	}
	r.Frames, r.Events, r.Bytes, r.Seconds = m.Frames, m.Events, m.Bytes, time.Since(began).Seconds()
	if o.ops == "" || ctx.Err() != nil {
		return r, err
	}
	after, unread := o.settled(ctx, beats, before[eventsSent]+float64(m.Events))
	if unread != nil {
		return r, errors.Join(err, unread)
	}
	r.Frames, r.Bytes = m.Frames, m.Bytes // with the beats since
	return r, errors.Join(err, r.count(before, after))
}

// eventsSent is the counter of what the daemon knows to have been sent.
const eventsSent = "lectern_events_sent_total"

// count takes the counters of the daemon, before and after. The error says that
// they are not of this load alone.
func (r *benchResult) count(before, after map[string]float64) error {
	since := func(name string) int64 { return int64(after[name] - before[name]) }
	r.Counters = true
	r.Accepted, r.Refused = uint64(since("lectern_events_accepted_total")), uint64(since("lectern_events_refused_total"))
	r.Shed, r.Duplicate = uint64(since("lectern_events_shed_total")), uint64(since("lectern_events_duplicate_total"))
	r.Dropped = uint64(since("lectern_udp_kernel_drops_total"))
	r.CPU = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
	// What was sent is known here: of what is in none of the daemon's counters,
	// no later frame of its source and no beat came through.
	r.Lost = int64(r.Events) - int64(r.Accepted+r.Refused+r.Shed)
	r.Unheard = int64(r.Events) - since(eventsSent)
	if r.Unheard < 0 {
		return fmt.Errorf("the daemon knows of %d events more than were sent: others send to it, and the figures are of all", -r.Unheard)
	}
	return nil
}

// benchStep is how many events are sent between two looks at the clock.
const benchStep = 4096

// each calls send with a number of frames, again and again, until the load is sent.
func (o *benchOptions) each(ctx context.Context, m *load.Maker, send func(frames int) error) error {
	began := time.Now()
	step := max(1, benchStep/m.PerFrame())
	for m.Events < o.events && ctx.Err() == nil {
		passed := time.Since(began).Seconds()
		if passed >= o.seconds {
			break
		}
		if due := passed * float64(o.rate); o.rate > 0 && float64(m.Events) > due {
			time.Sleep(time.Duration((float64(m.Events) - due) / float64(o.rate) * 1e9))
			continue
		}
		m.Tick(time.Now())
		left := (o.events - m.Events + uint64(m.PerFrame()) - 1) / uint64(m.PerFrame())
		if err := send(int(min(uint64(step), left))); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sendUDP sends the load, and returns what sends for the beats that follow.
func (o *benchOptions) sendUDP(ctx context.Context, m *load.Maker) (*load.UDP, error) {
	resolved, err := net.ResolveUDPAddr("udp", o.to)
	if err != nil {
		return nil, err
	}
	address := resolved.AddrPort()
	u, err := load.DialUDP(netip.AddrPortFrom(address.Addr().Unmap(), address.Port()), load.UDPOptions{Flows: o.flows, Burst: 16, GSO: o.gso})
	if err != nil {
		return nil, err
	}
	// A million opening beats at once would overrun the buffer and be lost.
	if err := sendBeats(ctx, u, m); err != nil {
		return u, err
	}
	if err := o.each(ctx, m, func(n int) error { return u.Send(m, n) }); err != nil {
		return u, err
	}
	for range 3 {
		if err := pauseFor(ctx, 50*time.Millisecond); err != nil {
			return u, err
		}
		if err := sendBeats(ctx, u, m); err != nil {
			return u, err
		}
	}
	if u.Refused() > 0 {
		return u, fmt.Errorf("%d sends to udp://%s were refused; is a collector listening there?", u.Refused(), o.to)
	}
	return u, nil
}

// sendBeats sends a beat of each source, not faster than a small buffer holds.
func sendBeats(ctx context.Context, u *load.UDP, m *load.Maker) error {
	for from := 0; from < m.Sources(); from += 100 {
		if err := u.Beats(m, from, min(from+100, m.Sources())); err != nil {
			return err
		}
		if err := pauseFor(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// pauseFor waits for so long, or returns the error of a context that ends before.
func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sendTCP sends the load, and says how often a connection had to be made again.
func (o *benchOptions) sendTCP(ctx context.Context, m *load.Maker) (reconnects int, err error) {
	t, err := load.DialTCP(ctx, o.to, o.flows, o.acks, m)
	if err != nil {
		return 0, err
	}
	if err := o.each(ctx, m, func(n int) error { return t.Send(ctx, n) }); err != nil {
		t.Close()
		return t.Reconnects, err
	}
	err = t.Finish(ctx)
	return t.Reconnects, err
}

// settleMax bounds the wait for beats on a machine that is busy with others.
const settleMax = 30 * time.Second

// settled reads the counters when they have stopped to move and the daemon knows
// of all that was sent. While it does not, beats tell it again, until settleMax.
func (o *benchOptions) settled(ctx context.Context, beats func() error, sent float64) (map[string]float64, error) {
	began := time.Now()
	var last map[string]float64
	for {
		now, err := o.counters(ctx)
		if err != nil {
			return nil, err
		}
		known := now[eventsSent] >= sent
		const moves = "lectern_received_bytes_total"
		still := last != nil && last[moves] == now[moves] && now["lectern_rows_waiting"] <= last["lectern_rows_waiting"]
		if still && known || time.Since(began) > settleMax {
			return now, nil
		}
		if last = now; !known {
			if err := beats(); err != nil {
				return nil, err
			}
		}
		if err := pauseFor(ctx, 300*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// counters reads the daemon's metrics, those with labels added up.
func (o *benchOptions) counters(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	text, err := ask(ctx, http.MethodGet, strings.TrimSuffix(o.ops, "/")+"/metrics", "")
	if err != nil {
		return nil, fmt.Errorf("read the daemon's counters; check --ops %s: %w", o.ops, err)
	}
	values := make(map[string]float64)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		name, _, _ := strings.Cut(line[:max(0, strings.LastIndexByte(line, ' '))], "{")
		if v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64); err == nil && name != "" && line[0] != '#' {
			values[name] += v
		}
	}
	return values, nil
}

func (r *benchResult) table() string {
	t := table{left: 1}
	add := func(name, value, note string) {
		if note == "" {
			t.add(name, value)
		} else {
			t.add(name, value, " "+note)
		}
	}
	per := func(n uint64) string { return fmt.Sprintf("%.0f", float64(n)/r.Seconds) }
	add("over", r.Network, "")
	add("seconds", fmt.Sprintf("%.2f", r.Seconds), "")
	add("frames sent", number(r.Frames), per(r.Frames)+" a second")
	add("events sent", number(r.Events), per(r.Events)+" a second")
	add("bytes sent", number(r.Bytes), per(r.Bytes)+" a second")
	if r.Reconnects > 0 {
		add("reconnects", number(uint64(r.Reconnects)), "the collector had no room")
	}
	if r.Counters {
		add("accepted", number(r.Accepted), per(r.Accepted)+" a second")
		add("lost", number(r.Lost), fmt.Sprintf("%.3f %%", 100*float64(r.Lost)/float64(max(1, r.Events))))
		if r.Unheard > 0 {
			add("  unheard of", number(r.Unheard), "of those lost: no beat has told the daemon")
		}
		add("shed", number(r.Shed), "")
		add("refused", number(r.Refused), "")
		add("duplicate", number(r.Duplicate), "")
		add("kernel drops", number(r.Dropped), "buffers")
		add("daemon's CPU", fmt.Sprintf("%.2f", r.CPU), "seconds")
		if r.Accepted > 0 {
			add("CPU an event", fmt.Sprintf("%.0f", r.CPU*1e9/float64(r.Accepted)), "ns of those accepted")
		}
	}
	return t.String()
}

// benchDaemon is a daemon that was started for the measurement.
type benchDaemon struct {
	command      *exec.Cmd
	dir          string
	address, ops string
	ended        chan error
}

var benchReady = regexp.MustCompile(`msg="lectern is ready" events=(\S+) operations=(\S+)`)

// startDaemon starts this program's serve on loopback.
func (o *benchOptions) startDaemon(ctx context.Context) (*benchDaemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.dir, "lectern-bench")
	if err != nil {
		return nil, err
	}
	args := []string{"serve"}
	if o.config != "" {
		path, err := filepath.Abs(o.config)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		args = append(args, "--config", path)
	}
	d := &benchDaemon{command: exec.Command(self, args...), dir: dir, ended: make(chan error, 1)}
	d.command.Dir = dir
	d.command.Env = append(os.Environ(), "LECTERN_LISTEN_ADDRESS=127.0.0.1:0", "LECTERN_OPS_ADDRESS=127.0.0.1:0",
		"LECTERN_PARQUET_DIR="+filepath.Join(dir, "parquet"), "LECTERN_SPOOL_DIR="+filepath.Join(dir, "spool"),
		"LECTERN_LOG_FORMAT=text", "LECTERN_LOG_LEVEL=info")
	if runtime.GOOS == "linux" && o.config == "" {
		// As many sources as the load has, all from one address.
		d.command.Env = append(d.command.Env, fmt.Sprintf("LECTERN_LIMITS_SOURCES_MAX=%d", max(100_000, 2*o.shape.Sources)),
			fmt.Sprintf("LECTERN_LIMITS_ADDRESS_SOURCES_MAX=%d", max(10_000, 2*o.shape.Sources)))
	}
	log, err := d.command.StderrPipe()
	if err == nil {
		err = d.command.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ready, said := make(chan []string, 1), ""
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if m := benchReady.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m[1:]
			} else if !strings.Contains(lines.Text(), "level=INFO") {
				said += lines.Text() + "\n"
			}
		}
		err := d.command.Wait()
		if err != nil {
			err = fmt.Errorf("the daemon ended: %w\n%s", err, strings.TrimSpace(said))
		}
		d.ended <- err
	}()
	select {
	case m := <-ready:
		d.address, d.ops = m[0], m[1]
		return d, nil
	case err := <-d.ended:
		d.ended <- err
	case <-ctx.Done():
	}
	return nil, errors.Join(errors.New("the daemon could not start"), d.stop())
}

// stop ends the daemon and removes what it wrote.
func (d *benchDaemon) stop() error {
	_ = d.command.Process.Signal(syscall.SIGTERM)
	var err error
	select {
	case err = <-d.ended:
	case <-time.After(time.Minute):
		_ = d.command.Process.Kill()
		err = errors.New("the daemon did not end within a minute, and was killed")
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}
