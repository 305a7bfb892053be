// Package native is a server that speaks ClickHouse's native protocol in front of
// the engine as a library, and that does wrong on command.
package native

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
)

// Options say how a server serves.
type Options struct {
	Address        string // host:port; port 0 for any
	User, Password string
	TLS            *tls.Config // nil: none
	Staging        string      // the directory for blocks on their way into the engine
	Profile        string      // settings that each query begins with, as SET takes them; empty: none
}

// A Server listens, and has a goroutine for each connection.
type Server struct {
	engine  *chdb.Engine
	options Options
	hello   proto.ServerHello

	faults  faults
	running running
	inserts atomic.Int64
	files   atomic.Uint64

	mu       sync.Mutex // protects the fields below
	listener net.Listener
	conns    map[*conn]bool
	reopen   *time.Timer // a fault has closed the port until then; nil: it is open
	address  string
	cleared  context.Context // ends with the next Clear
	clear    context.CancelFunc
}

// Serve starts a server and returns when it listens.
func Serve(engine *chdb.Engine, o Options) (*Server, error) {
	s := &Server{engine: engine, options: o, conns: make(map[*conn]bool), address: o.Address}
	s.cleared, s.clear = context.WithCancel(context.Background())
	if err := s.greet(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s, s.listen()
}

// greet asks the engine who it is.
func (s *Server) greet() error {
	conn, err := s.engine.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	tsv, err := conn.Query("SELECT timezone(), extractAll(version(), '[0-9]+')[1], extractAll(version(), '[0-9]+')[2],"+
		" extractAll(version(), '[0-9]+')[3]", "TSV")
	if err != nil {
		return err
	}
	row := Rows(tsv)[0]
	s.hello = proto.ServerHello{Name: "ClickHouse", DisplayName: "clickhousetest", Revision: proto.Version, Timezone: row[0],
		Major: number(row[1]), Minor: number(row[2]), Patch: number(row[3])}
	return nil
}

func number(text string) (n int) {
	for _, digit := range text {
		n = n*10 + int(digit-'0')
	}
	return n
}

// listen opens the port. The mutex is held.
func (s *Server) listen() error {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.listener, s.address = listener, listener.Addr().String()
	go s.accept(listener)
	return nil
}

func (s *Server) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		if s.options.TLS != nil {
			client = tls.Server(client, s.options.TLS)
		}
		c := &conn{server: s, net: client, reader: proto.NewReader(client)}
		s.mu.Lock()
		refused := s.listener != listener
		if !refused {
			s.conns[c] = true
		}
		s.mu.Unlock()
		if refused {
			c.cut()
			continue
		}
		go func() {
			_ = c.serve()
			_ = client.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
	}
}

// Address is where the server listens.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Inserts counts the insert queries that came.
func (s *Server) Inserts() int {
	return int(s.inserts.Load())
}

// Query runs a statement past the protocol and its faults, and returns TSV.
func (s *Server) Query(sql string) ([]byte, error) {
	conn, err := s.engine.Connect()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Query(sql, "TSV")
}

// Fault arms a fault; Refuse works at once.
func (s *Server) Fault(f Fault) {
	if f.Kind != Refuse {
		s.faults.arm(f)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	if f.Delay > 0 {
		s.reopen = time.AfterFunc(f.Delay, s.open)
	}
}

// close closes the port and cuts the connections. The mutex is held.
func (s *Server) close() {
	if s.reopen != nil {
		s.reopen.Stop()
		s.reopen = nil
	}
	if s.listener != nil {
		_ = s.listener.Close()
		s.listener = nil
	}
	for c := range s.conns {
		c.cut()
	}
}

// open opens a port that a fault has closed.
func (s *Server) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for try := 0; s.listener == nil && try < 100; try++ {
		if s.listen() != nil { // its old connections may not be gone
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// Clear disarms all faults and ends those that wait.
func (s *Server) Clear() {
	s.faults.clear()
	s.mu.Lock()
	s.clear()
	s.cleared, s.clear = context.WithCancel(context.Background())
	s.mu.Unlock()
	s.open()
}

// clearing is a context that the next Clear ends.
func (s *Server) clearing() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cleared
}

// later does something when the time has come, even if faults are cleared.
func (s *Server) later(d time.Duration, do func()) {
	time.AfterFunc(d, do)
}

// running are the ids of the queries that run.
type running struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (r *running) enter(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids[id] {
		return false
	}
	if r.ids == nil {
		r.ids = make(map[string]bool)
	}
	if id != "" {
		r.ids[id] = true
	}
	return true
}

func (r *running) leave(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, id)
}
