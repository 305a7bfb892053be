package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage"
)

// library stands in for a stored directory: it keeps what it was asked and
// gives fixed answers.
type library struct {
	dir   string
	asked storage.TopQuery
	rows  []storage.TopRow
	books []storage.BookTotal
	names map[storage.ContentKey]string
	err   error
}

func (l *library) Top(_ context.Context, q storage.TopQuery) ([]storage.TopRow, error) {
	l.asked = q
	return l.rows, l.err
}

func (l *library) Books(context.Context) ([]storage.BookTotal, error) { return l.books, l.err }

func (l *library) Called(_ context.Context, wanted []storage.ContentKey) (map[storage.ContentKey]string, error) {
	called := make(map[storage.ContentKey]string)
	for _, key := range wanted {
		if text, ok := l.names[key]; ok {
			called[key] = text
		}
	}
	return called, l.err
}

func (l *library) Names(context.Context, int) ([]storage.Book, error) { return nil, l.err }

// atNoon is the clock of the tests: 2026-03-01 12:00:30 UTC.
func atNoon() time.Time { return time.Unix(1_772_366_430, 0) }

// runWith runs a command on a library; a nil one cannot be opened.
func runWith(t testing.TB, l *library, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := process{
		environ: environ, stdin: strings.NewReader(""), stdout: &out, stderr: &errs, now: atNoon,
		open: func(c *config.Config) (storage.Reader, error) {
			if l == nil {
				return nil, errors.New("the disk is gone")
			}
			l.dir = c.Parquet.Dir
			return l, nil
		},
	}
	code = p.run(t.Context(), args)
	return code, out.String(), errs.String()
}

// file writes a file of the test's.
func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const wholeHelp = `Lectern counts reading.

Usage:

  lectern COMMAND [flags]

Commands:

  serve      receive events, count them and store what was counted
  edge       take events from browsers and proxies, and bring them to a collector
  check      say what is wrong with the configuration, and what memory it may take
  emit       send the events of an access log, or made-up ones
  top        show what is read most
  books      show what became of every event, and whether it adds up
  export     write all that is known of a reader
  forget     take what a reader has read out of the store
  schema     print the tables in ClickHouse, or make them
  keys       make and look at the keys that frames are sealed with
  spool      look into the spool: what waits for the store
  rmem       say what receive buffers the kernel grants, or raise them
  bench      measure what load this node sustains, and what it loses
  conform    find out whether a client in any language keeps to the protocol
  completion print what a shell completes commands and flags by
  man        print the manual page
  version    show the version
  help       show what a command takes

Run "lectern help COMMAND" to see what a command takes.
`

func TestCommands(t *testing.T) {
	for _, test := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"", 2, "", wholeHelp},
		{"--help", 0, wholeHelp, ""},
		{"-h", 0, wholeHelp, ""},
		{"help", 0, wholeHelp, ""},
		{"help help", 0, helpHelp, ""},
		{"help --help", 0, helpHelp, ""},
		{"sevre", 2, "", "lectern: \"sevre\" is not a command; did you mean \"serve\"?\nRun \"lectern --help\" to see what it takes.\n"},
		{"xyzzyxyzzy", 2, "", "lectern: \"xyzzyxyzzy\" is not a command\nRun \"lectern --help\" to see what it takes.\n"},
		{"--config x", 2, "", "lectern: \"--config\" is not a command\nRun \"lectern --help\" to see what it takes.\n"},
		{"help tpo", 2, "", "lectern help: \"tpo\" is not a command; did you mean \"top\"?\nRun \"lectern help --help\" to see what it takes.\n"},
		{"help spool ls", 0, spoolHelp, ""},
		{"help top books", 2, "", "lectern help: it takes one command, not 2\nRun \"lectern help --help\" to see what it takes.\n"},
		{"check --what", 2, "", "lectern check: --what is not a flag here\nRun \"lectern check --help\" to see what it takes.\n"},
		{"check --confg x", 2, "", "lectern check: --confg is not a flag here; did you mean \"--config\"?\nRun \"lectern check --help\" to see what it takes.\n"},
		{"check --config", 2, "", "lectern check: --config wants a value\nRun \"lectern check --help\" to see what it takes.\n"},
		{"top --since 5", 2, "", "lectern top: --since \"5\" is not a duration, such as \"10s\" (ms, s, m, h, d)\nRun \"lectern top --help\" to see what it takes.\n"},
		{"top -n five", 2, "", "lectern top: -n \"five\" is not a whole number of at most 18 digits\nRun \"lectern top --help\" to see what it takes.\n"},
		{"bench --zipf x", 2, "", "lectern bench: --zipf \"x\" is not a number\nRun \"lectern bench --help\" to see what it takes.\n"},
		{"emit --rate=x", 2, "", "lectern emit: --rate \"x\" is not a whole number of at most 18 digits\nRun \"lectern emit --help\" to see what it takes.\n"},
		{"emit --events 99999999999999999999", 2, "", "lectern emit: --events \"99999999999999999999\" is not a whole number of at most 18 digits\nRun \"lectern emit --help\" to see what it takes.\n"},
		{"--version now", 2, "", "lectern version: \"now\" is not a flag, and nothing else is taken\nRun \"lectern version --help\" to see what it takes.\n"},
		{"books now", 2, "", "lectern books: \"now\" is not a flag, and nothing else is taken\nRun \"lectern books --help\" to see what it takes.\n"},
		{"forget", 2, "", "lectern forget: it wants --user ID, or --stream N with --older-than DURATION\nRun \"lectern forget --help\" to see what it takes.\n"},
		{"forget --stream 3", 2, "", "lectern forget: it wants --user ID, or --stream N with --older-than DURATION\nRun \"lectern forget --help\" to see what it takes.\n"},
		{"forget --user 0", 2, "", "lectern forget: --user 0 is no reader: rows of nobody in particular have it\nRun \"lectern forget --help\" to see what it takes.\n"},
		{"forget --log --user 5", 2, "", "lectern forget: --log shows all, and goes with nothing else\nRun \"lectern forget --help\" to see what it takes.\n"},
		{"forget --stream 3 --older-than 0s", 2, "", "lectern forget: --older-than 0s is not longer than nothing\nRun \"lectern forget --help\" to see what it takes.\n"},
		{"export --user 5 --format xml", 2, "", "lectern export: --format \"xml\" is neither ndjson nor csv\nRun \"lectern export --help\" to see what it takes.\n"},
		{"version 2", 2, "", "lectern version: \"2\" is not a flag, and nothing else is taken\nRun \"lectern version --help\" to see what it takes.\n"},
	} {
		code, stdout, stderr := runWith(t, nil, nil, strings.Fields(test.args)...)
		if code != test.code || stdout != test.stdout || stderr != test.stderr {
			t.Errorf("lectern %s: exit %d\n%s%s", test.args, code, stdout, stderr)
		}
	}
}

// Every command explains itself, in two ways that say the same.
func TestHelpOfEveryCommand(t *testing.T) {
	for _, name := range []string{"serve", "check", "emit", "top", "books", "export", "forget", "schema", "spool", "rmem", "bench", "completion", "man", "version"} {
		code, help, stderr := runWith(t, nil, nil, "help", name)
		if code != 0 || stderr != "" || !strings.Contains(help, "Usage:\n\n  lectern "+name) {
			t.Errorf("help %s: exit %d, %q, %q", name, code, help, stderr)
		}
		code, same, stderr := runWith(t, nil, nil, name, "--help")
		if code != 0 || stderr != "" || same != help {
			t.Errorf("%s --help: exit %d, %q, %q", name, code, same, stderr)
		}
		for line := range strings.Lines(help) {
			if len([]rune(line)) > 86 {
				t.Errorf("%s: a long line: %s", name, line)
			}
		}
	}
}

// run is what main calls: with the real store.
func TestRun(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"version"}, nil, nil, &out, &errs); code != 0 || !strings.HasPrefix(out.String(), "lectern ") {
		t.Errorf("exit %d, %q, %q", code, out.String(), errs.String())
	}
}

// fullDisk is what /dev/full is.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestAnswerThatCannotBeWritten(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"check"}, {"books", "--dir", "x"}, {"top", "--dir", "x"}} {
		t.Chdir(t.TempDir())
		var errs bytes.Buffer
		p := process{stdout: fullDisk{}, stderr: &errs, now: atNoon, open: func(*config.Config) (storage.Reader, error) {
			return &library{rows: make([]storage.TopRow, 1)}, nil
		}}
		want := "lectern " + args[0] + ": cannot write the answer: no space left\n"
		if code := p.run(t.Context(), args); code != 1 || errs.String() != want {
			t.Errorf("%v: exit %d, %q", args, code, errs.String())
		}
	}
}
