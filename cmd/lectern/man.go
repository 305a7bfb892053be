package main

import (
	"context"
	"fmt"
	"strings"
)

const manHelp = `Print the manual page, for man(1).

Usage:

  lectern man

For everybody on the machine:

  lectern man > /usr/local/share/man/man1/lectern.1
`

// runMan is `lectern man`.
func (p *process) runMan(_ context.Context, args []string) int {
	if code, done := p.parse(newFlags("man"), args, manHelp); done {
		return code
	}
	return p.print("man", manualPage(p.commands()))
}

// manualPage writes the help texts in the macros of man(7). It has no date and no
// machine in it: the same binary prints the same.
func manualPage(all []command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH LECTERN 1 \"\" \"lectern %s\" \"User Commands\"\n", roff(buildVersion()))
	b.WriteString(".SH NAME\nlectern \\- counts reading\n.SH SYNOPSIS\n.B lectern\n.I COMMAND\n.RI [ flags ]\n.SH COMMANDS\n")
	for _, c := range all {
		fmt.Fprintf(&b, ".TP\n.B lectern %s\n%s\n", roff(c.name), roff(c.summary))
	}
	for _, c := range all {
		fmt.Fprintf(&b, ".SH \"LECTERN %s\"\n", strings.ToUpper(c.name))
		section(&b, c.help)
	}
	b.WriteString(".SH FILES\n.TP\n.I config.toml\nwhat\n.B lectern serve\nreads where\n.B \\-\\-config\nnames nothing else\n")
	b.WriteString(".SH ENVIRONMENT\n.TP\n.I LECTERN_SECTION_KEY\noverrides a key of the configuration, as in LECTERN_LISTEN_ADDRESS\n")
	return b.String()
}

// section writes one help text: paragraphs as they are, what is indented by two
// columns line by line, flags as a list.
func section(b *strings.Builder, help string) {
	for i, paragraph := range strings.Split(strings.TrimRight(help, "\n"), "\n\n") {
		lines := strings.Split(paragraph, "\n")
		begin := ".PP\n"
		if i == 0 { // behind its heading
			begin = ""
		}
		switch {
		case optionLine.MatchString(lines[0]):
			for _, line := range lines {
				m := optionLine.FindStringSubmatch(line)
				if m == nil {
					b.WriteString(roffLine(strings.TrimSpace(line)))
					continue
				}
				fmt.Fprintf(b, ".TP\n.B %s", roff(m[1]))
				if m[2] != "" {
					fmt.Fprintf(b, " \\fI%s\\fP", roff(m[2]))
				}
				b.WriteString("\n")
				if m[3] != "" {
					b.WriteString(roffLine(m[3]))
				}
			}
		case strings.HasPrefix(lines[0], "  "):
			b.WriteString(begin + ".RS 2\n.nf\n")
			for _, line := range lines {
				b.WriteString(roffLine(strings.TrimPrefix(line, "  ")))
			}
			b.WriteString(".fi\n.RE\n")
		default:
			b.WriteString(begin)
			for _, line := range lines {
				b.WriteString(roffLine(strings.TrimSpace(line)))
			}
		}
	}
}

// roff is a text in which nothing has a meaning to roff but at a line's beginning.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`, `"`, `\(dq`, `'`, `\(aq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`).Replace(text)
}

// roffLine is a line of text, also one that begins like a macro.
func roffLine(text string) string {
	text = roff(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text + "\n"
}
