package ops

import (
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

// limits allow max connections. Where there is one more, the one that has
// been idle for longest goes: strangers that hold connections keep nobody out, and
// Prometheus, whose scrape is answered as it comes, opens another.
type limits struct {
	max     int
	evicted *metrics.Counter // lectern_ops_connections_evicted_total

	mu    sync.Mutex // protects the fields below, and those of the connections
	open  map[*connection]struct{}
	dying int    // evicted ones that the server is not done with
	turns uint64 // grows with each connection and each answer
	ended sync.Cond
}

func newLimits(connectionsMax int, evicted *metrics.Counter) *limits {
	l := &limits{max: connectionsMax, evicted: evicted, open: make(map[*connection]struct{})}
	l.ended.L = &l.mu
	return l
}

// limited is a listener whose connections are limited.
type limited struct {
	net.Listener
	limits *limits
}

// Accept is part of net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.limits.take(c), nil
}

// connection is one that is limited.
type connection struct {
	net.Conn
	limits *limits

	turn    uint64 // of the last answer, or of its coming
	busy    bool   // a request was read and is being answered
	evicted bool
	closed  bool // the server is done with it
}

// take makes room for a connection, where there is none by closing another. It
// waits while the server has as many that were closed to be done with; further
// ones wait in the kernel meanwhile.
func (l *limits) take(c net.Conn) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.open) >= l.max && l.dying >= l.max {
		l.ended.Wait()
	}
	if len(l.open) >= l.max {
		l.evict()
	}
	k := &connection{Conn: c, limits: l, turn: l.next()}
	l.open[k] = struct{}{}
	return k
}

func (l *limits) next() uint64 { l.turns++; return l.turns }

// evict closes the connection that is not being answered for longest; where all
// are, the one that is being answered for longest, whose client does not read.
func (l *limits) evict() {
	var oldest *connection
	for k := range l.open {
		if oldest == nil || !k.busy && oldest.busy || k.busy == oldest.busy && k.turn < oldest.turn {
			oldest = k
		}
	}
	delete(l.open, oldest)
	oldest.evicted = true
	l.dying++
	l.evicted.Inc()
	if tcp, ok := oldest.Conn.(*net.TCPConn); ok && oldest.busy {
		// The kernel keeps nothing for a client that does not read. One that was
		// answered gets what is still on its way.
		_ = tcp.SetLinger(0)
	}
	_ = oldest.Conn.Close()
}

// count is how many connections are open.
func (l *limits) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// Close is the server's word that it is done with the connection.
func (k *connection) Close() error {
	l := k.limits
	l.mu.Lock()
	if k.evicted && !k.closed {
		l.dying--
	}
	l.ended.Signal()
	k.closed = true
	delete(l.open, k)
	l.mu.Unlock()
	return k.Conn.Close()
}

// answering says that a request is being answered, or is answered.
func (k *connection) answering(busy bool) {
	k.limits.mu.Lock()
	defer k.limits.mu.Unlock()
	k.busy, k.turn = busy, k.limits.next()
}

type connectionKey struct{}

// withConnection keeps a connection where its requests find it.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// marked marks the connection of each request while it is answered.
func marked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			k.answering(true)
			defer k.answering(false)
		}
		next.ServeHTTP(w, r)
	})
}
