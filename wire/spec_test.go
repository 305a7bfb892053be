//go:build go1.26

package wire_test

import (
	"bytes"
	"encoding/hex"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lectern/lectern/wire"
)

func readSpec(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// specWord is a row of the table of refusals.
type specWord struct{ word, found string }

func specWords(t *testing.T) []specWord {
	t.Helper()
	_, section, _ := strings.Cut(readSpec(t), "\n## 9. Refusals\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var list []specWord
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| ([a-z, ]+) \\|").FindAllStringSubmatch(section, -1) {
		list = append(list, specWord{m[1], m[2]})
	}
	return list
}

func TestSpecWords(t *testing.T) {
	words := specWords(t)
	if len(words) != wire.Refusals-1 {
		t.Fatalf("SPEC.md has %d words, the package has %d", len(words), wire.Refusals-1)
	}
	for i, w := range words {
		why := wire.Refusal(i + 1)
		if why.String() != w.word {
			t.Errorf("word %d is %q in SPEC.md and %q in the package", i, w.word, why)
		}
		if parsed, known := wire.ParseRefusal(w.word); !known || parsed != why {
			t.Errorf("ParseRefusal(%q) = %d, %v", w.word, parsed, known)
		}
		if want := "frame refused: " + w.word; why.Error() != want {
			t.Errorf("the error is %q, want %q", why.Error(), want)
		}
	}
	for _, word := range []string{"accepted", "unknown", "", "Kind"} {
		if why, known := wire.ParseRefusal(word); known {
			t.Errorf("%q is the refusal %v", word, why)
		}
	}
	if beyond := wire.Refusal(wire.Refusals).String(); beyond != "unknown" {
		t.Errorf("what is beyond the list is called %q", beyond)
	}
}

// Each word that bytes alone cause has a vector that they cause it in, and each
// other a vector of the refusal frame.
func TestSpecWordsHaveVectors(t *testing.T) {
	caused, carried := make(map[string]bool), make(map[string]bool)
	for _, v := range readVectors(t) {
		caused[v.expect] = true
		for _, line := range v.lines {
			if strings.HasPrefix(line, "rest: ") {
				caused["rest"] = true
			}
			if f := strings.Fields(line); f[0] == "refusal:" {
				carried[strings.TrimPrefix(f[1], "word=")] = true
			}
		}
	}
	for _, w := range specWords(t) {
		switch {
		case w.found == "state" && !carried[w.word]:
			t.Errorf("no vector of a refusal frame has the word %q", w.word)
		case w.found != "state" && !caused[w.word]:
			t.Errorf("no vector is refused as %q", w.word)
		case w.found == "state" && w.word != "rest" && caused[w.word]:
			t.Errorf("bytes alone cause %q: SPEC.md says that only state does", w.word)
		}
	}
	if !caused["rest"] {
		t.Error("no vector has a rest")
	}
}

// The worked examples are the vectors of their names.
func TestSpecExamples(t *testing.T) {
	vectors := make(map[string][]byte)
	for _, v := range readVectors(t) {
		vectors[v.name] = v.bytes
	}
	examples := regexp.MustCompile("(?s)```hex ([a-z0-9-]+)\n(.*?)```").FindAllStringSubmatch(readSpec(t), -1)
	if len(examples) < 2 {
		t.Fatalf("SPEC.md has %d worked examples", len(examples))
	}
	for _, m := range examples {
		var dump strings.Builder
		for line := range strings.Lines(m[2]) {
			bytes, _, _ := strings.Cut(line, ";")
			dump.WriteString(strings.Join(strings.Fields(bytes), ""))
		}
		b, err := hex.DecodeString(dump.String())
		if err != nil || !bytes.Equal(b, vectors[m[1]]) {
			t.Errorf("the example %s is % x (%v), its vector % x", m[1], b, err, vectors[m[1]])
		}
	}
}

// The module is made of the standard library alone.
func TestImportsStandardLibraryOnly(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return err
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, s := range file.Imports {
			path := strings.Trim(s.Path.Value, `"`)
			root, _, _ := strings.Cut(path, "/")
			own := strings.HasPrefix(path, "github.com/lectern/lectern/wire/internal/")
			if strings.Contains(root, ".") && !own || root == "unsafe" || root == "C" {
				t.Errorf("%s imports %s", name, s.Path.Value)
			}
		}
		return nil
	})
	if err != nil || files < 2 {
		t.Fatalf("%d files: %v", files, err)
	}
}
