package edge

import (
	"crypto/sha256"
	"crypto/sha512"
	_ "embed" // the page of demo
	"encoding/base64"
	"encoding/hex"
	"errors"
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
	bodyWait       = 10 * time.Second
	answerWait     = 10 * time.Second
	idleWait       = time.Minute
	headerBytesMax = 8 << 10
)

// server is the HTTP door.
func (e *Edge) server() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/read", e.post)
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
		Handler: mux, ErrorLog: quietLog(e.options.Logger),
		ReadHeaderTimeout: headerWait, ReadTimeout: bodyWait, WriteTimeout: answerWait, IdleTimeout: idleWait,
		MaxHeaderBytes: headerBytesMax,
	}
}

// answers say what HTTP has for a reason. A page sends again what was answered with
// 429 or 5xx, and nothing else.
var answers = [reasons]int{
	Taken: http.StatusNoContent, TooLarge: http.StatusRequestEntityTooLarge, Malformed: http.StatusBadRequest, OutOfRange: http.StatusBadRequest,
	NoStream: http.StatusNotFound, Origin: http.StatusForbidden, Budget: http.StatusTooManyRequests, Bot: http.StatusForbidden,
	Preview: http.StatusForbidden, DataCenter: http.StatusForbidden, Full: http.StatusServiceUnavailable, Broken: http.StatusServiceUnavailable,
	NotRead: http.StatusBadRequest, Token: http.StatusUnauthorized, Connections: http.StatusServiceUnavailable,
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

// bodies are buffers for what is read.
var bodies = sync.Pool{New: func() any { return new([bodySizeMax + 1]byte) }}

// post is POST /v1/read.
func (e *Edge) post(w http.ResponseWriter, r *http.Request) {
	common(w, r)
	buffer := bodies.Get().(*[bodySizeMax + 1]byte)
	defer bodies.Put(buffer)
	var n int
	var err error
	if n = len(buffer); r.ContentLength <= bodySizeMax { // what says that it is larger is not waited for
		n, err = io.ReadFull(r.Body, buffer[:])
	}
	text := buffer[:n]
	switch {
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && (r.ContentLength < 0 || int64(n) == r.ContentLength):
	default:
		return // who stopped in the middle hears no answer
	}
	parse := parseJSON
	if r.Header.Get("Content-Type") == binaryType {
		parse = parseBinary
	}
	why, err := e.read(e.http, r, text, parse)
	e.answer(w, why, err)
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
	why, err := e.read(e.http, r, []byte(r.URL.Query().Get("b")), parseJSON)
	if why != Taken {
		e.answer(w, why, err)
		return
	}
	w.Header().Set("Content-Type", "image/gif")
	_, _ = w.Write(gif)
}

// posted is a body that was understood.
type posted struct {
	stream string
	events int
	user   string // who reads, as the body names him; empty: it does not
	// batch makes its events, which are this reader's. With own, those that name a
	// reader by id are that one's.
	batch func(user uint64, own bool, now time.Time) (batch, Reason, error)
}

// read takes what a page sent.
func (e *Edge) read(d *door, r *http.Request, text []byte, parse func(*http.Request, []byte) (posted, Reason, error)) (why Reason, err error) {
	var p posted
	defer func() { e.count(d, why, p.events, err) }()
	if len(text) > bodySizeMax {
		return TooLarge, nil
	}
	now := e.options.Now()
	if p, why, err = parse(r, text); why != Taken {
		return why, err
	}
	s := e.stream(p.stream)
	if s == nil {
		return NoStream, nil
	}
	from := sender{address: clientOf(r, e.proxies), agent: r.UserAgent(), private: private(r.Header)}
	if why = e.judge(d, &s.Stream, r, &from); why != Taken {
		return why, nil
	}
	if d.against(e.options.Rules.Budget, Budget, func() bool { return !e.budgets.spend(from.address, p.events, now) }) {
		return Budget, nil
	}
	one, why, err := p.batch(e.readers.page(&s.Stream, &from, p.user, now), s.Identity == Account && !from.private, now)
	if why != Taken {
		return why, err
	}
	return s.take(&one, now)
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
func private(h http.Header) bool { return h.Get("Sec-Gpc") == "1" || h.Get("Dnt") == "1" }

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
