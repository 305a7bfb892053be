package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// newFlags returns an empty set of flags that says nothing by itself.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.SetInterspersed(false) // what is behind the flags is another program's
	return flags
}

// parse reads a command's arguments, which are flags alone. With done, the
// command is at its end: it was asked for help, or the arguments make no sense.
func (p *process) parse(flags *flag.FlagSet, args []string, help string) (code int, done bool) {
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return p.print(flags.Name(), help), true
	case err != nil:
		return p.usage(flags.Name(), flagError(flags, err)), true
	case flags.NArg() > 0:
		return p.usage(flags.Name(), fmt.Errorf("%q is not a flag, and nothing else is taken", flags.Arg(0))), true
	}
	return 0, false
}

// parseAction is parse for a command whose first argument says what to do: one of the
// actions of its help text. what is what is to be said.
func (p *process) parseAction(flags *flag.FlagSet, args []string, help, what string) (action string, code int, done bool) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		action, args = args[0], args[1:]
	}
	if code, done = p.parse(flags, args, help); done {
		return action, code, true
	}
	actions := actionsOf(flags.Name(), help)
	if slices.Contains(actions, action) {
		return action, 0, false
	}
	last := len(actions) - 1
	list := strings.Join(actions[:last], ", ")
	err := fmt.Errorf("%q is not one of %s and %s%s", action, list, actions[last], didYouMean(action, actions...))
	if action == "" {
		err = fmt.Errorf("say %s: %s or %s", what, list, actions[last])
	}
	return action, p.usage(flags.Name(), err), true
}

// goWith says which of the flags that were given goes with other actions: with has
// the words of those that each goes with.
func goWith(flags *flag.FlagSet, action string, with map[string]string) (err error) {
	flags.Visit(func(f *flag.Flag) {
		if others, ok := with[f.Name]; ok && !slices.Contains(strings.Fields(others), action) {
			err = fmt.Errorf("--%s goes with %s, not with %s", f.Name, others, action)
		}
	})
	return err
}

// flagError is an error of Parse in the words of the help texts.
func flagError(flags *flag.FlagSet, err error) error {
	var unknown *flag.NotExistError
	var empty *flag.ValueRequiredError
	var bad *flag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := dashes(unknown.GetSpecifiedName())
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			name = "-" + short
		}
		var names []string
		flags.VisitAll(func(f *flag.Flag) { names = append(names, dashes(f.Name)) })
		return fmt.Errorf("%s is not a flag here%s", name, didYouMean(name, names...))
	case errors.As(err, &empty):
		return fmt.Errorf("%s wants a value", dashes(empty.GetFlag().Name))
	case errors.As(err, &bad):
		return valueError(bad)
	}
	return err
}

func didYouMean(word string, candidates ...string) string {
	if near := config.Nearest(word, candidates); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// valueError says what a flag takes that has something else.
func valueError(err *flag.InvalidValueError) error {
	name, kind := dashes(err.GetFlag().Name), ""
	switch err.GetFlag().Value.Type() {
	case "duration":
		kind = `a duration, such as "10s" (ms, s, m, h, d)`
	case "float64":
		kind = "a number"
	case "bool":
		kind = "true or false"
	case "int", "int64", "uint", "uint64":
		kind = "a whole number of at most 18 digits"
	default: // it says by itself what is wrong
		return fmt.Errorf("%s %q: %w", name, err.GetValue(), err.Unwrap())
	}
	return fmt.Errorf("%s %q is not %s", name, err.GetValue(), kind)
}

// duration is the value of a flag that takes what the configuration takes, days
// among it.
type duration time.Duration

func (d *duration) String() string { return config.FormatDuration(time.Duration(*d)) }

func (d *duration) Type() string { return "duration" }

func (d *duration) Set(text string) error {
	parsed, err := config.ParseDuration(text)
	*d = duration(parsed)
	return err
}

// dashes is a flag as the help texts write it.
func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// load reads the configuration that --config names, or else the usual one. It
// has said what is wrong where it could not.
func (p *process) load(flags *flag.FlagSet, path string) (config.Config, bool) {
	c, problems := config.Load(path, flags.Changed("config"), p.environ)
	for _, problem := range problems {
		fmt.Fprintf(p.stderr, "lectern %s: %v\n", flags.Name(), problem)
	}
	return c, len(problems) == 0
}

// storeFlags are the flags of the commands that read the store.
type storeFlags struct {
	flags  *flag.FlagSet
	config string
	dir    string // and, without --dir, what messages call the store
	json   bool
	loaded *config.Config // nil with --dir
}

func newStoreFlags(name string) *storeFlags {
	s := &storeFlags{flags: newFlags(name)}
	s.flags.StringVar(&s.config, "config", "", "")
	s.flags.StringVar(&s.dir, "dir", "", "")
	s.flags.BoolVar(&s.json, "json", false, "")
	return s
}

// streams are the names of streams that the configuration has; none with --dir.
func (s *storeFlags) streams() streamNames {
	if s.loaded == nil {
		return nil
	}
	return namesOf(s.loaded)
}

// numbers are those of streams with these names.
func (s *storeFlags) numbers(named []string) (numbers []uint16, err error) {
	names := s.streams()
	known := slices.Sorted(maps.Values(names))
	for _, name := range named {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("--stream %q: it is neither a stream, 0 to %d, nor the name of one in the configuration%s", name, wire.StreamReserved-1, didYouMean(name, known...))
		}
		for number, of := range names {
			if of == name {
				numbers = append(numbers, number)
			}
		}
	}
	return numbers, nil
}

// openStore opens the store that --dir names, or else the configuration. It has
// said why where it could not.
func (p *process) openStore(s *storeFlags) (storage.Reader, bool) {
	var c config.Config
	if s.flags.Changed("dir") {
		c.Storage.Driver, c.Parquet.Dir = "parquet", s.dir
	} else {
		var ok bool
		if c, ok = p.load(s.flags, s.config); !ok {
			return nil, false
		}
		s.dir, s.loaded = storeName(&c), &c
	}
	reader, err := p.open(&c)
	if err != nil {
		p.fail(s.flags.Name(), fmt.Errorf("cannot open the store in %q: %w", s.dir, err))
		return nil, false
	}
	return reader, true
}
