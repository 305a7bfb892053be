// Package conform drives an emitter, in any language, through dialogues, stands
// in as its collector, and judges what it sends. wire/SPEC.md, section 14, says
// how a driver is spoken to and what the lines of a dialogue mean.
package conform

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Dialogue is one script.
type Dialogue struct {
	Name    string
	Comment string
	Needs   []string // what the driver has to have, in the words of its hello
	lines   []line
}

// line is a line of a script: who acts, the words, and the key=value words.
type line struct {
	number int
	sign   byte // '>' to the driver, '<' what comes, '!' the collector does, '=' what holds
	text   string
	words  []string
	keys   map[string]string
}

// Read returns the dialogues in the files NAME.txt, by name.
func Read(files fs.FS) ([]Dialogue, error) {
	names, err := fs.Glob(files, "*.txt")
	if err != nil {
		return nil, err
	}
	var all []Dialogue
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		d, err := parse(strings.TrimSuffix(path.Base(name), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Dialogue) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func parse(name, text string) (Dialogue, error) {
	d := Dialogue{Name: name}
	for i, s := range strings.Split(text, "\n") {
		key, value, _ := strings.Cut(s, ": ")
		switch {
		case s == "" || s[0] == '#':
		case key == "comment" && len(d.lines) == 0:
			d.Comment = value
		case key == "needs" && len(d.lines) == 0:
			d.Needs = strings.Fields(value)
		case len(s) > 2 && strings.IndexByte("><!=", s[0]) >= 0 && s[1] == ' ':
			l := line{number: i + 1, sign: s[0], text: s, keys: map[string]string{}}
			for _, word := range strings.Fields(s[2:]) {
				if key, value, ok := strings.Cut(word, "="); ok {
					l.keys[key] = value
				} else {
					l.words = append(l.words, word)
				}
			}
			if len(l.words) == 0 {
				return d, fmt.Errorf("%s, line %d: it says nothing: %q", name, i+1, s)
			}
			d.lines = append(d.lines, l)
		default:
			return d, fmt.Errorf("%s, line %d: it begins with none of comment:, needs:, >, <, ! and =: %q", name, i+1, s)
		}
	}
	if d.Comment == "" || len(d.lines) == 0 {
		return d, fmt.Errorf("%s: it has no comment, or no lines", name)
	}
	return d, nil
}

// word is the i-th word, empty where there are fewer.
func (l *line) word(i int) string {
	if i < len(l.words) {
		return l.words[i]
	}
	return ""
}

// has says whether a word is among those behind the first.
func (l *line) has(word string) bool { return len(l.words) > 1 && slices.Contains(l.words[1:], word) }

// value is the value of a key, or else what the dialogue leaves out.
func (l *line) value(key string, otherwise uint64) (uint64, error) {
	text, ok := l.keys[key]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%s is no number", key, text)
	}
	return n, nil
}
