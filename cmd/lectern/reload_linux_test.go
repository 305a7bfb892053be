package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// rewrite replaces the daemon's configuration by lines behind those of configure, as
// an editor does: the file is whole at every moment.
func (d *served) rewrite(lines string) {
	d.t.Helper()
	text, err := os.ReadFile(d.config)
	if err == nil {
		before, _, _ := strings.Cut(string(text), "# changed\n")
		err = os.WriteFile(d.config+".new", []byte(before+"# changed\n"+lines), 0o600)
	}
	if err == nil {
		err = os.Rename(d.config+".new", d.config)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// told waits until the log says something.
func (d *served) told(what string) {
	d.t.Helper()
	eventually(d.t.(*testing.T), "the log says "+what, func() bool { return strings.Contains(d.said(), what) })
}

// hash is that of the configuration in force.
func (d *served) hash() string {
	d.t.Helper()
	for name := range d.metrics() {
		if hash, ok := strings.CutPrefix(name, `lectern_config_info{hash="`); ok {
			return strings.TrimSuffix(hash, `"}`)
		}
	}
	d.t.Fatal("there is no lectern_config_info")
	return ""
}

// What can be taken while the daemon runs is, by a signal and by the daemon's own
// look at the file, and the rest is named. With a mistake in it all goes on.
func TestReload(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	d := serveOn(t, configure(t, dir, "# changed\n"))
	first := d.hash()
	if s := d.emit("tcp", "--events", "100", "--stream", "8"); s.Sent != 100 {
		t.Errorf("%+v", s)
	}

	// By its own look.
	d.rewrite("[streams]\nunknown = \"refuse\"\n[stream.news]\nnumber = 7\n")
	d.told(`why="a file has changed" changed="stream.news.clients `)
	second := d.hash()
	if second == first {
		t.Error("another configuration has the same hash")
	}
	if _, stderr, code := lectern(t, nil, "emit", "--to", "tcp://"+d.address, "--events", "100", "--stream", "8"); code != 1 || !strings.Contains(stderr, "has no stream 8") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if s := d.emit("tcp", "--events", "100", "--stream", "7"); s.Sent != 100 {
		t.Errorf("%+v", s)
	}

	// By a signal, and with what takes a restart.
	d.rewrite("[streams]\nunknown = \"refuse\"\n[stream.news]\nnumber = 8\n[limits]\nsources_max = 17\n[log]\nlevel = \"debug\"\nformat = \"json\"\n")
	d.signal(syscall.SIGHUP)
	d.told(`why=SIGHUP changed="log.level stream.news.number"`)
	d.told(`takes a restart" keys="limits.sources_max log.format"`)
	if m := d.metrics(); m["lectern_config_keys_awaiting_restart"] != 2 || m["lectern_config_bad"] != 0 {
		t.Errorf("%v keys wait, bad %v", m["lectern_config_keys_awaiting_restart"], m["lectern_config_bad"])
	}
	if s := d.emit("tcp", "--events", "100", "--stream", "8"); s.Sent != 100 {
		t.Errorf("%+v", s)
	}
	third := d.hash()

	// With a mistake.
	d.rewrite("[streams]\nunknown = \"take\"\n[stream.news]\nnumber = 80000\n")
	d.told("80000 is out of range")
	if m := d.metrics(); m["lectern_config_bad"] != 1 || m["lectern_config_reload_failures_total"] != 1 || d.hash() != third {
		t.Errorf("bad %v, hash %s, want %s", m["lectern_config_bad"], d.hash(), third)
	}
	if _, _, code := lectern(t, nil, "emit", "--to", "tcp://"+d.address, "--events", "100", "--stream", "9"); code != 1 {
		t.Error("a stream is taken that a bad configuration would take")
	}

	// Back again, the hash is what it was.
	d.rewrite("")
	d.told(`changed="log.level stream.news.clients `)
	if hash := d.hash(); hash != first {
		t.Errorf("the first configuration has the hash %s now, and had %s", hash, first)
	}
	d.stop()
	if n := events(t, dir); n != 300 {
		t.Errorf("%d events are stored, want 300", n)
	}
}
