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
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/collector"
)

// ops is the operations server: /metrics, /sources, /healthz and /readyz.
type ops struct {
	daemon   *daemon
	server   *http.Server
	stopping atomic.Bool
}

// healthSilence is the least time without a cut, or the try of one, after which
// a loop is said to hang.
const healthSilence = 10 * time.Second

// startOps serves on a listener until close.
func startOps(l net.Listener, d *daemon) *ops {
	o := &ops{daemon: d}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", o.metrics)
	mux.HandleFunc("GET /sources", o.sources)
	mux.HandleFunc("GET /healthz", o.health)
	mux.HandleFunc("GET /readyz", o.ready)
	o.server = &http.Server{
		Handler:     mux,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	go func() {
		if err := o.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.logger.Error("the operations server ended: no more metrics", "error", err)
		}
	}()
	return o
}

func (o *ops) close(ctx context.Context) { _ = o.server.Shutdown(ctx) }

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

// health says whether the event loops turn: cuts need each of them.
func (o *ops) health(w http.ResponseWriter, _ *http.Request) {
	most := max(healthSilence, 5*o.daemon.config.Window.AckInterval)
	if silent := time.Since(o.daemon.collector.LastCut()); silent > most {
		http.Error(w, fmt.Sprintf("no cut for %v: a loop hangs", silent.Round(time.Millisecond)), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// ready says whether traffic should come here.
func (o *ops) ready(w http.ResponseWriter, _ *http.Request) {
	switch {
	case o.stopping.Load():
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	case o.daemon.collector.Full():
		http.Error(w, "full: the spool takes no more, the store has been slower than the sources for too long", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}
