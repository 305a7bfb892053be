//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	flag "github.com/spf13/pflag"

	"github.com/lectern/lectern/cmd/lectern/internal/conform"
	"github.com/lectern/lectern/wire/testdata"
)

const conformHelp = `Find out whether an emitter, in any language, keeps to the protocol over time.

Usage:

  lectern conform [flags] -- COMMAND [ARG...]

COMMAND is a driver: a small program around the emitter that does what it reads
on its standard input, by wire/SPEC.md, section 14. For each dialogue it is
started anew, and Lectern is its collector, on 127.0.0.1 and 127.0.0.2: it
acknowledges, refuses, cuts, vanishes and forgets as the dialogue says, and judges
every byte that comes. What an emitter does not claim to have is NOT DONE.

Flags:

  --only PATTERN   the dialogues whose names match, such as "udp-*"
  --dialogues DIR  those in a directory, and not the built-in ones
  --trace          print every line that is spoken, and every frame that comes
  --json           print one JSON object

Example:

  lectern conform --only "udp-*" -- python3 clients/python/driver.py

Exit status: 0 when no dialogue failed; 1 when one did, or there is no driver; 2
when the arguments make no sense.
`

// conformReport is what --json prints.
type conformReport struct {
	Client    string           `json:"client"`
	Has       []string         `json:"has"`
	OK        int              `json:"ok"`
	Failed    int              `json:"failed"`
	NotDone   int              `json:"not_done"`
	Dialogues []conform.Result `json:"dialogues"`
}

// runConform is `lectern conform`.
func (p *process) runConform(ctx context.Context, args []string) int {
	flags := newFlags("conform")
	only := flags.String("only", "*", "")
	dir := flags.String("dialogues", "", "")
	trace := flags.Bool("trace", false, "")
	asJSON := flags.Bool("json", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return p.print("conform", conformHelp)
	case err != nil:
		return p.usage("conform", flagError(flags, err))
	case flags.NArg() == 0:
		return p.usage("conform", errors.New("say how to start the driver: lectern conform -- COMMAND"))
	}
	dialogues, err := readDialogues(*dir, *only)
	if err != nil {
		return p.fail("conform", err)
	}
	r := conform.Runner{Command: flags.Args(), Environ: p.environ}
	if *trace {
		r.Trace = func(said string) { fmt.Fprintln(p.stderr, said) }
	}
	report, err := p.converse(ctx, &r, dialogues, !*asJSON)
	if err != nil {
		return p.fail("conform", err)
	}
	if *asJSON {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return p.fail("conform", err)
		}
		fmt.Fprintf(p.stdout, "%s\n", text)
	} else {
		fmt.Fprintf(p.stdout, "%s: %d ok, %d failed, %d not done\n", report.Client, report.OK, report.Failed, report.NotDone)
	}
	if report.Failed > 0 {
		return 1
	}
	return 0
}

// readDialogues returns the dialogues of a directory, or the built-in ones, that
// a pattern takes.
func readDialogues(dir, only string) (some []conform.Dialogue, err error) {
	files := os.DirFS(dir)
	if dir == "" {
		if files, err = fs.Sub(testdata.Files, "dialogues"); err != nil {
			return nil, err
		}
	}
	all, err := conform.Read(files)
	if err != nil {
		return nil, fmt.Errorf("the dialogues: %w", err)
	}
	for _, d := range all {
		match, err := path.Match(only, d.Name)
		if err != nil {
			return nil, fmt.Errorf("--only %q: %w", only, err)
		}
		if match {
			some = append(some, d)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("no dialogue's name matches %q", only)
	}
	return some, nil
}

// converse plays the dialogues, and prints each result where it is wanted.
func (p *process) converse(ctx context.Context, r *conform.Runner, dialogues []conform.Dialogue, say bool) (report conformReport, err error) {
	for _, d := range dialogues {
		if err := ctx.Err(); err != nil {
			return report, fmt.Errorf("it was interrupted after %d of %d dialogues", len(report.Dialogues), len(dialogues))
		}
		result, err := r.Play(d)
		if err != nil {
			return report, err
		}
		switch result.Outcome {
		case conform.OK:
			report.OK++
		case conform.Failed:
			report.Failed++
		case conform.NotDone:
			report.NotDone++
		}
		report.Dialogues = append(report.Dialogues, result)
		if say {
			fmt.Fprint(p.stdout, result.String())
		}
	}
	report.Client, report.Has = r.Client, r.Has
	return report, nil
}
