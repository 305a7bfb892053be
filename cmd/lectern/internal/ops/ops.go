// Package ops is the operations server: /metrics, /sources, /healthz, /readyz, /retry
// and /flush, for people, kubelets and Prometheus. Whoever reaches its port may ask, so
// nothing that strangers do makes it take more memory and descriptors than its
// connections may have at their limit, or fill the log.
//
// Who is alive. /healthz asks whether the loops release their shards: a disk that hangs is
// not cured by a restart, which would lose what came over UDP since the last cut. /readyz
// asks for sockets and a spool that is there and takes what comes, never for the store.
//
// The operations port is bounded. It holds 32 connections. One more closes the one that
// was idle for longest, and one that is being answered only where all are, so strangers
// cannot keep Prometheus out by holding connections. Two pages are made at a time, whole,
// before they are sent: neither a client that does not read nor a loop that hangs lets
// requests pile up. It answers to IP addresses, localhost and configured names only, since
// otherwise a web page could have its own name resolve to this port. Requests that change
// something are refused to other origins as well, and want a token.
package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/tokens"
	"github.com/lectern/lectern/collector"
)

// Options configure a Server.
type Options struct {
	Address        string   // host:port to listen on; an empty host is every interface
	SharePort      bool     // another daemon may have the port: see Server.KeepListening
	Hosts          []string // names, besides localhost and IP addresses, by which the server may be asked
	TokenFile      string   // has the token of who may change something; empty: nobody may
	ConnectionsMax int      // connections at once
	Version        string   // the program's, for lectern_build_info
	Metrics        *metrics.Set
	Logger         *slog.Logger
}

// Daemon is what a Server tells of. Its methods may be called by several
// goroutines at once.
type Daemon interface {
	// WorstSources returns the at most n sources with the largest number of
	// this order, a word of collector.SourceOrders.
	WorstSources(n int, order string) []collector.SourceState
	// SinceHeartbeat is how long ago all event loops had last released their shards.
	SinceHeartbeat() time.Duration
	// Gone says that the spool's directory is not there any more, and what to do.
	Gone() error
	// Full says that the spool takes no more, or not in time.
	Full() bool
	// Unpark gives parked blocks another try, and says how many they are.
	Unpark() int
	// Flush brings all that was received before the call to the store, and returns
	// when it is there and nothing of it is in memory or in the spool any more.
	Flush(ctx context.Context) error
	// Number is the id of the collector, which numbers its blocks.
	Number() uint64
}

// Server is the operations server. Its methods may be called by several goroutines
// at once.
type Server struct {
	options  Options
	mux      *http.ServeMux
	server   *http.Server
	limits   *limits
	renders  chan struct{} // a token for each answer that is being made of much
	flushing sync.Mutex    // one flush at a time
	stopping atomic.Bool
	notReady atomic.Pointer[string] // why, where it is not

	mu       sync.Mutex   // protects the fields below
	daemon   Daemon       // nil before Start
	listener net.Listener // nil while another process has the port
	closed   bool
}

// The times that a request may take. An idle connection stays for longer than the
// interval of any usual Prometheus.
const (
	headerMax = 5 * time.Second
	readMax   = 10 * time.Second
	answerMax = 30 * time.Second
	idleMax   = 2 * time.Minute
)

// headerBytesMax bounds the header of a request; net/http adds 4 KiB to it.
const headerBytesMax = 4 << 10

// New returns a Server that does nothing yet.
func New(o Options) *Server {
	metrics.ExposeMetadata(true)
	s := &Server{options: o, mux: http.NewServeMux(), renders: make(chan struct{}, rendersMax)}
	s.limits = newLimits(o.ConnectionsMax, o.Metrics.NewCounter("lectern_ops_connections_evicted_total"))
	o.Metrics.NewGauge("lectern_ops_connections", func() float64 { return float64(s.limits.count()) })
	s.server = &http.Server{
		Handler:     s.handler(s.mux),
		ConnContext: withConnection,
		ErrorLog:    slog.NewLogLogger(&quiet{Handler: o.Logger.Handler()}, slog.LevelWarn),

		ReadHeaderTimeout: headerMax, ReadTimeout: readMax, WriteTimeout: answerMax, IdleTimeout: idleMax,
		MaxHeaderBytes: headerBytesMax,
	}
	return s
}

// Listen binds Options.Address. Where the daemon shares its port, another one that
// it follows may have this one as well: then Listen does nothing and returns no
// error, that one answers, and KeepListening tries again.
func (s *Server) Listen() error {
	if path := s.options.TokenFile; path != "" {
		if _, err := tokens.Read(path); err != nil {
			return fmt.Errorf("the tokens of who may change something; check ops.token_file: %w", err)
		}
	}
	l, err := net.Listen("tcp", s.options.Address)
	switch {
	case err == nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			return l.Close()
		}
		s.listener = l
		if s.daemon != nil {
			go s.serve(l)
		}
		return nil
	case s.options.SharePort && errors.Is(err, syscall.EADDRINUSE):
		return nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen for operations on %s: another process has the port, perhaps another lectern; stop it, or set ops.address: %w", s.options.Address, err)
	}
	return fmt.Errorf("listen for operations on %s; check ops.address: %w", s.options.Address, err)
}

// listenInterval is the time between two tries to bind a port that another
// process has.
const listenInterval = 250 * time.Millisecond

// KeepListening binds Options.Address once another process has released it, or
// until ctx ends.
func (s *Server) KeepListening(ctx context.Context) {
	if s.Address() != "" {
		return
	}
	s.options.Logger.Info("another process has ops.address and answers there until it goes", "operations", s.options.Address)
	for s.Address() == "" {
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenInterval):
		}
		if err := s.Listen(); err != nil {
			s.options.Logger.Warn("no metrics, and no answers to health checks, yet", "error", err)
		}
	}
}

// Address is what is listened on; empty while another process has it.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Handle has something else answered as well, by patterns of http.ServeMux. It is
// called before Start.
func (s *Server) Handle(handlers map[string]http.Handler) {
	for pattern, h := range handlers {
		s.mux.Handle(pattern, h)
	}
}

// Start answers for a daemon, until Close.
func (s *Server) Start(d Daemon) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.daemon = d
	if s.listener != nil {
		go s.serve(s.listener)
	}
}

func (s *Server) serve(l net.Listener) {
	if err := s.server.Serve(&limited{l, s.limits}); !errors.Is(err, http.ErrServerClosed) {
		s.options.Logger.Error("the operations server ended: no more metrics", "error", err)
	}
}

// NotReady makes /readyz answer 503 from now on, and say why.
func (s *Server) NotReady(why string) { s.notReady.Store(&why) }

// Stopping is called when the daemon stops: it is not ready any more, and that its
// loops end is nothing unhealthy.
func (s *Server) Stopping() {
	s.NotReady("stopping")
	s.stopping.Store(true)
}

// closeGrace is how long answers that are under way may take at the end.
const closeGrace = time.Second

// Close ends the server, whether it was started or not.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.listener == nil {
		return
	}
	if s.daemon != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		if s.server.Shutdown(ctx) != nil {
			_ = s.server.Close()
		}
	}
	_ = s.listener.Close()
}
