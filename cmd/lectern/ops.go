package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// ops is the operations server: /metrics, /healthz, /readyz and /retry.
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
	mux.HandleFunc("GET /healthz", o.health)
	mux.HandleFunc("GET /readyz", o.ready)
	mux.HandleFunc("POST /retry", o.retry)
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

// retry gives parked blocks another try, once a person has mended what they
// failed at.
func (o *ops) retry(w http.ResponseWriter, _ *http.Request) {
	n := o.daemon.spool.Unpark()
	o.daemon.logger.Info("parked blocks are tried again", "blocks", n)
	fmt.Fprintf(w, "%d blocks are tried again\n", n)
}
