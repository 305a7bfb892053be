package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/certs"
	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/cmd/lectern/internal/ops"
	"github.com/lectern/lectern/cmd/lectern/internal/page"
	"github.com/lectern/lectern/cmd/lectern/internal/takeover"
	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/live"
	"github.com/lectern/lectern/storage/parquet"
	"github.com/lectern/lectern/storage/pipeline"
	"github.com/lectern/lectern/storage/spool"
)

const serveHelp = `Receive read events, count them, and store what was counted.

Usage:

  lectern serve [--config FILE]

Without --config it reads ./config.toml, and where there is none the built-in
defaults serve. "lectern check" says what they are.

SIGTERM or SIGINT ends it: it accepts no more, gives its clients their last ack,
reads its sockets dry, makes the last cut, and leaves when the last block is
stored, at the latest after stop.grace. After SIGTERM it first goes on reading
for stop.drain_time, of which the last stop.unready_time as not ready; a second
signal ends that. Any other second signal ends it at once: what was acknowledged
is safe. It goes on when nobody reads its standard error.

SIGHUP has the configuration read again, and so has a change of its file, or of a
file that it names, within seconds: streams and their shares, certificates, salts
and the log's level are taken, all other changes are named in the log and wait for
a restart. With a mistake in it all stays as it is.

Exit status: 0 when everything was stored, or is in the spool for the next start;
1 when it could not start, or lost what was not acknowledged; 2 when the
arguments make no sense.
`

// runServe is `lectern serve`: it works until ctx ends.
func (p *process) runServe(ctx context.Context, args []string) int {
	return p.launch("serve", serveHelp, args, func(l *launch) error {
		if soft := limitMemory(&l.config, p.environ, memlimit.FromCgroup, l.logger); soft > 0 {
			running, stop := context.WithCancel(context.Background()) // until the end of the stop
			defer stop()
			go keepHeap(running, soft)
		}
		d := &daemon{config: &l.config, logger: l.logger, set: metrics.NewSet(), manager: newServiceManager(os.Getenv, l.logger)}
		d.set.RegisterMetricsWriter(l.output.writeMetrics)
		d.reloader = newReloader(d, &l.config, l.read, l.level)
		return d.serve(ctx, l.hangups)
	})
}

// daemon is what runs between the start and the end of serve.
type daemon struct {
	config    *config.Config
	logger    *slog.Logger
	set       *metrics.Set
	spool     *spool.Spool
	store     storage.Store
	files     *parquet.Store // the same, where it is that one
	gatherer  *pipeline.Gatherer
	collector *collector.Collector
	heir      *takeover.Heir
	salts     salts
	keys      streamKeys
	certs     *certs.Store // nil without TLS
	reloader  *reloader
	ops       *ops.Server
	page      *page.Page
	manager   *serviceManager
	readers   *live.Readers // of this moment; nil: they are not followed
}

// serve runs the daemon until ctx ends or it fails. What was counted until then
// is stored, or in the spool, before it returns.
func (d *daemon) serve(ctx context.Context, hangups <-chan os.Signal) error {
	c, logger := d.config, d.logger
	// What may fail is first, and nothing is received before all of it is there.
	d.ops = ops.New(ops.Options{
		Address: c.Ops.Address, SharePort: c.Listen.SharePort, Hosts: c.Ops.Hosts(), TokenFile: c.Ops.TokenFile, ConnectionsMax: config.OpsConnectionsMax,
		Version: buildVersion(), Metrics: d.set, Logger: logger,
	})
	if err := d.ops.Listen(); err != nil {
		return err
	}
	defer d.ops.Close()
	d.salts.dir, d.salts.logger = c.Spool.Dir, logger
	if err := d.salts.load(c.Streams.SaltFile); err != nil {
		return err
	}
	d.keys.logger = logger
	if err := d.keys.load(c); err != nil {
		return err
	}
	d.set.RegisterMetricsWriter(d.keys.writeMetrics)
	if c.TLS.Address != "" {
		var err error
		if d.certs, err = certs.Open(certFiles(c)); err != nil {
			return err
		}
	}
	d.followReaders()
	recovered, elders, err := d.openStorage(ctx)
	if err != nil {
		return err
	}
	d.showReaders()
	d.collector = d.newCollector(recovered)
	d.collector.SetConfig(c.Hash())
	d.heir = takeover.New(takeover.Options{
		Dir: c.Spool.Dir, Spool: d.spool, SizeMax: int64(c.Spool.SizeMax), Elders: elders,
		Collector: d.collector, Open: d.openStoreBeside, Metrics: d.set, Logger: logger,
	})
	alone := d.heir.TakeOver()
	if err := d.collector.Start(); err != nil {
		d.heir.Close()
		return errors.Join(err, d.closeStorage(ctx))
	}
	d.page = d.newPage()
	d.ops.Handle(d.page.Handlers())
	d.ops.Start(told{d.collector, d})
	if d.certs != nil {
		logger.Info("clients of TLS are taken", "address", d.collector.TLSAddress(), "certificate_not_after", d.certs.NotAfter(), "client_certificates", c.TLS.ClientCA != "")
	}
	logger.Info("lectern is ready", "events", d.collector.Address(), "operations", d.ops.Address(),
		"loops", c.Loops(), "store", storeName(c), "spool", d.spool.Dir(), "collector", fmt.Sprintf("%016x", d.spool.Collector()), "version", buildVersion())
	if !alone && len(elders) > 0 {
		logger.Info("another daemon is on the spool; clients of TCP that it may know wait until it has gone", "spool", elders)
	}

	d.manager.ready()
	defer d.watched()()
	err = d.work(ctx, hangups)
	d.manager.stopping(c.Stop.Grace)
	if err == nil {
		err = d.drain(ctx)
	}
	return errors.Join(err, d.stop())
}

// newCollector is the collector that the configuration asks for. It knows what was
// recovered.
func (d *daemon) newCollector(recovered *spool.Recovered) *collector.Collector {
	c, l := d.config, &d.config.Limits
	var secure *collector.TLS
	if d.certs != nil {
		secure = &collector.TLS{Address: c.TLS.Address, Config: d.certs.Config, ConnectionsMax: c.TLS.ConnectionsMax}
	}
	return collector.New(collector.Options{
		Address: c.Listen.Address, SharePort: c.Listen.SharePort, Loops: c.Loops(), ReceiveBuffer: c.Listen.ReceiveBuffer, TLS: secure,
		CutInterval: c.Window.AckInterval, LateMax: c.Window.LateMax, FutureMax: c.Window.FutureMax,
		KeysMax: l.KeysMax, SourcesMax: l.SourcesMax, AddressSourcesMax: l.AddressSourcesMax,
		NamesAMinute: l.NamesAMinute, NamesMemory: l.NamesMemory,
		SourceIdleMax: l.SourceIdleMax, SessionIdleMax: l.SessionIdleMax,
		ConnectionsMax: l.ConnectionsMax, ConnectionIdleMax: l.ConnectionIdleMax, CreditMax: l.CreditMax,
		Streams: streamsOf(c, &d.keys), Salt: d.salts.of, Spool: d.spool.ID(), Sources: recovered.Sources, Company: true,
		Sink: d.gatherer, Metrics: d.set, Logger: d.logger,
	})
}

// newPage is the page that the operations server shows of the daemon.
func (d *daemon) newPage() *page.Page {
	return page.New(page.Options{
		Daemon: d.collector, Ready: d.ops.Ready,
		Metrics: func(w io.Writer) {
			d.set.WritePrometheus(w)
			metrics.WriteProcessMetrics(w)
		},
		Version: buildVersion(), Collector: fmt.Sprintf("%016x", d.spool.Collector()), Store: storeName(d.config),
		Memory: d.config.Memory(), Limit: groupLimit(memlimit.FromCgroup), Clock: time.Now,
	})
}

// certFiles are where the certificates of the TLS port are.
func certFiles(c *config.Config) certs.Files {
	return certs.Files{Certificate: c.TLS.Certificate, Key: c.TLS.Key, ClientCA: c.TLS.ClientCA}
}

// told is the daemon as the operations server tells of it.
type told struct {
	*collector.Collector
	d *daemon
}

// Gone is part of ops.Daemon.
func (t told) Gone() error { return t.d.spool.Present() }

// Unpark is part of ops.Daemon.
func (t told) Unpark() int { return t.d.spool.Unpark() + t.d.heir.Sum((*spool.Spool).Unpark) }

// openStorage opens the spool and the store, and begins to bring to the store
// what the spool holds.
func (d *daemon) openStorage(ctx context.Context) (recovered *spool.Recovered, elders []string, err error) {
	c := d.config
	announceDisk(c, d.logger)
	d.spool, recovered, elders, err = spool.Claim(spool.Options{
		Dir: c.Spool.Dir, SizeMax: int64(c.Spool.SizeMax), Logger: d.logger, Metrics: d.set, Clock: time.Now,
	}, c.Spool.Share)
	if err != nil {
		return nil, nil, err
	}
	if recovered.Seals+recovered.Segments+len(recovered.SetAside) > 0 || recovered.Torn > 0 {
		d.logger.Info("the spool holds what a former process had not stored", "seals", recovered.Seals, "segments", recovered.Segments,
			"sources", len(recovered.Sources), "torn_bytes", recovered.Torn, "set_aside", recovered.SetAside)
	}
	err = d.openStore()
	if err == nil {
		if err = d.checkStore(ctx, d.spool, d.store); err != nil {
			_ = d.store.Close()
		}
	}
	if err != nil {
		_ = d.spool.Close()
		return nil, nil, err
	}
	o := pipeline.GathererOptions{
		Spool: d.spool, Store: d.store,
		FlushInterval: c.Window.FlushInterval, Settle: c.Window.Settle, RowsWaitingMax: c.Limits.RowsWaitingMax, DaysMax: c.Window.DaysMax,
		Recovered: recovered, Metrics: d.set, Logger: d.logger,
	}
	if d.readers != nil {
		o.Watcher = d.readers
	}
	d.gatherer = pipeline.NewGatherer(o)
	return recovered, elders, nil
}

// Flush is part of ops.Daemon.
func (t told) Flush(ctx context.Context) error {
	if err := t.d.gatherer.Bring(ctx, t.d.collector.Cut); err != nil {
		return err
	}
	for {
		err := t.d.heir.Pending()
		if err == nil {
			return nil
		}
		if pauseFor(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}

// Number is part of ops.Daemon.
func (t told) Number() uint64 { return t.d.spool.Collector() }

// closeStorage brings to the store what it takes before ctx ends. The rest stays
// in the spool.
func (d *daemon) closeStorage(ctx context.Context) error {
	return errors.Join(d.gatherer.Close(ctx), d.spool.Close())
}

// work merges what was stored, takes over what others leave, and reads the
// configuration again when it changes, until ctx ends or the collector fails.
func (d *daemon) work(ctx context.Context, hangups <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	if d.files != nil {
		working.Go(func() { d.merge(ctx) })
	}
	working.Go(func() { d.heir.Watch(ctx) })
	working.Go(func() { d.ops.KeepListening(ctx) })
	working.Go(func() { d.page.Run(ctx) })
	working.Go(func() { d.learnNames(ctx) })
	working.Go(func() { d.reloader.watch(ctx, hangups) })
	defer working.Wait()
	defer cancel()
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.collector.Failed():
		return err
	}
}

// drain goes on reading for stop.drain_time after SIGTERM: whoever sends here needs a
// while to send elsewhere. It stays ready at first, since where there is no
// successor, a pod that is not ready is sent nothing more. For the last
// stop.unready_time it is not: only that makes flows move which would stay with
// it until its socket is gone. Where the port is shared, the others get the
// traffic at once, and there is nothing to wait for.
func (d *daemon) drain(ctx context.Context) error {
	next, ok := terminated(ctx)
	if !ok || d.config.Listen.SharePort || d.config.Stop.DrainTime == 0 {
		return nil
	}
	unready := min(d.config.Stop.UnreadyTime, d.config.Stop.DrainTime)
	d.logger.Info("lectern is about to stop: traffic is still read; another signal ends that",
		"drain_time", d.config.Stop.DrainTime, "unready_time", unready)
	if over, err := d.wait(next, d.config.Stop.DrainTime-unready); over || unready == 0 {
		return err
	}
	d.ops.NotReady("draining: what comes is still read, and is to go elsewhere")
	d.logger.Info("lectern is not ready any more, so that traffic goes elsewhere; what comes is still read", "for", unready)
	_, err := d.wait(next, unready)
	return err
}

// wait lets the collector work for so long. It is over before that when another
// signal comes, or the collector fails.
func (d *daemon) wait(next <-chan os.Signal, t time.Duration) (over bool, err error) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false, nil
	case <-next:
		return true, nil
	case err := <-d.collector.Failed():
		return true, err
	}
}

// merge makes one file of each past hour's, every parquet.merge_interval.
func (d *daemon) merge(ctx context.Context) {
	merges, failures := d.set.NewCounter("lectern_parquet_merges_total"), d.set.NewCounter("lectern_parquet_merge_failures_total")
	d.set.NewGauge("lectern_parquet_gone", func() float64 {
		if errors.Is(d.files.Present(), parquet.ErrGone) {
			return 1
		}
		return 0
	})
	tick := time.NewTicker(d.config.Parquet.MergeInterval)
	defer tick.Stop()
	for {
		if err := d.files.Merge(ctx); err == nil {
			merges.Inc()
		} else if ctx.Err() == nil {
			failures.Inc()
			d.logger.Warn("the files of past hours are not merged; it will be tried again", "again_in", d.config.Parquet.MergeInterval, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// stop reads the sockets dry, makes the last cut and stores the last block.
func (d *daemon) stop() error {
	d.logger.Info("lectern is stopping: the last cut is made and stored")
	d.ops.Stopping()
	ctx, cancel := context.WithTimeout(context.Background(), d.config.Stop.Grace-d.config.Stop.DrainTime)
	defer cancel()
	err := d.collector.Stop(ctx)
	if d.heir.Succeeded() {
		// Another daemon stores what is sealed now, and clients wait there until
		// this one releases it.
		d.logger.Info("another daemon takes over")
		cancel()
	}
	d.heir.Close()
	err = errors.Join(err, d.closeStorage(ctx))
	if err == nil {
		d.logger.Info("lectern has stopped: everything that was counted is stored, or in the spool", "kernel_drops", d.collector.KernelDrops())
	}
	return err
}
