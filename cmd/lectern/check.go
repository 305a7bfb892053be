package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

const checkHelp = `Say what is wrong with the configuration, and what memory and disk it may take.

Usage:

  lectern check [--config FILE] [--without-files]

Without --config it reads ./config.toml, and where there is none the built-in
defaults. Variables LECTERN_SECTION_KEY of the environment override both, as in
LECTERN_WINDOW_LATE_MAX=0s; they are checked too.

Files and directories that keys name, of keys, certificates, salts, tokens and
networks, have to be there and readable; with --without-files they are not looked
at, for the configuration of another machine.

Each problem is one line on standard error, FILE:LINE: KEY: what is wrong. If there
is none, it prints the configuration in effect, the part of the room that each
stream is guaranteed, and the memory and disk that the daemon takes on this machine
when it reaches all of its limits, and what an edge does.

Exit status: 0 when nothing is wrong; 1 when something is; 2 when the arguments
make no sense.
`

// runCheck is `lectern check`.
func (p *process) runCheck(ctx context.Context, args []string) int {
	flags := newFlags("check")
	path := flags.String("config", "", "")
	without := flags.Bool("without-files", false, "")
	if code, done := p.parse(flags, args, checkHelp); done {
		return code
	}
	read := config.Check
	if *without {
		read = config.Load
	}
	c, problems := read(*path, flags.Changed("config"), p.environ)
	for _, problem := range problems {
		fmt.Fprintln(p.stderr, problem)
	}
	if len(problems) > 0 {
		return 1
	}
	var b strings.Builder
	if c.File == "" {
		fmt.Fprintf(&b, "There is no %s here. The defaults are good:\n\n", config.FileDefault)
	} else {
		fmt.Fprintf(&b, "%s is good. In effect:\n\n", c.File)
	}
	b.WriteString(settingsTable(&c))
	b.WriteString("\nStreams:\n\n" + streamsTable(&c))
	fmt.Fprintf(&b, "\nMemory at the limits, with loops = %d:\n\n%s", c.Loops(), memoryTable(c.Memory()))
	fmt.Fprintf(&b, "\nMemory of an edge at its limits:\n\n%s", memoryTable(c.EdgeMemory()))
	fmt.Fprintf(&b, "\nDisk:\n\n%s", diskTable(&c))
	b.WriteString(placement(ctx, &c))
	return p.print("check", b.String())
}

func settingsTable(c *config.Config) string {
	t := table{left: 2}
	for _, s := range c.Settings() {
		if strings.HasPrefix(s.Key, "stream.") {
			continue // they have a table of their own
		}
		t.add("  "+s.Key, s.Value)
	}
	return t.String()
}

func memoryTable(parts []config.Memory) string {
	var b strings.Builder
	var sum int64
	line := func(part string, bytes int64, from string) {
		fmt.Fprintf(&b, "  %-15s %9.1f MiB", part, float64(bytes)/(1<<20))
		if from != "" {
			fmt.Fprintf(&b, "   %s", from)
		}
		b.WriteByte('\n')
	}
	for _, m := range parts {
		sum += m.Bytes
		line(m.Part, m.Bytes, m.From)
	}
	line("together", sum, "")
	return b.String()
}
