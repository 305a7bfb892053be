package docs_test

import (
	"os"
	"strings"
	"testing"
)

// The lines of Go in README.md are those of an example of emit, which is run.
func TestReadmeShowsAnExample(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../emit/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for line := range strings.Lines(string(readme)) {
		if code, ok := strings.CutPrefix(line, "    "); ok && (len(shown) > 0 || strings.Contains(code, "emit.DialUDP")) {
			shown = append(shown, "\t"+code)
		} else if len(shown) > 0 {
			break
		}
	}
	code := strings.Join(shown, "")
	if len(shown) < 5 || !strings.Contains(string(example), strings.Replace(code, `"127.0.0.1:8420"`, "address", 1)) {
		t.Errorf("not in emit/example_test.go:\n%s", code)
	}
}
