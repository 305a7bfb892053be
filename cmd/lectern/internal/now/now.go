// Package now answers GET /now.json: who reads what at this moment. docs/NOW.md is
// its contract.
//
// What it costs does not depend on how many ask. The figures of a cut are put together
// when somebody asks for the first time after it. An answer is written once for all who
// ask the same question, and one answer is made at a time. While nobody asks, nothing is
// made.
package now

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/storage/live"
)

// Options configure a Board.
type Options struct {
	Readers     *live.Readers
	Collector   uint64                   // this daemon's, as it stands in the ledger
	Address     func() string            // of its operations server
	StreamNames func() map[uint16]string // those that have a name
	TextsOf     func(stream uint16, content uint64) collector.Texts
	Peers       []string           // host:port of the other daemons' operations servers, or of names that lead to several; empty: there is none
	Failed      interface{ Inc() } // counts questions that a peer did not answer; nil without Peers
	Clock       func() time.Time
}

// Board answers for this daemon. Its methods may be called by several goroutines at
// once.
type Board struct {
	o Options

	mu      sync.Mutex // protects what follows, and is held while an answer is made
	own     *figures
	answers map[string]*answer // by what was asked

	peers   *peers // nil: there is none
	cluster cluster

	sampling   sync.Mutex // held while a peer's question is answered that costs much
	sampleFrom time.Time  // when the next one may be
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
	b := &Board{o: o, answers: make(map[string]*answer)}
	if len(o.Peers) > 0 {
		b.peers = newPeers(o.Peers, o.Clock, o.Failed)
		b.cluster = cluster{
			streams: wanted[uint16]{most: streamsAskedMax}, keys: wanted[live.Key]{most: 2 * contentsMax}, limits: wanted[int]{most: answersMax},
		}
	}
	return b
}

// Peer answers what other daemons ask at PeerPath.
func (b *Board) Peer() http.Handler { return http.HandlerFunc(b.servePeer) }

// ServeHTTP answers GET /now.json.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := b.parse(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := b.answer(r.Context(), q)
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
func (b *Board) answer(ctx context.Context, q *query) *answer {
	var f *figures
	if b.peers != nil && !q.own {
		f = b.clusterFigures(ctx, q)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if f == nil {
		f = b.figures()
	}
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
	if latest := b.o.Readers.Latest(); b.own == nil || b.own.latest != latest {
		b.own = ownFigures(latest)
		b.own.nodes = []Node{b.node(b.own.time, b.own.since)}
	}
	return b.own
}

// node is this daemon.
func (b *Board) node(time, since int64) Node {
	return Node{Node: b.o.Address(), Collector: collectorWord(b.o.Collector), State: stateOwn, Time: time, Since: since}
}
