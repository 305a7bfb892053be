// Package clickhousetest gives tests a real ClickHouse that starts anywhere: the
// engine as a library, in a process of its own that a test can kill and start
// again on its directory, with the native protocol in front of it and faults on
// command. It is test support; no product code imports it.
//
// The engine is fetched once by "make clickhouse-engine". Where it is not there,
// tests that need it are skipped and say so; with CI=true they fail.
//
// With LECTERN_TEST_CLICKHOUSE=host:port the same tests run against a server
// that is there already (with LECTERN_TEST_CLICKHOUSE_USER and _PASSWORD, if it
// wants them). It cannot be killed and knows no faults: tests that need those
// are skipped then.
//
// What differs from a server of ClickHouse's own: blocks are stored by INSERT
// SELECT from a file, so async_insert has no effect on them; a query's blocks
// arrive whole before the first is stored; there is one user with all rights;
// results hold no AggregateFunction, JSON, Variant or Dynamic columns.
package clickhousetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/native"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/trace"
)

// A Fault is what happens to the next inserts that it fits.
type Fault = native.Fault

// A Kind is what a fault does.
type Kind = native.Kind

// The kinds of fault; their meaning is written at those of package native.
const (
	CutBefore       = native.CutBefore
	CutInside       = native.CutInside
	CutAfter        = native.CutAfter
	CutCommitted    = native.CutCommitted
	CutLater        = native.CutLater
	Silent          = native.Silent
	SilentCommitted = native.SilentCommitted
	Late            = native.Late
	Slow            = native.Slow
	Fail            = native.Fail
	FailCommitted   = native.FailCommitted
	Lie             = native.Lie
	Refuse          = native.Refuse
)

// AnyQuery as the table of a fault makes it hit any query, not only inserts.
const AnyQuery = native.AnyQuery

// Options say how a server is started. The zero value is a server with a
// directory that goes with the test, for the user "default" without a password.
type Options struct {
	// Dir is the engine's directory. Empty: a temporary one.
	Dir string
	// User and Password are what a client has to give.
	User, Password string
	// Profile are the settings of the user's profile, as SET takes them: "a = 1,
	// b = 'x'". They hold for the native protocol alone.
	Profile string
	// Address is where it listens, host:port. Empty: where nobody else does.
	Address string
	// Configuration is the engine's own, in XML. Empty: none.
	Configuration string
	// TLS makes the server speak TLS only, with the certificate CertificateFile.
	TLS bool
	// Trace is put before the command of the process, as "strace", "-f", ...
	Trace []string
}

// A Server is a ClickHouse for one test. Its methods may be called from several
// goroutines. Those without an error among their results end the test on one.
type Server struct {
	tb      testing.TB
	options Options
	config  native.Config // of its process; empty for a server that was there
	remote  string        // the address of a server that was there

	mu      sync.Mutex // protects the field below
	process *process
}

// Start starts a server, which goes with the test. It skips the test, or with
// CI=true fails it, where there is no engine.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s := &Server{tb: tb, options: o}
	if s.options.User == "" {
		s.options.User = "default"
	}
	if s.remote = os.Getenv("LECTERN_TEST_CLICKHOUSE"); s.remote != "" {
		s.useRemote()
		return s
	}
	library, err := chdb.Library()
	if err != nil {
		missing(tb, err)
	}
	dir := o.Dir
	if dir == "" {
		dir = tb.TempDir()
	}
	s.config = native.Config{Library: library, Dir: dir, User: s.options.User, Password: o.Password, Profile: o.Profile}
	host := loopback()
	s.config.Address = host + ":0"
	if o.Address != "" {
		s.config.Address = o.Address
	}
	s.Configure(o.Configuration)
	if o.TLS {
		s.config.Certificate, s.config.Key = certificate(tb, host)
	}
	tb.Cleanup(func() {
		s.Kill()
		if text := s.current().stderr.String(); tb.Failed() && text != "" {
			tb.Logf("the ClickHouse engine said:\n%s", text)
		}
	})
	s.run()
	return s
}

// Address is one for a server that is started later, where nobody listens.
func Address() string { return loopback() + ":9000" }

// Configure changes the engine's configuration, in XML, from its next start on.
func (s *Server) Configure(text string) {
	s.tb.Helper()
	if text == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(s.config.Dir, "data.xml"), []byte(text), 0o600); err != nil {
		s.tb.Fatal(err)
	}
}

// missing ends a test that cannot run here: a failure where everything has to run.
func missing(tb testing.TB, why error) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatalf("NOT RUN: %v", why)
	}
	tb.Skipf("NOT RUN: %v", why)
}

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// run starts the process and waits until it serves.
func (s *Server) run() {
	s.tb.Helper()
	p, err := start(s.config, s.options.Trace)
	if p != nil {
		s.mu.Lock()
		s.process = p
		s.mu.Unlock()
	}
	if err != nil {
		s.tb.Fatalf("start the ClickHouse engine: %v", err)
	}
	s.config.Address = p.ready.Address // the port stays
}

// ours ends a test that needs more of the server than one that was there can do.
func (s *Server) ours(what string) {
	s.tb.Helper()
	if s.remote != "" {
		s.tb.Skipf("NOT RUN: it %s, which is not done to the server at LECTERN_TEST_CLICKHOUSE", what)
	}
}

// Address is where the server speaks the native protocol, as host:port. It stays
// the same over restarts.
func (s *Server) Address() string {
	if s.remote != "" {
		return s.remote
	}
	return s.config.Address
}

// User is the user that a client has to give.
func (s *Server) User() string { return s.options.User }

// Password is the password that a client has to give.
func (s *Server) Password() string { return s.options.Password }

// CertificateFile is a PEM file with the certificate that the server's TLS uses.
func (s *Server) CertificateFile() string { return s.config.Certificate }

// Dir is the directory that the engine keeps over restarts.
func (s *Server) Dir() string { return s.config.Dir }

// PID is the number of the server's process, which Restart changes; 0 for a server
// that was there.
func (s *Server) PID() int {
	if s.remote != "" {
		return 0
	}
	return s.current().cmd.Process.Pid
}

// Query answers with the rows as text, one cell a column, as TSV has them but
// unescaped (\N for NULL). Faults do not touch it. The test fails on an error.
func (s *Server) Query(sql string) [][]string {
	s.tb.Helper()
	tsv, err := s.tsv(sql)
	if err != nil {
		s.tb.Fatalf("%s: %v", sql, err)
	}
	return native.Rows(tsv)
}

// Exec runs a statement that has no rows to give. Faults do not touch it. The
// error's text has the exception's code and name.
func (s *Server) Exec(sql string) error {
	if s.remote != "" {
		return s.remoteExec(sql)
	}
	_, err := s.tsv(sql)
	return err
}

func (s *Server) tsv(sql string) ([]byte, error) {
	if s.remote != "" {
		return s.remoteTSV(sql)
	}
	return s.current().ask(native.QueryPath, []byte(sql))
}

// Fault arms a fault behind those that are armed. They end with the process.
func (s *Server) Fault(f Fault) {
	s.tb.Helper()
	s.ours("makes faults")
	body, err := json.Marshal(f)
	if err == nil {
		_, err = s.current().ask(native.FaultPath, body)
	}
	if err != nil {
		s.tb.Fatalf("arm the fault %q: %v", f.Kind, err)
	}
}

// Clear disarms all faults, opens a port that Refuse closed, and ends the waits
// of Silent (the connection is cut), Late and Slow (the answer comes).
func (s *Server) Clear() {
	s.tb.Helper()
	s.ours("makes faults")
	if _, err := s.current().ask(native.ClearPath, nil); err != nil {
		s.tb.Fatalf("clear the faults: %v", err)
	}
}

// Inserts counts the insert queries that came over the native protocol since
// the process started, those that a fault hit among them.
func (s *Server) Inserts() int {
	s.tb.Helper()
	s.ours("counts inserts")
	text, err := s.current().ask(native.InsertsPath, nil)
	n, wrong := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || wrong != nil {
		s.tb.Fatalf("count the inserts: %v", fmt.Errorf("%w %w", err, wrong))
	}
	return n
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (s *Server) Kill() {
	s.tb.Helper()
	s.ours("kills the server")
	if p := s.current(); p != nil {
		p.kill()
	}
}

// Restart starts the process again on the same directory and port; one that is
// there is killed first.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	s.run()
}

// Wait waits until the process is gone, by whatever ended it.
func (s *Server) Wait() {
	s.tb.Helper()
	s.ours("waits for the server to end")
	<-s.current().gone
}

// Count begins to count the calls with which the process changes something
// outside of itself, and returns the counts since it was last called (none, for
// the first time). The process is slowed from then on, until it ends. Calls are
// named "create" (an open that may make a file), "write", "rename", "unlink",
// "sync", "truncate", "mkdir", "link", of which only those on the engine's data
// count, and "send", to any client.
func (s *Server) Count() map[string]int {
	s.tb.Helper()
	return s.tracer().Begin(nil)
}

// Calls lists the calls that are counted, in their order, with the files that
// they are made on. It goes back to the last Count or KillAt.
func (s *Server) Calls() []string {
	s.tb.Helper()
	return s.tracer().Lines()
}

// KillAt kills the process at the nth call (from 1) of that name, counted over
// all its threads from now on: before the call does anything, or after it did.
// The names are those of Count.
func (s *Server) KillAt(call string, nth int, after bool) {
	s.tb.Helper()
	s.tracer().Begin(&trace.Aim{Call: call, Nth: nth, After: after})
}

// Killed says whether KillAt has killed the process.
func (s *Server) Killed() bool {
	s.tb.Helper()
	return s.tracer().Killed()
}

// tracer attaches to the process, if that was not done.
func (s *Server) tracer() *trace.Tracer {
	s.tb.Helper()
	s.ours("traces the server")
	t, err := s.current().trace()
	if err != nil {
		missing(s.tb, err)
	}
	return t
}
