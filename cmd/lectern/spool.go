package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/lectern/lectern/storage/parquet"
	"github.com/lectern/lectern/storage/spool"
)

const spoolHelp = `Look into the spool: what was counted and is not in the store yet.

Usage:

  lectern spool ls [--json] [--config FILE] [--dir DIR]
  lectern spool verify [--config FILE] [--dir DIR]
  lectern spool export --to DIR [--block N] [--config FILE] [--dir DIR]
  lectern spool init [--owner UID:GID] [--config FILE] [--dir DIR]
  lectern spool renew [--config FILE] [--dir DIR]
  lectern spool resend --block N | --all [--yes] [--config FILE] [--dir DIR]

  ls       what waits: the seals that are in no block yet, and the blocks that
           wait for the store, with their age
  verify   reads every record and every block, and checks their checksums
  export   writes blocks that wait as Parquet files to another directory, which
           "lectern top --dir DIR" reads; all of them, or the one of --block.
           What is sealed and in no block yet is not among them
  init     makes the directory where it is missing, for its owner alone, and
           gives it, and all that is in it, to --owner: for an init container,
           as root with the capabilities CHOWN and FOWNER. It may run again
  renew    moves what the spool holds to a directory in it, renewed-1 or the
           next: for a spool of which "lectern serve" says that nothing from it
           may be stored. The next start begins a new one; clients over TCP that
           the old one knew begin new sources. No daemon may have it meanwhile
  resend   has a block sent again when ClickHouse cannot say whether it has it, or
           all blocks that wait; it says what that risks, and does it with --yes

The directory may have places of several daemons that followed each other in it:
ls, verify and export look into all of them, renew only into that of --dir.

Flags:

  --config FILE    the configuration that names the spool (default ./config.toml,
                   and where there is none the built-in defaults)
  --dir DIR        the spool in this directory instead
  --json           with ls: one JSON object, {"places":[…]}, with the seals, the
                   blocks and the damaged files of each; times are Unix
                   milliseconds, sizes bytes

Only init, renew and resend change anything. The others, and resend, may run beside
a running daemon or after it has ended.

Exit status: 0 when all was read and nothing is damaged; 1 when something is, or
cannot be read; 2 when the arguments make no sense.
`

// spoolFlags are the arguments of `lectern spool`.
type spoolFlags struct {
	flags  *flag.FlagSet
	config string
	dir    string
	to     string
	owner  string
	block  uint64
	all    bool // blocks
	yes    bool // the risk is taken
	json   bool
}

// runSpool is `lectern spool`.
func (p *process) runSpool(ctx context.Context, args []string) int {
	s := &spoolFlags{flags: newFlags("spool")}
	s.flags.StringVar(&s.config, "config", "", "")
	s.flags.StringVar(&s.dir, "dir", "", "")
	s.flags.StringVar(&s.to, "to", "", "")
	s.flags.StringVar(&s.owner, "owner", "", "")
	s.flags.Uint64Var(&s.block, "block", 0, "")
	s.flags.BoolVar(&s.all, "all", false, "")
	s.flags.BoolVar(&s.yes, "yes", false, "")
	s.flags.BoolVar(&s.json, "json", false, "")
	action, code, done := p.parseAction(s.flags, args, spoolHelp, "what to do")
	if done {
		return code
	}
	err := goWith(s.flags, action, map[string]string{
		"to": "export", "block": "export and resend", "all": "resend", "yes": "resend", "json": "ls", "owner": "init",
	})
	if action == "export" && s.to == "" {
		err = errors.New("export needs --to DIR")
	}
	if err != nil {
		return p.usage("spool", err)
	}
	if !s.flags.Changed("dir") {
		c, ok := p.load(s.flags, s.config)
		if !ok {
			return 1
		}
		s.dir = c.Spool.Dir
	}
	return map[string]func() int{
		"ls":     func() int { return p.spoolList(s) },
		"verify": func() int { return p.spoolVerify(s) },
		"export": func() int { return p.spoolExport(ctx, s) },
		"init":   func() int { return p.spoolInit(s) },
		"renew":  func() int { return p.spoolRenew(s) },
		"resend": func() int { return p.spoolResend(s) },
	}[action]()
}

// place is one spool directory, with what is in it.
type place struct {
	dir string
	*spool.Contents
}

// holds says whether it is a spool: one has at least a log.
func (c place) holds() bool { return len(c.Logs)+len(c.Segments)+len(c.Bad) > 0 }

// spoolContents reads the directory, and the places below it; it has said why
// where it could not.
func (p *process) spoolContents(s *spoolFlags) (all []place, ok bool) {
	dirs, err := spool.Places(s.dir)
	for _, dir := range dirs {
		if len(dirs) > 1 && spool.Vacant(dir) {
			continue
		}
		var c *spool.Contents
		if c, err = spool.Inspect(dir); err != nil {
			break
		}
		all = append(all, place{dir, c})
	}
	if err == nil && !slices.ContainsFunc(all, place.holds) && len(all) == len(dirs) {
		err = errors.New("there is none")
	}
	if err != nil {
		p.fail("spool", fmt.Errorf("cannot read the spool in %q; is that what `lectern serve` keeps it in? %w", s.dir, err))
		return nil, false
	}
	return all, true
}

// spoolList is `lectern spool ls`.
func (p *process) spoolList(s *spoolFlags) int {
	places, ok := p.spoolContents(s)
	if !ok {
		return 1
	}
	if s.json {
		return p.spoolListJSON(places)
	}
	var b strings.Builder
	for i, c := range places {
		if i > 0 {
			b.WriteByte('\n')
		}
		if len(places) > 1 {
			fmt.Fprintf(&b, "In %s:\n", c.dir)
		}
		p.listPlace(&b, c.Contents)
	}
	return p.print("spool", b.String())
}

func (p *process) listPlace(b *strings.Builder, c *spool.Contents) {
	seals, rows, since := c.Sealed()
	fmt.Fprintf(b, "Collector %016x.\n", c.Collector)
	if seals > 0 {
		fmt.Fprintf(b, "%d seals with %d rows are in no block yet, the oldest from %s.\n", seals, rows, age(p.now(), since))
	} else {
		b.WriteString("No seals wait to become blocks.\n")
	}
	t := table{left: 1}
	t.add("BLOCK", "DAY", "ROWS", "BOOKS", "BYTES", "RECEIVED")
	for _, r := range c.Queue() {
		for _, block := range r.Blocks {
			day := "-"
			if block.Rows > 0 {
				day = dayOf(block.Day).Format(time.DateOnly)
			}
			t.add(number(block.Number), day, number(block.Rows), number(block.Books), number(block.Length), age(p.now(), r.Window.Start))
		}
	}
	if len(t.rows) == 1 {
		b.WriteString("No blocks wait for the store.\n")
	} else {
		fmt.Fprintf(b, "%d blocks wait for the store, or for a file to be released:\n\n%s", len(t.rows)-1, t.String())
	}
	for _, bad := range c.Bad {
		fmt.Fprintf(b, "%s is damaged and was set aside (%d bytes).\n", bad.Name, bad.Size)
	}
}

// age is a moment, in Unix milliseconds, and how long ago it was.
func age(now time.Time, at int64) string {
	t := time.UnixMilli(at).UTC()
	return fmt.Sprintf("%s (%s ago)", t.Format("2006-01-02T15:04:05Z"), now.Sub(t).Round(time.Second))
}

// spoolVerify is `lectern spool verify`.
func (p *process) spoolVerify(s *spoolFlags) int {
	places, ok := p.spoolContents(s)
	if !ok {
		return 1
	}
	var b strings.Builder
	damaged := false
	for _, c := range places {
		below := ""
		if len(places) > 1 {
			below = c.dir + "/"
		}
		verifyPlace(&b, c.Contents, below)
		damaged = damaged || c.Damaged()
	}
	if damaged {
		b.WriteString("\nSomething is damaged: what was acknowledged may be missing.\n")
		_ = p.print("spool", b.String())
		return 1
	}
	b.WriteString("\nEvery checksum is right.\n")
	return p.print("spool", b.String())
}

func verifyPlace(b *strings.Builder, c *spool.Contents, below string) {
	for _, l := range c.Logs {
		fmt.Fprintf(b, "%s%s: %d records", below, l.Name, len(l.Records))
		if l.Torn > 0 {
			fmt.Fprintf(b, ", and %d bytes of a write that was cut off or goes on now", l.Torn)
		}
		verdict(b, l.Damage, l.Unread)
	}
	for _, r := range c.Segments {
		fmt.Fprintf(b, "%s%s: %d blocks", below, r.Name, len(r.Blocks))
		verdict(b, r.Damage, r.Unread)
		for _, block := range r.Blocks {
			if block.Damage != "" {
				fmt.Fprintf(b, "  block %d is DAMAGED: %s\n", block.Number, block.Damage)
			}
			if block.Unread != "" {
				fmt.Fprintf(b, "  block %d is UNREADABLE now: %s\n", block.Number, block.Unread)
			}
		}
	}
	for _, bad := range c.Bad {
		fmt.Fprintf(b, "%s%s: set aside as DAMAGED\n", below, bad.Name)
	}
}

func verdict(w io.Writer, damage, unread string) {
	switch {
	case damage != "":
		fmt.Fprintln(w, ", DAMAGED: "+damage)
	case unread != "":
		fmt.Fprintln(w, ", UNREADABLE now, which says nothing of what it holds: "+unread)
	default:
		fmt.Fprintln(w, ", good")
	}
}

// spoolRenew is `lectern spool renew`.
func (p *process) spoolRenew(s *spoolFlags) int {
	moved, files, err := spool.Renew(s.dir)
	if err != nil {
		return p.fail("spool", err)
	}
	return p.print("spool", fmt.Sprintf("%d files are in %s now; `lectern spool ls --dir %s` says what they hold. The next start begins a new spool in %s.\n", files, moved, moved, s.dir))
}

// spoolExport is `lectern spool export`.
func (p *process) spoolExport(ctx context.Context, s *spoolFlags) int {
	places, ok := p.spoolContents(s)
	if !ok {
		return 1
	}
	var sum exported
	for _, c := range places {
		if code := p.exportPlace(ctx, s, c, &sum); code != 0 {
			return code
		}
	}
	if s.flags.Changed("block") && sum.blocks+sum.failed == 0 {
		return p.fail("spool", fmt.Errorf("no block %d waits in %q; `lectern spool ls` shows those that do", s.block, s.dir))
	}
	if sum.failed > 0 {
		return p.fail("spool", fmt.Errorf("%d of %d blocks could not be exported", sum.failed, sum.blocks+sum.failed))
	}
	said := fmt.Sprintf("0 blocks wait for the store: nothing is written to %s\n", s.to)
	if sum.blocks > 0 {
		said = fmt.Sprintf("%d blocks with %d rows are in %s\n", sum.blocks, sum.rows, s.to)
	}
	if sum.sealed > 0 && !s.flags.Changed("block") {
		said += fmt.Sprintf("%d rows more are in no block yet: `lectern serve` makes blocks of them, at its start too\n", sum.sealed)
	}
	return p.print("spool", said)
}

// exported is what an export has done.
type exported struct{ blocks, rows, failed, sealed int }

func (p *process) exportPlace(ctx context.Context, s *spoolFlags, c place, sum *exported) int {
	var numbers []uint64
	for _, r := range c.Queue() {
		for _, block := range r.Blocks {
			if !s.flags.Changed("block") || block.Number == s.block {
				numbers = append(numbers, block.Number)
			}
		}
	}
	_, rows, _ := c.Sealed()
	sum.sealed += rows
	if len(numbers) == 0 {
		return 0
	}
	out, err := parquet.Open(parquet.Options{Dir: s.to, Collector: c.Collector, Now: p.now})
	if err != nil {
		return p.fail("spool", fmt.Errorf("export to %s; --to takes a directory of its own, not a store or spool in use: %w", s.to, err))
	}
	for _, n := range numbers {
		b, err := spool.ReadBlock(c.dir, n)
		if err == nil {
			_, err = out.Store(ctx, b)
		}
		if err != nil {
			sum.failed++
			p.fail("spool", fmt.Errorf("export block %d of %s: %w", n, c.dir, err))
			continue
		}
		sum.blocks++
		sum.rows += b.Rows.Len()
	}
	if err := out.Close(); err != nil {
		return p.fail("spool", err)
	}
	return 0
}
