package ops

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/collector"
)

// handler is what the server answers. What changes something is refused to pages
// of other sites, and everything to names that are not known: a browser would ask
// for a page of a stranger whose name he lets point here.
func (s *Server) handler(mux *http.ServeMux) http.Handler {
	mux.HandleFunc("GET /metrics", s.rendered(s.metrics))
	mux.HandleFunc("GET /sources", s.rendered(s.sources))
	mux.HandleFunc("GET /healthz", well(s.Alive))
	mux.HandleFunc("GET /readyz", well(s.Ready))
	mux.HandleFunc("POST /retry", s.allowed(s.retry))
	mux.HandleFunc("POST /flush", s.allowed(s.flush))
	return marked(knownHosts(s.options.Hosts, http.NewCrossOriginProtection().Handler(mux)))
}

// rendersMax is how many pages are made at once, and rendersWait for how long a
// request waits for its turn. A page that waits for a loop that hangs does not let
// others wait beside it without end.
const (
	rendersMax  = 2
	rendersWait = 5 * time.Second
)

// rendered has a page made in memory, few at a time, and sent when it is whole: a
// client that reads slowly keeps nobody from making his.
func (s *Server) rendered(page func(*bytes.Buffer, http.Header, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		wait := time.NewTimer(rendersWait)
		defer wait.Stop()
		select {
		case s.renders <- struct{}{}:
		case <-r.Context().Done():
			return // whoever asked has hung up
		case <-wait.C:
			http.Error(w, "busy: other pages are being made, and do not come to an end", http.StatusServiceUnavailable)
			return
		}
		var b bytes.Buffer
		err := func() error {
			defer func() { <-s.renders }()
			return page(&b, w.Header(), r)
		}()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(b.Bytes()) // whoever asked has hung up
	}
}

// metrics writes what docs/METRICS.md lists, in the text format of Prometheus.
func (s *Server) metrics(b *bytes.Buffer, h http.Header, _ *http.Request) error {
	h.Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var raw bytes.Buffer
	metrics.WriteMetadataIfNeeded(&raw, "lectern_build_info", "gauge")
	fmt.Fprintf(&raw, "lectern_build_info{version=%q,go=%q} 1\n", s.options.Version, runtime.Version())
	s.options.Metrics.WritePrometheus(&raw)
	metrics.WriteProcessMetrics(&raw)
	describe(b, raw.Bytes())
	return nil
}

// sourcesMax bounds the list of sources: each is some 200 bytes of text.
const sourcesMax = 1000

// sourceLine is a source as strangers may know it. Its id is the only thing that
// somebody needs to send in its name, so it is told to nobody.
type sourceLine struct {
	Source string `json:"source"` // SourceName, in place of the id
	collector.SourceState
}

// SourceName names a source without telling its id: the first twelve hexadecimal
// digits of the SHA-256 of its eight bytes, as they stand in a frame.
func SourceName(id uint64) string {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, id))
	return hex.EncodeToString(sum[:6])
}

// sources writes, as JSON, the ?n=20 sources with the most events ?by=lost, or
// by another word of collector.SourceOrders.
func (s *Server) sources(b *bytes.Buffer, h http.Header, r *http.Request) error {
	n, by := 20, "lost"
	query := r.URL.Query()
	if text := query.Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > sourcesMax {
			return fmt.Errorf("n is %q; it is a number from 1 to %d", text, sourcesMax)
		}
	}
	if text := query.Get("by"); text != "" {
		if by = text; !slices.Contains(collector.SourceOrders, by) {
			return fmt.Errorf("by is %q; it is one of %s", text, strings.Join(collector.SourceOrders, ", "))
		}
	}
	h.Set("Content-Type", "application/json")
	lines := []sourceLine{}
	for _, x := range s.daemon.WorstSources(n, by) {
		lines = append(lines, sourceLine{SourceName(x.Source), x})
	}
	return json.NewEncoder(b).Encode(lines)
}

// HealthSilence is the least time after which a loop that did not release its
// shard is said to hang.
const HealthSilence = 10 * time.Second

// well answers whether something is as it should be.
func well(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

// Alive is nil where /healthz says yes: no event loop hangs, or the daemon stops. A
// disk or a store that hangs is nothing that another start would fix, so they have no
// part in it.
func (s *Server) Alive() error {
	if silent := s.daemon.SinceHeartbeat(); silent > HealthSilence && !s.stopping.Load() {
		return fmt.Errorf("a loop hangs, for %v", silent.Round(time.Millisecond))
	}
	return nil
}

// Ready is nil where /readyz says yes, else what it says: whether traffic should come
// here. The sockets are bound, and the spool takes what comes; the store has no part in
// it, until the spool is full.
func (s *Server) Ready() error {
	if why := s.notReady.Load(); why != nil {
		return errors.New(*why)
	}
	if gone := s.daemon.Gone(); gone != nil {
		return fmt.Errorf("gone: %w", gone)
	}
	if s.daemon.Full() {
		return errors.New("full: the spool takes no more: the store has been slower than the sources for too long, or the spool's disk is full or slow")
	}
	return nil
}

// retry gives parked blocks another try, once a person has fixed what they
// failed at.
func (s *Server) retry(w http.ResponseWriter, _ *http.Request) {
	n := s.daemon.Unpark()
	if n > 0 { // whoever asks again and again does not fill the log
		s.options.Logger.Info("parked blocks are tried again", "blocks", n)
	}
	fmt.Fprintf(w, "%d blocks are tried again\n", n)
}

// flushMax is how long an answer to /flush may take. Whoever asked asks again.
const flushMax = answerMax - 10*time.Second

// Flushed is the answer to POST /flush when all that was received before it is stored.
type Flushed struct {
	Collector string `json:"collector"` // its id, 16 hex digits
}

// flush brings all that was received before to the store, and answers when it is there:
// for `lectern forget`, which must leave nothing behind.
func (s *Server) flush(w http.ResponseWriter, r *http.Request) {
	if !s.flushing.TryLock() {
		http.Error(w, "busy: another flush is under way", http.StatusServiceUnavailable)
		return
	}
	defer s.flushing.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), flushMax)
	defer cancel()
	if err := s.daemon.Flush(ctx); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Flushed{fmt.Sprintf("%016x", s.daemon.Number())}) // whoever asked has hung up
}
