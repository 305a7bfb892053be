package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// In the first seconds, and while a store is away, top and books say what waits.
func TestWhatWaits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	d := serveOn(t, configure(t, dir, "window.flush_interval = \"1h\""))
	d.emit("tcp", "--events", "1000") // acknowledged, so sealed
	want := regexp.MustCompile(`in the spool ".*" wait \d+ rows for their minute or block, the oldest for \d+s \(window.flush_interval is 1h\)\n$`)
	for _, command := range []string{"top", "books"} {
		stdout, stderr, code := lectern(t, nil, command, "--config", d.config)
		if code != 0 || !want.MatchString(stderr) || command == "top" && stdout != "" {
			t.Errorf("%s: exit %d, %q, %q", command, code, stdout, stderr)
		}
	}
	d.stop() // which stores it
	stdout, stderr, _ := lectern(t, nil, "top", "--config", d.config)
	if stderr != "" || !strings.HasPrefix(stdout, "STREAM") {
		t.Errorf("once it is stored: %q, %q", stdout, stderr)
	}
}

// The columns of a terminal are counted, not characters.
func TestTableOfWideCharacters(t *testing.T) {
	for text, want := range map[string]int{"abc": 3, "日本語": 6, "한글": 4, "e\u0301": 1, "é": 1, "📚": 2, "ｆ": 2, "…": 1, "α": 1} {
		if got := columns(text); got != want {
			t.Errorf("%q takes %d columns, want %d", text, got, want)
		}
	}
	tab := table{left: 1}
	tab.add("NAME", "N")
	tab.add("/日本", "1")
	tab.add("/e\u0301te\u0301", "22")
	if got := tab.String(); got != "NAME    N\n/日本   1\n/e\u0301te\u0301   22\n" {
		t.Errorf("\n%s", got)
	}
}
