package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
)

// The room that a spool takes is announced before it is taken, and not when it is
// there.
func TestDiskIsAnnounced(t *testing.T) {
	c := config.Defaults()
	c.Spool.Dir = filepath.Join(t.TempDir(), "spool")
	said := func() string {
		var log bytes.Buffer
		announceDisk(&c, slog.New(slog.NewTextHandler(&log, nil)))
		return log.String()
	}
	if text := said(); !strings.Contains(text, "size=1GiB") || !strings.Contains(text, c.Spool.Dir) {
		t.Errorf("before the first start: %q", text)
	}
	if err := os.MkdirAll(c.Spool.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Spool.Dir, "reserve"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if text := said(); text != "" {
		t.Errorf("of a spool that is there: %q", text)
	}
}

// `lectern check` says what disk is taken, and where.
func TestCheckShowsDisk(t *testing.T) {
	for _, test := range []struct{ toml, want string }{
		{"", "\nDisk:\n\n  1GiB in data/spool, taken at the first start: spool.size_max\n  what was counted in data/parquet, without a limit: parquet.dir\n"},
		{"spool.share = true\nspool.size_max = \"300MiB\"\nstorage.driver = \"clickhouse\"\n",
			"\nDisk:\n\n  300MiB in data/spool, taken at the first start: spool.size_max,\n  as much again for each daemon that is there at the same time\n"},
	} {
		code, stdout, stderr := runWith(t, nil, nil, "check", "--config", file(t, "c.toml", test.toml))
		if code != 0 || !strings.HasSuffix(stdout, test.want) || stderr != "" {
			t.Errorf("%q: exit %d, %s\n%s", test.toml, code, stdout, stderr)
		}
	}
}
