//go:build unix

package conform

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/lectern/lectern/wire"
	"github.com/lectern/lectern/wire/testdata"
)

func dialogues(t *testing.T) []Dialogue {
	t.Helper()
	files, err := fs.Sub(testdata.Files, "dialogues")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Read(files)
	if err != nil || len(all) < 90 {
		t.Fatalf("%d dialogues, %v", len(all), err)
	}
	return all
}

// What the dialogues say, wire/SPEC.md says the meaning of.
func TestDialoguesAreDescribed(t *testing.T) {
	text, err := os.ReadFile("../../../../wire/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## 14. Dialogues\n")
	if !found {
		t.Fatal("SPEC.md has no section on dialogues")
	}
	words := make(map[string]bool) // of all that stands in backquotes
	for _, code := range regexp.MustCompile("`[^`\n]+`").FindAllString(section, -1) {
		for _, word := range regexp.MustCompile("[a-z]+").FindAllString(code, -1) {
			words[word] = true
		}
	}
	for _, d := range dialogues(t) {
		for _, l := range d.lines {
			if !words[l.word(0)] {
				t.Errorf("%s, line %d: %q is not described", d.Name, l.number, l.word(0))
			}
			for key := range l.keys {
				if !words[key] {
					t.Errorf("%s, line %d: %s= is not described", d.Name, l.number, key)
				}
			}
		}
		for _, need := range d.Needs {
			if !words[need] {
				t.Errorf("%s needs %q, which is not described", d.Name, need)
			}
		}
	}
}

// What comes of all that is said of a content is the body of the vector, which is
// made without an encoder.
func TestAttributesAreTheVectors(t *testing.T) {
	text, err := os.ReadFile("../../../../wire/testdata/vectors/names-all.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, bytes, _ := strings.Cut(string(text), "\n\n")
	body := strings.Join(strings.Fields(bytes), "")[2*wire.HeaderSize:]
	for _, d := range dialogues(t) {
		if d.Name != "udp-attributes" {
			continue
		}
		for _, l := range d.lines {
			if l.sign == '<' && l.keys["body"] == body {
				return
			}
		}
	}
	t.Errorf("no line of udp-attributes has body=%s", body)
}

// A dialogue that cannot be read says where.
func TestDialogueFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "it has no comment",
		"comment: a\n":                 "no lines",
		"> poll\n":                     "it has no comment",
		"comment: a\n\npoll\n":         "line 3: it begins with none of",
		"comment: a\n\n> a=b\n":        "line 3: it says nothing",
		"comment: a\n> poll\nneeds: b": "line 3: it begins with none of",
	} {
		_, err := Read(fstest.MapFS{"one.txt": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "one") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A driver that says ok to everything and does nothing: every line that makes no
// sense is an error, and no more.
func TestDialoguesThatMakeNoSense(t *testing.T) {
	r := Runner{Command: []string{"sh", "-c", "while read -r word rest; do case $word in hello) echo ok client=sh has=udp,tcp,resolve ;; *) echo ok ;; esac; done"}}
	for _, line := range []string{
		"> exit", "> resolve nowhere", "> clock x", "> add x y z", "> add open 1 2 n=x", "> x", "> key x", "> describe x title", "> describe 1 name", "> describe 1 title x", "> dial", "> dial udp collector key=x",
		"< x", "< beats 1", "< beats x", "< hello", "< end", "< events 1 within=x", "! ack", "! x", "! vanish nowhere", "! use A", "! refuse kind",
		"= x 1", "= id 5", "= stats added=1", "= lost 1", "= shown",
	} {
		d, err := parse("one", "comment: a\n\n"+line+"\n")
		if err != nil {
			t.Fatal(err)
		}
		if result, err := r.Play(d); err != nil || result.Outcome != Failed && line != "> x" && line != "> dial" || result.Outcome == Failed && result.Reason == "" {
			t.Errorf("%s: %+v, %v", line, result, err)
		}
	}
}

// What is no driver is said so.
func TestNoDriver(t *testing.T) {
	d := dialogues(t)[0]
	for want, command := range map[string][]string{
		"cannot start the driver":     {"/nonexistent"},
		"the driver has ended":        {"sh", "-c", "echo why >&2"},
		"the driver answers hello":    {"sh", "-c", "read -r line; echo ok; cat"},
		"the driver says: error what": {"sh", "-c", "read -r line; echo error what; cat"},
	} {
		r := Runner{Command: command}
		if _, err := r.Play(d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", command, err, want)
		}
	}
}
