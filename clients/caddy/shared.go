package caddylectern

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/lectern/lectern/emit"
)

func errorf(format string, args ...any) error { return fmt.Errorf("lectern: "+format, args...) }

// emitter is an emit.TCP or an emit.UDP.
type emitter interface {
	Add(emit.Event) error
	Name(text string) error
	Stats() emit.Stats
	Close(context.Context) error
}

// target is where events go. It is what handlers have in common that share an emitter.
type target struct {
	to                     string
	stream                 uint16
	queue                  string
	queueSize              int
	keyFile, audience      string
	tlsCA, tlsCert, tlsKey string
}

func (h *Handler) target() target {
	return target{h.To, h.Stream, h.Queue, h.QueueSize, h.KeyFile, h.Audience, h.TLSCA, h.TLSCert, h.TLSKey}
}

// emitters are those in use. Caddy provisions the next configuration before it cleans
// up the one before: both have the same emitter, so that one source goes on, and two
// never want one queue.
var emitters = caddy.NewUsagePool()

// shared is an emitter that handlers share.
type shared struct {
	emitter
	of target
}

// closeWait is how long what waits has at the end to be sent; the rest stays in the
// queue.
const closeWait = 5 * time.Second

// Destruct is part of caddy.Destructor.
func (s *shared) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	err := s.Close(ctx)
	if s.of.queue != "" && errors.Is(err, context.DeadlineExceeded) {
		return nil // it goes on from there
	}
	return err
}

// share is the emitter of a target, which is opened where there is none.
func share(of target, logger *zap.Logger) (*shared, error) {
	one, _, err := emitters.LoadOrNew(of, func() (caddy.Destructor, error) {
		e, err := open(&of, logger)
		if err != nil {
			return nil, err
		}
		return &shared{e, of}, nil
	})
	if err != nil {
		return nil, err
	}
	return one.(*shared), nil
}

func (s *shared) release() error {
	_, err := emitters.Delete(s.of)
	return err
}

// open makes an emitter, which connects in the background.
func open(of *target, logger *zap.Logger) (emitter, error) {
	scheme, at, _ := strings.Cut(of.to, "://")
	o := emit.Options{Stream: of.stream, KeyFile: of.keyFile, Audience: of.audience}
	if scheme == "udp" {
		return emit.DialUDP(context.Background(), at, o)
	}
	o.Queue, o.BufferSize, o.OnFull, o.Background = of.queue, of.queueSize, emit.Drop, true
	o.SourceEnded = func(err *emit.SourceEndedError) {
		logger.Error("the collector forgot what was sent to it", zap.Error(err))
	}
	if scheme == "tcp" {
		return emit.DialTCP(context.Background(), at, o)
	}
	config, err := of.tls()
	if err != nil {
		return nil, err
	}
	return emit.DialTLS(context.Background(), at, config, o)
}

func (of *target) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if of.tlsCA != "" {
		text, err := os.ReadFile(of.tlsCA)
		if err != nil {
			return nil, errorf("tls_ca: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, errorf("tls_ca: %s has no certificate in PEM", of.tlsCA)
		}
	}
	if of.tlsCert != "" {
		// At each connection, since they are renewed while Caddy runs.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(of.tlsCert, of.tlsKey)
			return &pair, err
		}
	}
	return config, nil
}

// register shows what became of the events among Caddy's metrics.
func (s *shared) register(with *prometheus.Registry) error {
	labels := prometheus.Labels{"to": s.of.to, "stream": fmt.Sprint(s.of.stream)}
	for _, m := range []struct {
		name, help string
		of         func(*emit.Stats) uint64
	}{
		{"lectern_events_total", "Requests that were counted.", func(s *emit.Stats) uint64 { return s.Events }},
		{"lectern_events_acked_total", "Events that the collector has acknowledged.", func(s *emit.Stats) uint64 { return s.Acked }},
		{"lectern_events_dropped_total", "Events for which there was no room here; the collector's books have them as lost.", func(s *emit.Stats) uint64 { return s.Dropped }},
		{"lectern_events_refused_total", "Events in frames that the collector refused.", func(s *emit.Stats) uint64 { return s.Refused }},
		{"lectern_events_unsure_total", "Events that were sent and not acknowledged before the collector forgot their source.", func(s *emit.Stats) uint64 { return s.Unsure }},
	} {
		counter := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.name, Help: m.help, ConstLabels: labels}, func() float64 {
			stats := s.Stats()
			return float64(m.of(&stats))
		})
		if err := with.Register(counter); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return errorf("its metrics: %w", err)
		}
	}
	return nil
}

// hush lets something be said once a minute.
type hush struct {
	mu   sync.Mutex // protects last
	last time.Time
}

func (h *hush) may(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.last) < time.Minute {
		return false
	}
	h.last = now
	return true
}
