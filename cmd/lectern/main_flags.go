package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse"
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

// given says whether a flag was among the arguments.
func given(flags *flag.FlagSet, name string) bool { return flags.Changed(name) }

// load reads the configuration that --config names, or else the usual one. It
// has said what is wrong where it could not.
func (p *process) load(flags *flag.FlagSet, path string) (config.Config, bool) {
	c, problems := config.Load(path, given(flags, "config"), p.environ)
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
	return *namesOf(s.loaded)
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
	open := func() (storage.Reader, error) { return p.open(s.dir) }
	if !given(s.flags, "dir") {
		c, ok := p.load(s.flags, s.config)
		if !ok {
			return nil, false
		}
		s.dir, s.loaded = storeName(&c), &c
		if c.Storage.Driver == "clickhouse" {
			open = func() (storage.Reader, error) { return clickhouse.OpenReader(clickhouseOptions(&c)) }
		}
	}
	reader, err := open()
	if err != nil {
		p.fail(s.flags.Name(), fmt.Errorf("cannot open the store in %q: %w", s.dir, err))
		return nil, false
	}
	return reader, true
}
