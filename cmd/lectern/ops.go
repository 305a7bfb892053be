package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/collector"
)

// ops is the operations server: /metrics, /sources, /healthz, /readyz and
// /retry.
type ops struct {
	daemon   *daemon
	server   *http.Server
	draining atomic.Bool // traffic is still read, and is to go elsewhere
	stopping atomic.Bool

	mu       sync.Mutex   // protects the fields below
	listener net.Listener // nil while another process has the port
	started  bool
	closed   bool
}

// healthSilence is the least time after which a loop that did not let go of its
// shard is said to hang.
const healthSilence = 10 * time.Second

// newOps returns a server that does nothing yet.
func newOps(d *daemon) *ops {
	o := &ops{daemon: d}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", o.metrics)
	mux.HandleFunc("GET /sources", o.sources)
	mux.HandleFunc("GET /healthz", o.health)
	mux.HandleFunc("GET /readyz", o.ready)
	mux.HandleFunc("POST /retry", o.retry)
	o.server = &http.Server{
		Handler:     mux,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	return o
}

// listen binds ops.address. Where the daemon shares its port, another one that it
// follows may have this one as well: it is tried again until that has gone, and
// until then that one answers.
func (o *ops) listen() error {
	c := o.daemon.config
	l, err := net.Listen("tcp", c.Ops.Address)
	switch {
	case err == nil:
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.closed {
			return l.Close()
		}
		o.listener = l
		if o.started {
			go o.serve(l)
		}
		return nil
	case c.Listen.SharePort && errors.Is(err, syscall.EADDRINUSE):
		return nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen for operations on %s: another process has the port, perhaps another lectern; stop it, or set ops.address: %w", c.Ops.Address, err)
	}
	return fmt.Errorf("listen for operations on %s; check ops.address: %w", c.Ops.Address, err)
}

// keepListening binds ops.address once another process has let go of it.
func (o *ops) keepListening(ctx context.Context) {
	if o.address() != "" {
		return
	}
	o.daemon.logger.Info("another process has ops.address and answers there until it goes", "operations", o.daemon.config.Ops.Address)
	for o.address() == "" {
		select {
		case <-ctx.Done():
			return
		case <-time.After(opsInterval):
		}
		if err := o.listen(); err != nil {
			o.daemon.logger.Warn("no metrics, and no answers to health checks, yet", "error", err)
		}
	}
}

const opsInterval = 250 * time.Millisecond

// address is what is listened on; empty while another process has it.
func (o *ops) address() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listener == nil {
		return ""
	}
	return o.listener.Addr().String()
}

// start serves until close.
func (o *ops) start() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.started = true
	if o.listener != nil {
		go o.serve(o.listener)
	}
}

func (o *ops) serve(l net.Listener) {
	if err := o.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		o.daemon.logger.Error("the operations server ended: no more metrics", "error", err)
	}
}

// opsGrace is how long answers that are under way may take at the end.
const opsGrace = time.Second

// close ends the server, if there is one.
func (o *ops) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.listener == nil {
		return
	}
	if o.started {
		ctx, cancel := context.WithTimeout(context.Background(), opsGrace)
		defer cancel()
		_ = o.server.Shutdown(ctx)
	}
	_ = o.listener.Close()
}

// metrics writes what docs/METRICS.md lists, in the text format of Prometheus.
func (o *ops) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprintf(w, "lectern_build_info{version=%q,go=%q} 1\n", buildVersion(), runtime.Version())
	o.daemon.set.WritePrometheus(w)
	metrics.WriteProcessMetrics(w)
}

// sourcesMax bounds the list of sources: each is some 200 bytes of text.
const sourcesMax = 1000

// sources writes, as JSON, the ?n=20 sources with the most events ?by=lost, or
// by another word of collector.SourceOrders.
func (o *ops) sources(w http.ResponseWriter, r *http.Request) {
	n, by := 20, "lost"
	if s := r.URL.Query().Get("n"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 || n > sourcesMax {
			http.Error(w, fmt.Sprintf("n is %q; it is a number from 1 to %d", s, sourcesMax), http.StatusBadRequest)
			return
		}
	}
	if s := r.URL.Query().Get("by"); s != "" {
		if by = s; !slices.Contains(collector.SourceOrders, by) {
			http.Error(w, fmt.Sprintf("by is %q; it is one of %s", s, strings.Join(collector.SourceOrders, ", ")), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	list := o.daemon.collector.WorstSources(n, by)
	if list == nil {
		list = []collector.SourceState{}
	}
	_ = json.NewEncoder(w).Encode(list) // whoever asked has hung up
}

// health says whether the event loops turn. A disk or a store that hangs is
// nothing that another start would mend, so they have no part in it.
func (o *ops) health(w http.ResponseWriter, _ *http.Request) {
	if silent := o.daemon.collector.SinceHeartbeat(); silent > healthSilence && !o.stopping.Load() {
		http.Error(w, fmt.Sprintf("a loop hangs, for %v", silent.Round(time.Millisecond)), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// ready says whether traffic should come here: the sockets are bound, and the
// spool takes what comes. For the last part of a drain it is not, though all that
// comes is read. The store has no part in it, until the spool is full.
func (o *ops) ready(w http.ResponseWriter, _ *http.Request) {
	switch {
	case o.stopping.Load():
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	case o.draining.Load():
		http.Error(w, "draining: what comes is still read, and is to go elsewhere", http.StatusServiceUnavailable)
	case o.daemon.collector.Full():
		http.Error(w, "full: the spool takes no more, the store has been slower than the sources for too long", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// retry gives parked blocks another try, once a person has mended what they
// failed at.
func (o *ops) retry(w http.ResponseWriter, _ *http.Request) {
	n := o.daemon.spool.Unpark() + o.daemon.heirs.unpark()
	o.daemon.logger.Info("parked blocks are tried again", "blocks", n)
	fmt.Fprintf(w, "%d blocks are tried again\n", n)
}
