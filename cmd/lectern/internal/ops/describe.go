package ops

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/lectern/lectern/docs"
)

// help is what each metric of docs/METRICS.md means, by its name, as plain text.
// The page is the only place where it is written.
var help = readHelp(docs.Metrics)

// helpRow is a row of the page's tables: name and labels, type, meaning.
var helpRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)(?:\\{[a-z_,]+\\})?` \\| ([a-z]+) \\| (.+) \\|$")

// helpLink is a link, of which the text is kept.
var helpLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

func readHelp(page string) map[string]string {
	all := make(map[string]string)
	for _, row := range helpRow.FindAllStringSubmatch(page, -1) {
		text := helpLink.ReplaceAllString(row[3], "$1")
		all[row[1]] = strings.NewReplacer("`", "", `\`, `\\`).Replace(text)
	}
	return all
}

// describe copies a page of metrics and puts what they mean into the lines
// "# HELP" that the library leaves empty. It leaves out those for which there is
// nothing to say, which are those of the Go runtime and of the process.
func describe(to *bytes.Buffer, page []byte) {
	for line := range bytes.Lines(page) {
		name, is := bytes.CutPrefix(line, []byte("# HELP "))
		if !is {
			to.Write(line)
			continue
		}
		name = bytes.TrimSpace(name)
		if text, ok := help[string(name)]; ok {
			to.WriteString("# HELP ")
			to.Write(name)
			to.WriteByte(' ')
			to.WriteString(text)
			to.WriteByte('\n')
		}
	}
}
