package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/cmd/lectern/internal/edge"
	"github.com/lectern/lectern/cmd/lectern/internal/ops"
	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/emit"
)

const edgeHelp = `Take read events from browsers and proxies, and bring them to a collector.

Usage:

  lectern edge [--config FILE]

It reads the section [edge] and the streams of the configuration that "lectern
serve" has. What it takes is kept in queues on disk until the collector has
acknowledged it, each event once, whatever is killed.

SIGTERM or SIGINT ends it: it takes no more, and sends what waits, for stop.grace
at most; the rest stays in the queues for the next start. A second signal ends it
at once, and loses nothing that was answered.

Exit status: 0 when it ended as told; 1 when it could not start, or cannot go on; 2
when the arguments make no sense.
`

// Go collects garbage when there is as much as edgeGarbage percent of all else. An edge
// with many pages has much else, which hardly changes: it would keep as much again for
// garbage. One with few pages has next to nothing, and would collect many times a second:
// edgeBallast is memory that is never touched, and so never taken.
const (
	edgeGarbage = 25
	edgeBallast = 32 << 20
)

// runEdge is `lectern edge`: it works until ctx ends.
func (p *process) runEdge(ctx context.Context, args []string) int {
	return p.launch("edge", edgeHelp, args, func(l *launch) error {
		limitEdgeMemory(&l.config, p.environ, memlimit.FromCgroup, l.logger)
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(edgeGarbage)
		}
		ballast := make([]byte, edgeBallast)
		defer runtime.KeepAlive(ballast)
		return runEdgeUntil(ctx, &l.config, l.logger, l.output)
	})
}

func runEdgeUntil(ctx context.Context, c *config.Config, logger *slog.Logger, output *logOutput) error {
	set := metrics.NewSet()
	set.RegisterMetricsWriter(output.writeMetrics)
	server := ops.New(ops.Options{
		Address: c.Edge.OpsAddress, Hosts: c.Ops.Hosts(), ConnectionsMax: config.OpsConnectionsMax,
		Version: buildVersion(), Metrics: set, Logger: logger,
	})
	if err := server.Listen(); err != nil {
		return err
	}
	defer server.Close()
	o, err := edgeOptions(c, logger)
	if err != nil {
		return err
	}
	o.Metrics = set
	e, err := edge.Open(o)
	if err != nil {
		return err
	}
	e.Start()
	server.Start(edgeOps{e})
	logger.Info("the edge is ready", "pages", e.Address(), "operations", server.Address(), "collector", c.Edge.Collector,
		"streams", len(o.Streams), "queues", c.Edge.Dir, "version", buildVersion())
	<-ctx.Done()
	logger.Info("the edge is stopping: what waits is sent")
	server.Stopping()
	end, cancel := context.WithTimeout(context.Background(), c.Stop.Grace)
	defer cancel()
	if err := e.Close(end); err != nil {
		logger.Warn("not all was acknowledged", "error", err)
	}
	logger.Info("the edge has stopped", "waiting", e.Waiting())
	return nil
}

// edgeOptions is what the configuration says of an edge.
func edgeOptions(c *config.Config, logger *slog.Logger) (edge.Options, error) {
	salts := &salts{dir: c.Edge.Dir, logger: logger}
	if err := os.MkdirAll(c.Edge.Dir, 0o700); err != nil {
		return edge.Options{}, fmt.Errorf("cannot make the directory of the queues; check edge.dir: %w", err)
	}
	if err := salts.load(c.Streams.SaltFile); err != nil {
		return edge.Options{}, err
	}
	rules, err := edgeRules(&c.Edge)
	if err != nil {
		return edge.Options{}, err
	}
	pushes, err := edgePushes(&c.Edge, logger)
	if err != nil {
		return edge.Options{}, err
	}
	return edge.Options{
		Address: c.Edge.Address, ConnectionsMax: c.Edge.ConnectionsMax, Demo: c.Edge.Demo, Relay: c.Edge.Relay, Syslog: edgeSyslog(c), Pushes: pushes, Dir: c.Edge.Dir, Streams: edgeStreams(c), Proxies: c.Edge.Proxies(),
		Salt:     func(day int64) edge.Salt { return edge.Salt(salts.of(day)) },
		PagesMax: c.Edge.PagesMax, PageIdleMax: c.Edge.PageIdleMax,
		BudgetRate: c.Edge.BudgetRate, BudgetBurst: c.Edge.BudgetBurst, Rules: rules,
		Dial:   func(s *edge.Stream, dir string) (edge.Queue, error) { return dialEdge(c, s, dir, logger) },
		Logger: logger, Now: time.Now,
	}, nil
}

// dialEdge opens the queue of a stream, and connects to the collector in the
// background.
func dialEdge(c *config.Config, s *edge.Stream, dir string, logger *slog.Logger) (*emit.TCP, error) {
	o := emit.Options{
		Stream: s.Number, Queue: dir, BufferSize: c.Edge.QueueSize, OnFull: emit.Fail, Background: true,
		SourceEnded: func(err *emit.SourceEndedError) {
			logger.Error("the collector forgot what was sent to it", "stream", s.Name, "error", err)
		},
	}
	if i := slices.IndexFunc(c.Named, func(named config.Stream) bool { return named.Name == s.Name }); i >= 0 && c.Named[i].KeyFile != "" {
		o.KeyFile, o.Audience = c.Named[i].KeyFile, c.Edge.Audience
	}
	address, secure := strings.CutPrefix(c.Edge.Collector, "tls://")
	if !secure {
		return emit.DialTCP(context.Background(), address, o)
	}
	config, err := (&emitTLS{ca: c.Edge.TLSCA, certificate: c.Edge.TLSCert, key: c.Edge.TLSKey, named: "edge.tls_"}).config()
	if err != nil {
		return nil, err
	}
	return emit.DialTLS(context.Background(), address, config, o)
}

// edgeStreams are the streams that an edge takes.
func edgeStreams(c *config.Config) []edge.Stream {
	if len(c.Named) == 0 {
		return []edge.Stream{{Name: "default"}}
	}
	identities := map[string]edge.Identity{"account": edge.Account, "daily": edge.Daily, "none": edge.None}
	var all []edge.Stream
	for _, s := range c.Named {
		one := edge.Stream{Name: s.Name, Number: uint16(s.Number), Identity: identities[s.Readers]}
		one.Origins = splitList(s.Origins)
		all = append(all, one)
	}
	return all
}

// edgeSyslog says where the lines of proxies come in. Where there is one stream, they
// are its own.
func edgeSyslog(c *config.Config) edge.Syslog {
	if c.Edge.Syslog == "" {
		return edge.Syslog{}
	}
	o := edge.Syslog{Listen: strings.Split(c.Edge.Syslog, ","), Stream: c.Edge.SyslogStream}
	if streams := edgeStreams(c); o.Stream == "" && len(streams) == 1 {
		o.Stream = streams[0].Name
	}
	o.Format, _ = accesslog.ParseFormat(c.Edge.SyslogFormat) // one of its words
	o.Paths.Skip = splitList(c.Edge.SyslogSkip)
	return o
}

// splitList are the parts of a list with commas between them, of which the
// configuration has seen to it that there are no blanks; none of an empty one.
func splitList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func edgeRules(c *config.Edge) (edge.Rules, error) {
	modes := map[string]edge.Mode{"refuse": edge.Refuse, "shadow": edge.Shadow, "off": edge.Off}
	rules := edge.Rules{
		Origin: modes[c.Origins], Bot: modes[c.Bots], Preview: modes[c.Previews], DataCenter: modes[c.DataCenters], Budget: modes[c.Budgets],
	}
	var err error
	if c.DataCenterFile != "" {
		rules.DataCenters, err = readNetworks(c.DataCenterFile)
	}
	return rules, err
}

// networkFileMax is the longest file of networks that is read.
const networkFileMax = 4 << 20

func readNetworks(path string) ([]netip.Prefix, error) {
	text, err := readShort(path, networkFileMax)
	var list []netip.Prefix
	if err == nil {
		list, err = config.ParseNetworks(string(text))
	}
	if err != nil {
		return nil, fmt.Errorf("read edge.data_center_file %s: %w", path, err)
	}
	return list, nil
}

// edgeOps is an edge as the operations server tells of it.
type edgeOps struct{ *edge.Edge }

// Gone is part of ops.Daemon.
func (e edgeOps) Gone() error { return e.Healthy() }

// Full is part of ops.Daemon: pages are told to come again, and no other edge could
// take more while the collector is away.
func (edgeOps) Full() bool { return false }

// SinceHeartbeat is part of ops.Daemon: an edge has no loops that could hang.
func (edgeOps) SinceHeartbeat() time.Duration { return 0 }

// Unpark is part of ops.Daemon: nothing is parked here.
func (edgeOps) Unpark() int { return 0 }

// Flush is part of ops.Daemon: an edge stores nothing.
func (edgeOps) Flush(context.Context) error {
	return errors.New("an edge has no store: ask the daemons that it sends to")
}

// Number is part of ops.Daemon.
func (edgeOps) Number() uint64 { return 0 }

// WorstSources is part of ops.Daemon: what an edge sends, its collector knows.
func (edgeOps) WorstSources(int, string) []collector.SourceState { return nil }
