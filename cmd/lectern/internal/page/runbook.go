package page

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/lectern/lectern/docs"
)

// runbook is /runbook.json: what docs/OPERATIONS.md says of each alert, as plain text
// with its indented blocks and `code`, by the alert's name.
var runbook = readRunbook(docs.Operations)

// link is one of the page's, of which the text is kept.
var link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

func readRunbook(text string) []byte {
	all := make(map[string]string)
	for _, part := range strings.Split(text, "\n### ")[1:] {
		name, entry, _ := strings.Cut(part, "\n")
		if !strings.HasPrefix(name, "Lectern") {
			continue
		}
		entry, _, _ = strings.Cut(entry, "\n## ")
		all[name] = strings.TrimSpace(link.ReplaceAllString(entry, "$1"))
	}
	body, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings can be written
	}
	return body
}
