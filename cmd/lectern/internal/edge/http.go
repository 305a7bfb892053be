package edge

import (
	"crypto/sha256"
	"crypto/sha512"
	_ "embed" // the page of demo
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lectern/lectern/clients/web"
)

// The times that a request may take, and what its header may have. A connection
// that is idle stays for longer than the 15 seconds between two heartbeats.
const (
	headerWait     = 5 * time.Second
	bodyWait       = 10 * time.Second // behind the first byte of the header
	answerWait     = 20 * time.Second // behind the last
	idleWait       = time.Minute
	headerBytesMax = 8 << 10
)

// server is the HTTP door.
func (e *Edge) server() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/read", e.post) // for the Allow of others; see beaconsFirst
	mux.HandleFunc("OPTIONS /v1/read", preflight)
	mux.HandleFunc("GET /v1/read.gif", e.pixel)
	script := newScript()
	mux.HandleFunc("GET /lectern.js", script.serve)
	mux.HandleFunc("GET /lectern.js.sri", script.serveHash)
	if e.pushes != nil {
		mux.HandleFunc("POST /v1/logs", e.pushes.post)
	}
	if len(e.options.Pushes.Fastly) > 0 {
		mux.HandleFunc("GET /.well-known/fastly/logging/challenge", challenge(e.options.Pushes.Fastly))
	}
	if e.options.Demo {
		mux.HandleFunc("GET /{$}", e.demo)
	}
	return &http.Server{
		Handler: e.beaconsFirst(mux), ErrorLog: quietLog(e.options.Logger),
		ReadHeaderTimeout: headerWait, ReadTimeout: bodyWait, WriteTimeout: answerWait, IdleTimeout: idleWait,
		MaxHeaderBytes: headerBytesMax,
	}
}

// beaconsFirst leads what nearly all requests are past the looking for a pattern.
func (e *Edge) beaconsFirst(others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/v1/read" {
			e.post(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// answers say what HTTP has for a reason. A page sends again what was answered with
// 408, 429 or 5xx, and nothing else.
var answers = [reasons]int{
	Taken: http.StatusNoContent, TooLarge: http.StatusRequestEntityTooLarge, Malformed: http.StatusBadRequest, OutOfRange: http.StatusBadRequest,
	NoStream: http.StatusNotFound, Origin: http.StatusForbidden, Budget: http.StatusTooManyRequests, Bot: http.StatusForbidden,
	Preview: http.StatusForbidden, DataCenter: http.StatusForbidden, Full: http.StatusServiceUnavailable, Broken: http.StatusServiceUnavailable,
	NotRead: http.StatusBadRequest, Token: http.StatusUnauthorized, Connections: http.StatusServiceUnavailable,
	Unfinished: http.StatusRequestTimeout,
}

// common are the headers of every answer. A page may see also why it was refused:
// there is nothing in an answer that another should not know.
func common(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Cache-Control"] = noStore
	if origin := r.Header["Origin"]; len(origin) == 1 {
		h["Access-Control-Allow-Origin"] = origin
		h["Vary"] = varyOrigin
	}
}

var (
	noStore    = []string{"no-store"}
	varyOrigin = []string{"Origin"}
)

func preflight(w http.ResponseWriter, r *http.Request) {
	common(w, r)
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "POST")
	h.Set("Access-Control-Allow-Headers", "content-type")
	h.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}

// beacon is what a body is read and understood with.
type beacon struct {
	buffer [bodySizeMax + 1]byte
	posted posted
}

// beacons are those that nobody uses now.
var beacons = sync.Pool{New: func() any { return new(beacon) }}

// post is POST /v1/read.
func (e *Edge) post(w http.ResponseWriter, r *http.Request) {
	common(w, r)
	b := beacons.Get().(*beacon)
	defer beacons.Put(b)
	n, err := b.read(r)
	if err != nil {
		e.count(e.http, Unfinished, 0, nil)
		e.answer(w, Unfinished, nil)
		return
	}
	parse := parseJSON
	if kind := r.Header["Content-Type"]; len(kind) > 0 && kind[0] == binaryType {
		parse = parseBinary
	}
	why, err := e.read(e.http, r, &b.posted, b.buffer[:n], parse)
	e.answer(w, why, err)
}

// read reads a body, or so much of it that it is too large. What says itself that it is
// larger is not waited for.
func (b *beacon) read(r *http.Request) (n int, err error) {
	if r.ContentLength > bodySizeMax {
		return len(b.buffer), nil
	}
	n, err = io.ReadFull(r.Body, b.buffer[:])
	if err == io.EOF || err == io.ErrUnexpectedEOF && (r.ContentLength < 0 || int64(n) == r.ContentLength) {
		err = nil
	}
	return n, err
}

// answer says what became of a body.
func (e *Edge) answer(w http.ResponseWriter, why Reason, err error) {
	if why == Taken {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if why == Full || why == Broken || why == Budget {
		w.Header().Set("Retry-After", "15")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(answers[why])
	text := why.String()
	if err != nil && why != Broken {
		text += ": " + err.Error()
	}
	_, _ = io.WriteString(w, text+"\n")
}

// gif is an image of one pixel that cannot be seen.
var gif, _ = base64.StdEncoding.DecodeString("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

// pixel is GET /v1/read.gif. What was taken is answered with the image.
func (e *Edge) pixel(w http.ResponseWriter, r *http.Request) {
	common(w, r)
	var p posted
	why, err := e.read(e.http, r, &p, []byte(r.URL.Query().Get("b")), parseJSON)
	if why != Taken {
		e.answer(w, why, err)
		return
	}
	w.Header().Set("Content-Type", "image/gif")
	_, _ = w.Write(gif)
}

// read takes what a page sent.
func (e *Edge) read(d *door, r *http.Request, p *posted, text []byte, parse func(*posted, *http.Request, []byte) (Reason, error)) (why Reason, err error) {
	p.reset()
	defer func() { e.count(d, why, p.events, err) }()
	if len(text) > bodySizeMax {
		return TooLarge, nil
	}
	now := e.options.Now()
	if why, err = parse(p, r, text); why != Taken {
		return why, err
	}
	s := e.stream(p.stream)
	if s == nil {
		return NoStream, nil
	}
	from := sender{address: clientOf(r, e.proxies), agent: r.UserAgent(), private: private(r.Header)}
	if why = e.judge(d, &s.Stream, r.Header, &from); why != Taken {
		return why, nil
	}
	if d.against(e.options.Rules.Budget, Budget, !e.budgets.spend(from.address, p.events, now)) {
		return Budget, nil
	}
	if p.unfit != Taken {
		return p.unfit, p.err
	}
	p.date(now, e.readers.page(&s.Stream, &from, p.user, now), s.Identity == Account && !from.private)
	return s.take(&p.batch, now)
}

//go:embed demo.html
var demoPage string

// demo is a page to read, for who tries an edge.
func (e *Edge) demo(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; style-src 'unsafe-inline'")
	_, _ = io.WriteString(w, strings.Replace(demoPage, "STREAM", e.all[0].Name, 1))
}

// private says whether a reader does not want to be told from others.
func private(h http.Header) bool { return first(h, "Sec-Gpc") == "1" || first(h, "Dnt") == "1" }

// first is the first of a header's values, of which the name is in canonical form.
func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// script is lectern.js as it is served.
type script struct {
	text, tag, hash string
}

func newScript() *script {
	s := &script{text: web.Script()}
	tag := sha256.Sum256([]byte(s.text))
	s.tag = `"` + hex.EncodeToString(tag[:16]) + `"`
	hash := sha512.Sum384([]byte(s.text))
	s.hash = "sha384-" + base64.StdEncoding.EncodeToString(hash[:])
	return s
}

func (s *script) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("ETag", s.tag)
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Access-Control-Allow-Origin", "*") // integrity wants it
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Header.Get("If-None-Match") == s.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(s.text)))
	_, _ = io.WriteString(w, s.text)
}

func (s *script) serveHash(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, s.hash+"\n")
}
