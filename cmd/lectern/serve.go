package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/parquet"
	"github.com/lectern/lectern/storage/spool"
)

const serveHelp = `Receive read events, count them, and store what was counted.

Usage:

  lectern serve [--config FILE]

Without --config it reads ./config.toml, and where there is none the built-in
defaults serve. "lectern check" says what they are.

SIGTERM or SIGINT ends it: it stops reading, makes the last cut, and leaves when
the last block is stored. A second one ends it at once.

Exit status: 0 when everything was stored, or is in the spool for the next start;
1 when it could not start, or lost what was not acknowledged; 2 when the
arguments make no sense.
`

// stopGrace is how long the last blocks may take to reach the store: less than
// the 30 s after which service managers lose patience.
const stopGrace = 25 * time.Second

// runServe is `lectern serve`: it works until ctx ends.
func (p *process) runServe(ctx context.Context, args []string) int {
	flags := newFlags("serve")
	path := flags.String("config", "", "")
	if code, done := p.parse(flags, args, serveHelp); done {
		return code
	}
	c, ok := p.load(flags, *path)
	if !ok {
		return 1
	}
	if err := serve(ctx, &c, newLogger(&c, p.stderr)); err != nil {
		return p.fail("serve", err)
	}
	return 0
}

func newLogger(c *config.Config, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Log.Level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// daemon is what runs between the start and the end of serve.
type daemon struct {
	config    *config.Config
	logger    *slog.Logger
	set       *metrics.Set
	spool     *spool.Spool
	store     storage.Store
	files     *parquet.Store // the same, where it is that one
	gatherer  *storage.Gatherer
	collector *collector.Collector
	ops       *ops
}

// serve runs the daemon until ctx ends or it fails. What was counted until then
// is stored, or in the spool, before it returns.
func serve(ctx context.Context, c *config.Config, logger *slog.Logger) error {
	d := &daemon{config: c, logger: logger, set: metrics.NewSet()}
	// What may fail is first, and nothing is received before all of it is there.
	listener, err := net.Listen("tcp", c.Ops.Address)
	if err != nil {
		return fmt.Errorf("listen for operations on %s; check ops.address: %w", c.Ops.Address, err)
	}
	defer listener.Close()
	recovered, err := d.openStorage(ctx)
	if err != nil {
		return err
	}
	d.collector = collector.New(collector.Options{
		Address: c.Listen.Address, Loops: c.Loops(), ReceiveBuffer: c.Listen.ReceiveBuffer,
		CutInterval: c.Window.AckInterval, LateMax: c.Window.LateMax, FutureMax: c.Window.FutureMax,
		KeysMax: c.Limits.KeysMax, SourcesMax: c.Limits.SourcesMax,
		SourceIdleMax: c.Limits.SourceIdleMax, SessionIdleMax: c.Limits.SessionIdleMax,
		ConnectionsMax: c.Limits.ConnectionsMax, ConnectionIdleMax: c.Limits.ConnectionIdleMax, CreditMax: c.Limits.CreditMax,
		Sources: recovered.Sources, Sink: d.gatherer, Metrics: d.set, Logger: logger,
	})
	if err := d.collector.Start(); err != nil {
		return errors.Join(err, d.closeStorage(ctx))
	}
	d.ops = startOps(listener, d)
	logger.Info("lectern is ready", "events", d.collector.Address(), "operations", listener.Addr().String(),
		"loops", c.Loops(), "store", storeName(c), "spool", c.Spool.Dir, "collector", fmt.Sprintf("%016x", d.spool.Collector()), "version", buildVersion())

	err = d.work(ctx)
	return errors.Join(err, d.stop())
}

// openStorage opens the spool and the store, and begins to bring to the store
// what the spool holds.
func (d *daemon) openStorage(ctx context.Context) (*spool.Recovered, error) {
	c := d.config
	var recovered *spool.Recovered
	var err error
	d.spool, recovered, err = spool.Open(spool.Options{
		Dir: c.Spool.Dir, SizeMax: int64(c.Spool.SizeMax), Logger: d.logger, Metrics: d.set, Clock: time.Now,
	})
	if err != nil {
		return nil, err
	}
	if recovered.Seals+recovered.Runs+len(recovered.SetAside) > 0 || recovered.Torn > 0 {
		d.logger.Info("the spool holds what a former process had not stored", "seals", recovered.Seals, "runs", recovered.Runs,
			"sources", len(recovered.Sources), "torn_bytes", recovered.Torn, "set_aside", recovered.SetAside)
	}
	err = d.openStore()
	if err == nil {
		if err = d.checkStore(ctx); err != nil {
			_ = d.store.Close()
		}
	}
	if err != nil {
		_ = d.spool.Close()
		return nil, err
	}
	d.gatherer = storage.NewGatherer(storage.GathererOptions{
		Spool: d.spool, Store: d.store,
		FlushInterval: c.Window.FlushInterval, RowsWaitingMax: c.Limits.RowsWaitingMax,
		Recovered: storage.Seal{Window: recovered.Window, Rows: recovered.Rows, Books: recovered.Books}, Through: recovered.Last,
		Metrics: d.set, Logger: d.logger,
	})
	return recovered, nil
}

// closeStorage brings to the store what it takes before ctx ends. The rest stays
// in the spool.
func (d *daemon) closeStorage(ctx context.Context) error {
	return errors.Join(d.gatherer.Close(ctx), d.spool.Close())
}

// work merges what was stored until ctx ends, or the collector fails.
func (d *daemon) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var merging sync.WaitGroup
	if d.files != nil {
		merging.Go(func() { d.merge(ctx) })
	}
	defer merging.Wait()
	defer cancel()
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.collector.Failed():
		return err
	}
}

// merge makes one file of each past hour's, every parquet.merge_interval.
func (d *daemon) merge(ctx context.Context) {
	merges, failures := d.set.NewCounter("lectern_merges_total"), d.set.NewCounter("lectern_merge_failures_total")
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
	d.ops.stopping.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	err := errors.Join(d.collector.Stop(ctx), d.closeStorage(ctx))
	d.ops.close(ctx)
	if err == nil {
		d.logger.Info("lectern has stopped: everything that was counted is stored, or in the spool")
	}
	return err
}
