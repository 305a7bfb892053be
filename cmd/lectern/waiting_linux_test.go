package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

// In the first seconds, and while a store is away, top and books say what waits.
func TestWhatWaits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	path := configure(t, dir, "window.flush_interval = \"1h\"")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever asks has to know the port.
	fixed := strings.Replace(string(text), "ops.address = \"127.0.0.1:0\"", fmt.Sprintf("ops.address = %q", loopback(t)), 1)
	if err := os.WriteFile(path, []byte(fixed), 0o600); err != nil {
		t.Fatal(err)
	}
	d := serveOn(t, path)
	const memory = "; the daemon runs, and what it received in the last 1s (window.ack_interval) is in its memory\n"
	for command, want := range map[string]string{
		"top": "lectern top: nothing was read in the last 24h; try --all, or a longer --since" + memory, "books": "lectern books: not in these books yet: nothing waits in the spool" + memory,
	} {
		if _, stderr, code := lectern(t, nil, command, "--config", d.config); code != 0 || stderr != want {
			t.Errorf("%s before all: exit %d, %q", command, code, stderr)
		}
	}
	d.emit("tcp", "--events", "1000") // acknowledged, so sealed
	want := regexp.MustCompile(`in the spool ".*" wait \d+ rows for their minute or block, the oldest for \d+s \(window.flush_interval is 1h\)`)
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

// A seal may bring to the books what has no rows, such as what was lost.
func TestBooksWithoutRowsWait(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := config.Config{Window: config.Window{FlushInterval: time.Minute}, Spool: config.Spool{Dir: "s"}}
	w := waits{seals: 1, sealed: now.Add(-14 * time.Second).UnixMilli()}
	const want = `in the spool "s" wait books without rows for their minute or block, the oldest for 14s (window.flush_interval is 1m)`
	if got := w.say(now, &c); got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}
