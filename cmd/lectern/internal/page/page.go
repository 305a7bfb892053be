// Package page is the page that a daemon shows of itself at / of its operations port,
// and the JSON behind it: /books.json, /health.json, /history.json, /refusals.json and
// /runbook.json (docs/PAGE.md). What is read now is another's (/now.json).
//
// All of it is of a look at the daemon, taken when somebody asks and at most once a
// second, and every ten seconds for the history of the last hour. One goroutine takes
// it: where a loop hangs and a look does not come to its end, the one before it is shown
// with its age, and nothing piles up.
//
// The page is files in the program: nothing is built, and nothing is loaded from
// elsewhere. It changes nothing.
package page

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/collector"
)

// Options are what a Page tells of.
type Options struct {
	Daemon    Daemon
	Metrics   func(io.Writer)  // writes what /metrics says
	Ready     func() error     // why /readyz says no
	Version   string           // the program's
	Collector string           // the id that stands in the ledger
	Store     string           // the store's name and where it is
	Memory    []config.Memory  // what `lectern check` adds up
	Limit     int64            // of the container's memory, in bytes; 0 without
	Clock     func() time.Time // time.Now but in tests
}

// Daemon is what is asked of the collector. Its methods may be called by several
// goroutines at once, and all but SinceHeartbeat may wait for a loop that hangs.
type Daemon interface {
	StreamBooks() []collector.StreamBook
	Refused() []collector.RefusedSender
	Loops() []collector.LoopState
	SinceHeartbeat() time.Duration
}

// Page answers for one daemon.
type Page struct {
	options Options
	started time.Time

	mu     sync.Mutex
	last   *look
	taking chan struct{} // closed when the look that is being taken is there; nil where none is

	told    sync.Mutex // protects what follows
	history *history
	states  states // since when each condition holds
}

// look is a daemon at one moment.
type look struct {
	at      time.Time
	series  series
	books   []collector.StreamBook
	refused []collector.RefusedSender
	loops   []collector.LoopState
}

// New returns a Page. Run keeps its history.
func New(o Options) *Page {
	return &Page{options: o, started: o.Clock(), history: newHistory(), states: make(states, len(conditions))}
}

// Run keeps the history of the last hour until ctx ends.
func (p *Page) Run(ctx context.Context) {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for {
		if l := p.latest(ctx, 0); l != nil {
			p.keep(l)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// keep adds a look to the history, unless it is there already.
func (p *Page) keep(l *look) {
	p.told.Lock()
	defer p.told.Unlock()
	if n := len(p.history.samples); n > 0 && !l.at.After(p.history.samples[n-1].at) {
		return
	}
	p.history.add(l.at, l.series)
	p.states.evaluate(p.history)
}

const (
	// lookAge is how old a look may be that is shown.
	lookAge = time.Second
	// lookWait is how long a request waits for a new one.
	lookWait = 2 * time.Second
)

// latest is the last look, of which a new one is taken where that is older than so much.
// It is older all the same where a loop hangs, and nil where there is none yet.
func (p *Page) latest(ctx context.Context, age time.Duration) *look {
	p.mu.Lock()
	if p.last != nil && p.options.Clock().Sub(p.last.at) < age {
		defer p.mu.Unlock()
		return p.last
	}
	if p.taking == nil {
		p.taking = make(chan struct{})
		go p.take(p.taking)
	}
	taking := p.taking
	p.mu.Unlock()
	wait := time.NewTimer(lookWait)
	defer wait.Stop()
	select {
	case <-taking:
	case <-wait.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// take looks at the daemon.
func (p *Page) take(done chan struct{}) {
	l := &look{at: p.options.Clock()}
	var b bytes.Buffer
	p.options.Metrics(&b)
	l.series = readSeries(b.Bytes())
	l.books = p.options.Daemon.StreamBooks()
	l.refused = p.options.Daemon.Refused()
	l.loops = p.options.Daemon.Loops()
	p.mu.Lock()
	p.last, p.taking = l, nil
	p.mu.Unlock()
	close(done)
}

// Handlers are what the page answers, by pattern of http.ServeMux.
func (p *Page) Handlers() map[string]http.Handler {
	all := files()
	for path, tell := range map[string]func(*look) any{
		"/books.json": p.books, "/health.json": p.health, "/history.json": p.past, "/refusals.json": p.refusals,
	} {
		all["GET "+path] = p.of(tell)
	}
	all["GET /runbook.json"] = constant(types[".json"], runbook)
	return all
}
