package edge

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
	"github.com/lectern/lectern/cmd/lectern/internal/tokens"
)

// Pushes say how CDNs push their logs: lines of JSON, many in a request.
type Pushes struct {
	// Tokens are those of which a push must show one; nil: no pushes are taken.
	Tokens func() []string
	Fields map[string]string // names of fields that are not the known ones: see accesslog.NewParser
	Paths  accesslog.Paths
	Fastly []string // numbers of Fastly's services that may log here, or "*"; empty: none
}

// pushes is the door for the logs of CDNs.
type pushes struct {
	edge   *Edge
	door   *door
	tokens func() []string
	slots  chan struct{} // one for each body that is held
	most   int64         // bytes of a body, unpacked

	mu     sync.Mutex // protects the fields below
	lines  map[*stream]*lines
	recent recentPushes
}

const (
	// pushSizeMax is the largest body, as it comes: CDNs send some megabytes.
	pushSizeMax = 16 << 20
	// pushUnpackedMax is how much is read of a body that is compressed.
	pushUnpackedMax = 256 << 20
	// pushesMax is how many bodies are held at once.
	pushesMax = 4
	// pushWait is how long a push may take, from its header to its answer.
	pushWait = time.Minute
)

// newPushes is the door for pushes.
func (e *Edge) newPushes(o *Pushes) (*pushes, error) {
	p := &pushes{edge: e, door: e.newDoor("logs"), tokens: o.Tokens, slots: make(chan struct{}, pushesMax), most: pushUnpackedMax, lines: make(map[*stream]*lines)}
	for _, s := range e.all {
		parser, err := accesslog.NewParser(accesslog.JSON, o.Fields)
		if err != nil {
			return nil, fmt.Errorf("the fields of logs that are pushed; check edge.logs_fields: %w", err)
		}
		p.lines[s] = e.newLines(p.door, s, parser, o.Paths)
	}
	return p, nil
}

// post is POST /v1/logs.
func (p *pushes) post(w http.ResponseWriter, r *http.Request) {
	w.Header()["Cache-Control"] = noStore
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(pushWait)) // else the server's own hold
	_ = control.SetWriteDeadline(time.Now().Add(pushWait))
	why, err := p.push(w, r)
	if why == Token {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	p.edge.answer(w, why, err)
}

// push takes what a request brings. Each line is counted for itself, and a request
// that is refused as a whole is.
func (p *pushes) push(w http.ResponseWriter, r *http.Request) (why Reason, err error) {
	counted := false
	defer func() {
		if why != Taken && !counted {
			p.edge.count(p.door, why, 0, err)
		}
	}()
	if !tokens.Shown(r.Header.Get("Authorization"), p.tokens()) {
		return Token, nil
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		return Budget, errors.New("as many pushes as can be held are being read")
	}
	s, oneOf, why, err := p.asked(r)
	if why != Taken {
		return why, err
	}
	if r.ContentLength > pushSizeMax {
		return TooLarge, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, pushSizeMax))
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return TooLarge, nil
	}
	if err != nil {
		return Malformed, errors.New("the body did not come to its end")
	}
	why, counted, err = p.take(s, oneOf, body)
	return why, err
}

// asked reads the query: whose the lines are, and how they are sampled where they do
// not say it themselves.
func (p *pushes) asked(r *http.Request) (s *stream, oneOf float64, why Reason, err error) {
	query := r.URL.Query()
	for name, values := range query {
		if name != "stream" && name != "sampled" || len(values) != 1 {
			return nil, 0, Malformed, fmt.Errorf("%.40q: there is no such field, or it is there twice", name)
		}
	}
	oneOf = 1
	if query.Has("sampled") {
		var ok bool
		if oneOf, ok = accesslog.ParseSampled([]byte(query.Get("sampled"))); !ok {
			return nil, 0, OutOfRange, errors.New(`sampled is how many lines one stands for, such as "10", or the part that comes, "0.1"`)
		}
	}
	switch name := query.Get("stream"); {
	case name != "":
		s = p.edge.stream(name)
	case len(p.edge.all) == 1:
		s = p.edge.all[0]
	}
	if s == nil {
		return nil, 0, NoStream, nil
	}
	return s, oneOf, Taken, nil
}

// take brings the lines of a body to their queue. counted says that a refusal was
// counted with its line.
//
// What is not answered with 204 comes again, and nothing in it has a number. So how
// many lines of a body were taken is remembered, and when it comes again these are
// passed over.
func (p *pushes) take(s *stream, oneOf float64, body []byte) (why Reason, counted bool, err error) {
	log, err := accesslog.NewReader(bytes.NewReader(body))
	if err != nil {
		return Malformed, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	hash := sha256.New()
	_, _ = io.WriteString(hash, s.Name+"\n")
	_, _ = hash.Write(body)
	key := [sha256.Size]byte(hash.Sum(nil))
	before, now := p.recent.of[key], p.edge.options.Now()
	n := 0
	defer func() { p.recent.keep(key, max(n, before)) }()
	for {
		line, err := log.Next()
		if err == io.EOF {
			if line, err = log.Rest(); line == nil && err == nil {
				return Taken, false, nil
			}
		}
		switch {
		case err == accesslog.ErrLineTooLong:
			line = nil
		case err != nil:
			return Malformed, false, fmt.Errorf("it cannot be unpacked: %w", err)
		case log.Offset() > p.most:
			return TooLarge, false, nil
		}
		if n >= before {
			if why, err := p.lines[s].take(line, oneOf, now); why == Full || why == Broken {
				return why, true, err
			}
		}
		n++
	}
}

// recentPushes remember how many lines of a body were taken, of those that came
// last.
type recentPushes struct {
	of    map[[sha256.Size]byte]int
	order [][sha256.Size]byte // a ring
	next  int
}

// recentPushesMax is how many bodies are remembered.
const recentPushesMax = 4096

func (r *recentPushes) keep(key [sha256.Size]byte, lines int) {
	if r.of == nil {
		r.of, r.order = make(map[[sha256.Size]byte]int), make([][sha256.Size]byte, recentPushesMax)
	}
	if _, known := r.of[key]; !known {
		delete(r.of, r.order[r.next])
		r.order[r.next] = key
		r.next = (r.next + 1) % recentPushesMax
	}
	r.of[key] = lines
}

// challenge is the answer to Fastly's question whether its services may log here:
// the hashes of their numbers.
func challenge(services []string) http.HandlerFunc {
	var text strings.Builder
	for _, one := range services {
		if one != "*" {
			hash := sha256.Sum256([]byte(one))
			one = hex.EncodeToString(hash[:])
		}
		text.WriteString(one + "\n")
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text.String())
	}
}
