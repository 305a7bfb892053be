package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/cmd/lectern/internal/hush"
	"github.com/lectern/lectern/storage"
)

func main() {
	hush.Speak()
	os.Exit(run(untilInterrupted(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit code: 0 for success, 1 for a
// failure, 2 when the arguments make no sense.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := process{
		environ: environ, stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now, open: openReader,
	}
	return p.run(ctx, args)
}

// process is what a command has of the world outside.
type process struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
	open           func(*config.Config) (storage.Reader, error) // the store, for questions
}

// command is one of lectern's.
type command struct {
	name    string
	summary string
	help    string
	run     func(ctx context.Context, args []string) int
}

// commands is every command, in the order of the help text.
func (p *process) commands() []command {
	return []command{
		{"serve", "receive events, count them and store what was counted", serveHelp, p.runServe},
		{"edge", "take events from browsers and proxies, and bring them to a collector", edgeHelp, p.runEdge},
		{"check", "say what is wrong with the configuration, and what memory it may take", checkHelp, p.runCheck},
		{"emit", "send the events of an access log, or made-up ones", emitHelp, p.runEmit},
		{"top", "show what is read most", topHelp, p.runTop},
		{"books", "show what became of every event, and whether it adds up", booksHelp, p.runBooks},
		{"export", "write all that is known of a reader", exportHelp, p.runExport},
		{"forget", "take what a reader has read out of the store", forgetHelp, p.runForget},
		{"schema", "print the tables in ClickHouse, or make them", schemaHelp, p.runSchema},
		{"keys", "make and look at the keys that frames are sealed with", keysHelp, p.runKeys},
		{"spool", "look into the spool: what waits for the store", spoolHelp, p.runSpool},
		{"rmem", "say what receive buffers the kernel grants, or raise them", rmemHelp, p.runRmem},
		{"bench", "measure what load this node sustains, and what it loses", benchHelp, p.runBench},
		{"conform", "find out whether a client in any language keeps to the protocol", conformHelp, p.runConform},
		{"completion", "print what a shell completes commands and flags by", completionHelp, p.runCompletion},
		{"man", "print the manual page", manHelp, p.runMan},
		{"version", "show the version", versionHelp, p.runVersion},
		{"help", "show what a command takes", helpHelp, p.runHelp},
	}
}

const helpHelp = `Show what a command takes.

Usage:

  lectern help [COMMAND]
`

func (p *process) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(p.stderr, p.help())
		return 2
	}
	switch args[0] {
	case "-h", "-help", "--help":
		fmt.Fprint(p.stdout, p.help())
		return 0
	case "-V", "-version", "--version":
		return p.runVersion(ctx, args[1:])
	}
	c, err := p.find(args[0])
	if err != nil {
		return p.usage("", err)
	}
	return c.run(ctx, args[1:])
}

// find returns the command of this name.
func (p *process) find(name string) (command, error) {
	all := p.commands()
	if i := slices.IndexFunc(all, func(c command) bool { return c.name == name }); i >= 0 {
		return all[i], nil
	}
	var names []string
	for _, c := range all {
		names = append(names, c.name)
	}
	if near := config.Nearest(name, names); near != "" {
		return command{}, fmt.Errorf("%q is not a command; did you mean %q?", name, near)
	}
	return command{}, fmt.Errorf("%q is not a command", name)
}

// help is what all of lectern takes.
func (p *process) help() string {
	var b strings.Builder
	b.WriteString("Lectern counts reading.\n\nUsage:\n\n  lectern COMMAND [flags]\n\nCommands:\n\n")
	for _, c := range p.commands() {
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.summary)
	}
	b.WriteString("\nRun \"lectern help COMMAND\" to see what a command takes.\n")
	return b.String()
}

// runHelp is `lectern help`.
func (p *process) runHelp(_ context.Context, args []string) int {
	switch {
	case len(args) == 0:
		fmt.Fprint(p.stdout, p.help())
		return 0
	case len(args) == 2 && (args[0] == "spool" || args[0] == "keys"):
		args = args[:1] // what "spool ls" takes stands with the others
	case len(args) > 1:
		return p.usage("help", fmt.Errorf("it takes one command, not %d", len(args)))
	case args[0] == "-h" || args[0] == "-help" || args[0] == "--help":
		args = []string{"help"}
	}
	c, err := p.find(args[0])
	if err != nil {
		return p.usage("help", err)
	}
	fmt.Fprint(p.stdout, c.help)
	return 0
}

// usage says that the arguments make no sense, and returns the exit code for it.
// name is the command's, empty where there is none.
func (p *process) usage(name string, err error) int {
	if name != "" {
		name = " " + name
	}
	fmt.Fprintf(p.stderr, "lectern%s: %v\nRun \"lectern%s --help\" to see what it takes.\n", name, err, name)
	return 2
}

// fail says what failed, and returns the exit code for it.
func (p *process) fail(name string, err error) int {
	fmt.Fprintf(p.stderr, "lectern %s: %v\n", name, err)
	return 1
}

// print writes a command's answer and returns the exit code.
func (p *process) print(name, answer string) int {
	if _, err := io.WriteString(p.stdout, answer); err != nil {
		return p.fail(name, fmt.Errorf("cannot write the answer: %w", err))
	}
	return 0
}
