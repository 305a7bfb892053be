// Package caddylectern is a module of Caddy, http.handlers.lectern, that counts what
// readers open: each GET that was answered with content is an event of Lectern, sent
// to a collector and, over TCP, kept on disk until that has it. It never holds a
// request up, and a request that is answered badly, or not counted, stays as it is.
package caddylectern

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/lectern/lectern/emit"
)

func init() { caddy.RegisterModule(Handler{}) }

// Handler counts the requests that pass through it. Its fields are the module's JSON;
// the README has the same for a Caddyfile.
type Handler struct {
	// To is the collector: "tcp://host:port", where events are kept until they are
	// acknowledged, "tls://host:port" likewise, or "udp://host:port".
	To string `json:"to"`
	// Stream is the number that events are counted under.
	Stream uint16 `json:"stream"`
	// Queue is a directory for what is not acknowledged yet. Empty: it is kept in
	// memory, and lost with Caddy. Not over UDP.
	Queue string `json:"queue,omitempty"`
	// QueueSize is how many bytes that may be; 0 is 16 MiB.
	QueueSize int `json:"queue_size,omitempty"`
	// KeyFile and Audience seal what is sent: see emit.Options.
	KeyFile  string `json:"key_file,omitempty"`
	Audience string `json:"audience,omitempty"`
	// TLSCA is a file of certificates in PEM, of which the collector's must come from
	// one; empty: the system's. TLSCert and TLSKey are shown to it; empty: none.
	TLSCA   string `json:"tls_ca,omitempty"`
	TLSCert string `json:"tls_cert,omitempty"`
	TLSKey  string `json:"tls_key,omitempty"`
	// User is the text by which readers are told apart, with placeholders; "none":
	// they are not. Empty: "{client_ip}".
	User string `json:"user,omitempty"`
	// Skip are patterns of paths that are not counted, in which * stands for any
	// characters.
	Skip []string `json:"skip,omitempty"`

	user    string // with placeholders in the form that they have in JSON; empty: nobody
	out     *shared
	logger  *zap.Logger
	refused *hush
}

// userDefault tells readers apart by their address, as Caddy knows it.
const userDefault = "{http.vars.client_ip}"

// CaddyModule is part of caddy.Module.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.lectern", New: func() caddy.Module { return new(Handler) }}
}

// Provision is part of caddy.Provisioner. It connects in the background: Caddy serves
// whether the collector is there or not.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	h.logger, h.refused = ctx.Logger(), new(hush)
	if h.user = h.User; h.user == "" {
		h.user = userDefault
	}
	if h.user == "none" {
		h.user = ""
	}
	if err := h.check(); err != nil {
		return err
	}
	if h.out, err = share(h.target(), h.logger); err != nil {
		return err
	}
	return h.out.register(ctx.GetMetricsRegistry())
}

// Cleanup is part of caddy.CleanerUpper: what waits is sent, or stays in the queue.
func (h *Handler) Cleanup() error {
	if h.out == nil {
		return nil
	}
	return h.out.release()
}

// ServeHTTP is part of caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Method != http.MethodGet {
		return next.ServeHTTP(w, r)
	}
	// What follows may rewrite the request; the reader asked for this.
	content := normalPath(r.URL)
	answer := &answer{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	if err := next.ServeHTTP(answer, r); err != nil {
		return err // an error page is nobody's content
	}
	if answer.opened() && !h.skips(content) {
		h.count(content, r)
	}
	return nil
}

// count adds one event.
func (h *Handler) count(content string, r *http.Request) {
	e := emit.Event{Time: time.Now().UnixMilli(), Content: emit.ID(content), Kind: emit.Open}
	if h.user != "" {
		repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if text := repl.ReplaceAll(h.user, ""); text != "" {
			e.User = emit.ID(text)
		}
	}
	if err := h.out.Add(e); err != nil && h.refused.may(time.Now()) {
		h.logger.Warn("an event was not taken", zap.Error(err))
	}
	_ = h.out.Name(content) // one that is no name is left out: too long, or no UTF-8
}

// skips says whether a path is not to be counted.
func (h *Handler) skips(path string) bool {
	for _, pattern := range h.Skip {
		if match(pattern, path) {
			return true
		}
	}
	return false
}

// match says whether a path is one of the pattern's, in which * stands for any
// characters.
func match(pattern, path string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == path
	}
	if !strings.HasPrefix(path, first) {
		return false
	}
	path = path[len(first):]
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		i := strings.Index(path, part)
		if i < 0 {
			return false
		}
		path = path[i+len(part):]
	}
	return len(path) >= len(last) && strings.HasSuffix(path, last)
}

// answer remembers how a request was answered.
type answer struct {
	*caddyhttp.ResponseWriterWrapper
	status int
}

// WriteHeader is part of http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
	a.ResponseWriterWrapper.WriteHeader(status)
}

// opened says whether the reader has got the content, or has it: as of an access log.
// A part of it that does not begin at its beginning belongs to one that did.
func (a *answer) opened() bool {
	switch a.status {
	case 0, http.StatusOK, http.StatusNotModified:
		return true
	case http.StatusPartialContent:
		return strings.HasPrefix(a.Header().Get("Content-Range"), "bytes 0-")
	}
	return false
}

// check says what is wrong with the fields.
func (h *Handler) check() error {
	scheme, at, ok := strings.Cut(h.To, "://")
	if !ok || scheme != "tcp" && scheme != "tls" && scheme != "udp" {
		return errorf(`to: %q is none of "tcp://host:port", "tls://host:port" and "udp://host:port"`, h.To)
	}
	if _, port, err := net.SplitHostPort(at); err != nil || port == "" {
		return errorf("to: %q has no host and port", at)
	}
	switch {
	case scheme == "udp" && h.Queue != "":
		return errorf("queue: over UDP nothing is acknowledged, so nothing is kept; use tcp://")
	case scheme != "tls" && h.TLSCA+h.TLSCert+h.TLSKey != "":
		return errorf("tls_ca, tls_cert and tls_key are for tls://")
	case (h.TLSCert == "") != (h.TLSKey == ""):
		return errorf("tls_cert and tls_key belong together")
	case (h.KeyFile == "") != (h.Audience == ""):
		return errorf("key_file and audience belong together")
	}
	return nil
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
