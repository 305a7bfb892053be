// Package edge takes read events from those who cannot speak the protocol of
// collectors (browsers, php-fpm, proxies), and brings them there: each once, over
// acknowledged TCP, out of a queue on disk.
//
// A door reads events in the form in which its users send them, and says of each
// whether it was taken, or the Reason why not. What was taken is in the queue of its
// stream, and outlives a kill of this process.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/cmd/lectern/internal/accesslog"
)

// Options configure an Edge.
type Options struct {
	Address string // host:port of the HTTP door
	Demo    bool   // there is a page to read at /
	Relay   string // path of a Unix datagram socket for short-lived processes; empty: none
	Syslog  Syslog // the lines of proxies
	Pushes  Pushes // the logs of CDNs
	// ConnectionsMax is how many connections the HTTP door holds at once.
	ConnectionsMax int
	Dir            string   // of the queues, one for each stream
	Streams        []Stream // those that are taken; every other is refused
	// Proxies are networks that are believed when they say for whom they ask.
	Proxies []netip.Prefix
	// Salt is what the readers of a day, since 1970 in UTC, are hashed with.
	Salt func(day int64) Salt
	// PagesMax is how many pages of each stream are known at once, and PageIdleMax
	// how long a page may be silent before it is forgotten.
	PagesMax    int
	PageIdleMax time.Duration
	// BudgetRate is how many events a second one network may send, an IPv4 address
	// or an IPv6 /64, and BudgetBurst how many at once.
	BudgetRate, BudgetBurst int
	Rules                   Rules
	// Dial opens the queue of a stream in a directory, whether the collector is there
	// or not. Its Add must fail where there is no room, and not wait.
	Dial    func(s *Stream, dir string) (Queue, error)
	Metrics *metrics.Set
	Logger  *slog.Logger
	Now     func() time.Time
}

// Stream is one stream that an edge takes.
type Stream struct {
	Name     string
	Number   uint16
	Identity Identity
	// Origins are those of the pages that may send for it, as browsers write them:
	// "https://news.example". Empty: all.
	Origins []string
}

// Edge is one edge. Its methods may be called by several goroutines at once.
type Edge struct {
	options  Options
	streams  map[string]*stream // by name, and by number in decimal
	all      []*stream
	readers  readers
	proxies  accesslog.Networks
	budgets  *budgets
	http     *door
	listener *limited
	serving  *http.Server
	relay    *relay   // nil without
	syslogs  *syslogs // nil without
	pushes   *pushes  // nil without
	ticking  sync.WaitGroup
	stop     context.CancelFunc
	broken   atomic.Pointer[error]
}

// Open opens the queues, and listens. What a former process left in them goes to
// the collector from now on; what is new is taken when Start is called.
func Open(o Options) (*Edge, error) {
	e := &Edge{options: o, streams: make(map[string]*stream), readers: readers{salt: o.Salt}, proxies: o.Proxies, budgets: newBudgets(o.BudgetRate, o.BudgetBurst)}
	if len(o.Streams) == 0 {
		return nil, errors.New("an edge needs a stream: name one in the configuration, [stream.NAME] with its number")
	}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for pages on %s; check edge.address: %w", o.Address, err)
	}
	e.listener = limitListener(l, o.ConnectionsMax, func() { e.count(e.http, Connections, 0, nil) }, func() { e.count(e.http, Unfinished, 0, nil) })
	for i := range o.Streams {
		s, err := e.openStream(&o.Streams[i])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("stream %s: %w", o.Streams[i].Name, err), e.abandon())
		}
		e.all = append(e.all, s)
		e.streams[s.Name], e.streams[strconv.Itoa(int(s.Number))] = s, s
	}
	if o.Relay != "" {
		if e.relay, err = e.listenRelay(o.Relay); err != nil {
			return nil, errors.Join(err, e.abandon())
		}
	}
	if len(o.Syslog.Listen) > 0 {
		if e.syslogs, err = e.listenSyslog(); err != nil {
			return nil, errors.Join(err, e.abandon())
		}
	}
	if o.Pushes.Tokens != nil {
		if e.pushes, err = e.newPushes(&o.Pushes); err != nil {
			return nil, errors.Join(err, e.abandon())
		}
	}
	e.http = e.newDoor("http")
	e.serving = e.server()
	e.register()
	return e, nil
}

// openStream opens the queue of a stream, and what is known of its pages.
func (e *Edge) openStream(o *Stream) (*stream, error) {
	dir := filepath.Join(e.options.Dir, o.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of its queue; check edge.dir: %w", err)
	}
	s := &stream{Stream: *o, pages: newPages(e.options.PagesMax, e.options.PageIdleMax)}
	var err error
	if s.lock, err = lockDir(dir); err != nil {
		return nil, fmt.Errorf("cannot have %s for itself: %w; give each edge an edge.dir of its own", dir, err)
	}
	if err = s.open(dir, func() (Queue, error) { return e.options.Dial(o, dir) }); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

// abandon closes what Open has opened.
func (e *Edge) abandon() error {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if e.relay != nil {
		_ = e.relay.close()
	}
	for _, s := range e.all {
		_ = s.close(done) // what waits stays in the queue
	}
	return e.listener.Close()
}

// Address is where pages are listened to.
func (e *Edge) Address() string { return e.listener.Addr().String() }

// tickInterval is how often connections are looked at that wait for too long, and pages
// that have gone.
const tickInterval = time.Second

// Start takes events, until Close.
func (e *Edge) Start() {
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.ticking.Go(func() {
		tick := time.NewTicker(tickInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				e.listener.sweep(time.Now())
				e.tick(e.options.Now())
			}
		}
	})
	if e.relay != nil {
		e.ticking.Go(e.relay.serve)
	}
	if e.syslogs != nil {
		e.syslogs.serve()
	}
	e.ticking.Go(func() {
		if err := e.serving.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
			e.fail(fmt.Errorf("no more pages are listened to: %w", err))
		}
	})
}

// tick forgets the pages that have gone, and says where the collector is away.
func (e *Edge) tick(now time.Time) {
	for _, s := range e.all {
		s.tellAway(now, e.options.Logger)
		if err := s.tick(now); err != nil {
			e.fail(err)
		}
	}
}

// fail remembers why the edge is not healthy.
func (e *Edge) fail(err error) {
	if e.broken.Swap(&err) == nil {
		e.options.Logger.Error("the edge does not work as it should; see to its disk", "error", err)
	}
}

// Waiting is how many events are in the queues, that the collector has not
// acknowledged.
func (e *Edge) Waiting() (events uint64) {
	for _, s := range e.all {
		events += s.counts().queue.Buffered
	}
	return events
}

// Healthy returns what is wrong with this edge, if anything is.
func (e *Edge) Healthy() error {
	if err := e.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// Close takes nothing more, and sends what waits until ctx ends. The rest stays on
// disk, for the next edge with the directory; then the error says how much it is.
func (e *Edge) Close(ctx context.Context) error {
	err := e.serving.Shutdown(ctx)
	if err != nil {
		err = e.serving.Close()
	}
	e.stop()
	if e.relay != nil {
		err = errors.Join(err, e.relay.close())
	}
	if e.syslogs != nil {
		err = errors.Join(err, e.syslogs.close())
	}
	e.ticking.Wait()
	var closing sync.WaitGroup
	errs := make([]error, len(e.all))
	for i, s := range e.all {
		closing.Go(func() { errs[i] = s.close(ctx) })
	}
	closing.Wait()
	return errors.Join(append(errs, err)...)
}

// stream is the one of this name or number, nil where there is none.
func (e *Edge) stream(name string) *stream { return e.streams[name] }
