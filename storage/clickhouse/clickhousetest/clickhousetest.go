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
package clickhousetest

import (
	"testing"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/native"
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
	// TLS makes the server speak TLS only, with the certificate CertificateFile.
	TLS bool
	// Trace is put before the command of the process, as "strace", "-f", ...
	Trace []string
}

// A Server is a ClickHouse for one test. Its methods fail the test on errors
// that are not the test's subject; they may be called from several goroutines.
type Server struct {
	tb testing.TB
}

// Start starts a server, which goes with the test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	tb.Skip("not yet")
	return &Server{tb: tb}
}

// Address is where the server speaks the native protocol, as host:port. It stays
// the same over restarts.
func (s *Server) Address() string { return "" }

// CertificateFile is a PEM file with the certificate that the server's TLS uses.
func (s *Server) CertificateFile() string { return "" }

// Query answers with the rows as text, one cell a column, as TSV has them but
// unescaped. Faults do not touch it. The test fails on an error.
func (s *Server) Query(sql string) [][]string { return nil }

// Exec runs a statement that has no rows to give. Faults do not touch it.
func (s *Server) Exec(sql string) error { return nil }

// Fault arms a fault behind those that are armed.
func (s *Server) Fault(f Fault) {}

// Clear disarms all faults, and ends those that wait.
func (s *Server) Clear() {}

// Inserts counts the insert queries that came over the native protocol since
// the process started, those that a fault hit among them.
func (s *Server) Inserts() int { return 0 }

// Kill ends the process with SIGKILL and waits until it is gone.
func (s *Server) Kill() {}

// Restart starts the process again on the same directory and port.
func (s *Server) Restart() {}

// Wait waits until the process is gone, by whatever ended it.
func (s *Server) Wait() {}

// Count begins to count the calls with which the engine changes its directory,
// and returns the counts since it was last called. See KillAt for the names.
func (s *Server) Count() map[string]int { return nil }

// KillAt kills the process at the nth call (from 1) of that name, counted over
// all its threads from now on, before the call does anything or after it did.
// Calls are named "create" (an open that may make a file), "write", "rename",
// "unlink", "sync", "truncate", "mkdir" and "link"; only those on the engine's
// directory count.
func (s *Server) KillAt(call string, nth int, after bool) {}
