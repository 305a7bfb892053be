// Package now answers GET /now.json: who reads what at this moment. docs/NOW.md is
// its contract.
//
// What it costs does not hang on how many ask. The figures of a cut are put together
// when somebody asks for the first time after it, and an answer is written once for all
// who ask the same; one is made at a time. Nobody asks, nothing is made.
package now

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/storage/live"
)

// Options configure a Board.
type Options struct {
	Readers     *live.Readers
	Collector   uint64                   // this daemon's, as it stands in the ledger
	Address     func() string            // of its operations server
	StreamNames func() map[uint16]string // those that have a name
	NameOf      func(stream uint16, content uint64) (name string, known bool)
}

// Board answers for this daemon. Its methods may be called by several goroutines at
// once.
type Board struct {
	o Options

	mu      sync.Mutex // protects what follows, and is held while an answer is made
	own     *figures
	answers map[string]*answer // of the figures that are there now, by what was asked
}

// answer is one that was written.
type answer struct {
	of   *figures
	etag string
	body []byte
}

// answersMax is how many answers are kept.
const answersMax = 8

// New returns a Board.
func New(o Options) *Board {
	return &Board{o: o, answers: make(map[string]*answer)}
}

// ServeHTTP answers GET /now.json.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := b.parse(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := b.answer(q)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.etag)
	if slices.Contains(r.Header.Values("If-None-Match"), a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	_, _ = w.Write(a.body) // whoever asked has hung up
}

// answer is what a question gets.
func (b *Board) answer(q *query) *answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.figures()
	if a := b.answers[q.text]; a != nil && a.of == f {
		return a
	}
	body, _ := json.Marshal(b.page(f, q)) // numbers and strings always marshal
	a := &answer{of: f, etag: fmt.Sprintf("\"%016x\"", xxhash.Sum64(body)), body: append(body, '\n')}
	if len(b.answers) >= answersMax {
		clear(b.answers)
	}
	b.answers[q.text] = a
	return a
}

// figures are those of the last cut. The caller has mu.
func (b *Board) figures() *figures {
	if cuts := b.o.Readers.Cuts(); b.own == nil || b.own.cuts != cuts {
		b.own = ownFigures(b.o.Readers.Top(limitMax), cuts)
		b.own.nodes = []node{{Node: b.o.Address(), Collector: collectorWord(b.o.Collector), State: stateOwn, Time: b.own.time, Since: b.own.since}}
		clear(b.answers)
	}
	return b.own
}
