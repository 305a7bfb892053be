package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/storage"
)

const forgetHelp = `Take what a reader has read out of the store, for good.

Usage:

  lectern forget --user ID [--stream N] [flags]
  lectern forget --stream N --older-than DURATION [flags]
  lectern forget --log [--config FILE]

What:

` + readerHelp + `  --older-than DURATION
                   only minutes that began longer ago than this, as 400d. Without
                   --user it is of all readers, and of rows of several: a
                   stream's retention, to be run each day
  --log            show what was ever forgotten: when, of which stream, how many
                   rows and events. Of whom is written down nowhere

How:

` + daemonsHelp + `
With --user, each daemon first stores what it has received and not stored yet, also
of the running minute. Then the rows are taken out. When it is done, nothing of
what the daemons had received before is in memory, in a spool or in the store. What
a sender still has in its own queue comes later, and stays: run it again when the
queues are empty. docs/OPERATIONS.md has the rest.

The books go on adding up: accepted = stored + forgotten (lectern books). Where it is
killed, in whatever state, the next run goes on.

Exit status: 0 when it is done, also when there was nothing; 1 when something is
left, or may be: run it again when that is fixed; 2 when the arguments make no
sense.

Examples:

  lectern forget --user 4952883123889572249
  echo 7d1f0a6c-reader | lectern forget --user - --stream 3
  lectern forget --stream 3 --older-than 400d
`

// readerHelp and daemonsHelp are what forget and export have in common.
const (
	readerHelp = `  --user ID        the reader. A number is an id as it is stored; anything else is
                   text, whose xxHash64 is the id; so is what stands behind
                   "text:", for text that is a number. "-" reads it from standard
                   input, so that it is in no history and no list of processes
  --stream N       only this stream
`
	daemonsHelp = `  --daemon HOST:PORT
                   the operations address of another daemon that stores to the
                   same place; may be given more than once. The one of this
                   machine is known (ops.address), and so are those of
                   ops.peers. All have the same token (ops.token_file)
  --wait DURATION  how long daemons may take to store what they have (default 10m)
  --config FILE    the configuration that names the store (default ./config.toml,
                   and where there is none the built-in defaults)
`
)

// forgetOptions are the arguments of `lectern forget` and `lectern export`.
type forgetOptions struct {
	flags     *flag.FlagSet
	config    string
	user      string
	stream    uint16
	olderThan time.Duration
	wait      time.Duration
	daemons   []string
	loaded    config.Config
	meant     storage.Selection
}

func newForgetOptions(name string) *forgetOptions {
	o := &forgetOptions{flags: newFlags(name), wait: 10 * time.Minute}
	o.flags.StringVar(&o.config, "config", "", "")
	o.flags.StringVar(&o.user, "user", "", "")
	o.flags.Func("stream", "", func(text string) (err error) {
		o.stream, err = parseStream(text)
		return err
	})
	o.flags.Var((*duration)(&o.wait), "wait", "")
	o.flags.Func("daemon", "", func(address string) error {
		o.daemons = append(o.daemons, address)
		return nil
	})
	return o
}

// selection reads what is meant, in o.meant. It has said what is wrong where it could not.
func (p *process) selection(o *forgetOptions) (code int, ok bool) {
	name := o.flags.Name()
	if o.flags.Changed("user") {
		id, err := readUser(o.user, p.stdin)
		if err != nil {
			return p.usage(name, err), false
		}
		o.meant.User = &id
	}
	if o.flags.Changed("stream") {
		o.meant.Stream = &o.stream
	}
	if o.loaded, ok = p.load(o.flags, o.config); !ok {
		return 1, false
	}
	return 0, true
}

// userMax is the longest text of a reader that is read from standard input.
const userMax = 4096

// readUser is the id that --user means.
func readUser(text string, stdin io.Reader) (uint64, error) {
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(stdin, userMax+1))
		if err != nil {
			return 0, fmt.Errorf("--user: cannot read standard input: %w", err)
		}
		if len(b) > userMax {
			return 0, fmt.Errorf("--user: more than %d bytes are on standard input", userMax)
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	}
	if text, hashed := strings.CutPrefix(text, "text:"); hashed && text != "" {
		return emit.ID(text), nil
	}
	if text == "" || text == "text:" {
		return 0, errors.New("--user wants an id, or the text that it is made of")
	}
	id, err := strconv.ParseUint(text, 10, 64)
	switch {
	case err != nil:
		return emit.ID(text), nil
	case id == 0:
		return 0, errors.New("--user 0 is no reader: rows of nobody in particular have it")
	}
	return id, nil
}

// runForget is `lectern forget`.
func (p *process) runForget(ctx context.Context, args []string) int {
	o := newForgetOptions("forget")
	o.flags.Var((*duration)(&o.olderThan), "older-than", "")
	log := o.flags.Bool("log", false, "")
	if code, done := p.parse(o.flags, args, forgetHelp); done {
		return code
	}
	user, stream, old := o.flags.Changed("user"), o.flags.Changed("stream"), o.flags.Changed("older-than")
	switch {
	case *log && (user || stream || old):
		return p.usage("forget", errors.New("--log shows all, and goes with nothing else"))
	case !*log && !user && !(stream && old):
		return p.usage("forget", errors.New("it wants --user ID, or --stream N with --older-than DURATION"))
	case old && o.olderThan <= 0:
		return p.usage("forget", fmt.Errorf("--older-than %s is not longer than nothing", config.FormatDuration(o.olderThan)))
	}
	if code, ok := p.selection(o); !ok {
		return code
	}
	f, err := openForgetter(&o.loaded)
	if err != nil {
		return p.fail("forget", err)
	}
	if *log {
		return p.forgetLog(ctx, f, o)
	}
	now := p.now()
	if old {
		o.meant.Before = uint32(max(1, now.Add(-o.olderThan).Unix()/60*60))
	}
	if user {
		if err := p.bring(ctx, o, f); err != nil {
			return p.fail("forget", fmt.Errorf("nothing was forgotten: %w", err))
		}
	}
	done, err := f.Forget(ctx, o.meant, now.UnixMilli())
	code := p.print("forget", forgotten(done, namesOf(&o.loaded)))
	if err != nil {
		code = p.fail("forget", fmt.Errorf("not all is forgotten: %w", err))
	}
	return code
}

// forgotten says how much was.
func forgotten(done []storage.Forgetting, names streamNames) string {
	if len(done) == 0 {
		return "Nothing that was asked for is stored.\n"
	}
	t := table{left: 1}
	t.add("STREAM", "ROWS", "EVENTS")
	for _, n := range done {
		t.add(names.word(n.Stream), number(n.Rows), number(n.Events))
	}
	return t.String() + "\nThis was forgotten.\n"
}

// forgetLog is `lectern forget --log`.
func (p *process) forgetLog(ctx context.Context, f storage.Forgetter, o *forgetOptions) int {
	all, err := f.Log(ctx)
	if err != nil {
		return p.fail("forget", err)
	}
	if len(all) == 0 {
		return p.print("forget", "Nothing was ever forgotten.\n")
	}
	t := table{left: 2}
	t.add("TIME", "STREAM", "ROWS", "EVENTS")
	for _, n := range all {
		t.add(time.UnixMilli(n.At).UTC().Format(time.RFC3339), namesOf(&o.loaded).word(n.Stream), number(n.Rows), number(n.Events))
	}
	return p.print("forget", t.String())
}
