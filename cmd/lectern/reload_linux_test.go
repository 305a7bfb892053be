package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/internal/poll"
	"github.com/lectern/lectern/internal/testca"
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
	poll.Until(d.t.(*testing.T), "the log says "+what, func() bool { return strings.Contains(d.said(), what) })
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
	d.told("why=SIGHUP")
	d.told(`changed="log.level stream.news.number"`) // or the look at the file came first
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
	if s := d.emit("tcp", "--events", "100", "--stream", "8"); s.Sent != 100 {
		t.Errorf("%+v", s)
	}
	d.stop()
	if n := events(t, dir); n != 400 {
		t.Errorf("%d events are stored, want 400", n)
	}
	for i, config := range ledgerConfigs(t, dir) {
		if !slices.Contains([]string{first, second, third}, config) || i == 0 && config != first {
			t.Errorf("block %d from the end is of the configuration %q; there were %s, %s and %s, and %[3]s again", i, config, first, second, third)
		}
	}
}

// ledgerConfigs are the configurations that the ledger has, those of the last blocks
// first.
func ledgerConfigs(t *testing.T, dir string) (configs []string) {
	t.Helper()
	type row struct {
		Block  uint64 `parquet:"block"`
		Config string `parquet:"config"`
	}
	var all []row
	files, err := filepath.Glob(filepath.Join(dir, "ledger", "*", "*.parquet"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of the ledger under %s: %v", dir, err)
	}
	for _, f := range files {
		rows, err := parquet.ReadFile[row](f)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all = append(all, rows...)
	}
	slices.SortFunc(all, func(a, b row) int { return cmp.Compare(b.Block, a.Block) })
	for _, r := range all {
		configs = append(configs, r.Config)
	}
	return configs
}

// tlsLines configure a port that wants certificates, by the files of a directory.
func tlsLines(address, dir string) string {
	return fmt.Sprintf("tls.address = %q\ntls.certificate = %q\ntls.key = %q\ntls.client_ca = %q\n",
		address, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt"))
}

// Certificates are renewed under load: no connection is refused and no event is lost
// or counted twice, over one that lasts and over new ones. What cannot be used is
// told, and the last good ones go on.
func TestCertificatesAreRenewed(t *testing.T) {
	ca, certificates := testca.New(t), t.TempDir()
	dir, address := filepath.Join(t.TempDir(), "parquet"), loopback(t)
	host, _, _ := net.SplitHostPort(address)
	ca.Write(t, certificates, time.Now().Add(time.Hour), host, "edge.example")
	d := serveOn(t, configure(t, dir, tlsLines(address, certificates)+"[stream.news]\nnumber = 7\nclients = \"edge.example\"\n"))
	by := func(n int, more ...string) (stdout, stderr string, code int) {
		return lectern(t, nil, append([]string{"emit", "--to", "tls://" + address, "--stream", "7", "--events", fmt.Sprint(n),
			"--tls-ca", filepath.Join(certificates, "ca.crt")}, more...)...)
	}
	shown := []string{"--tls-cert", filepath.Join(certificates, "tls.crt"), "--tls-key", filepath.Join(certificates, "tls.key")}
	if _, stderr, code := by(1); code != 1 || !strings.Contains(stderr, "certificate required") {
		t.Errorf("without a certificate: exit %d, %s", code, stderr)
	}
	var long sync.WaitGroup
	long.Go(func() {
		if _, stderr, code := by(20_000, append(shown, "--rate", "5000")...); code != 0 {
			t.Errorf("over one connection: exit %d, %s", code, stderr)
		}
	})
	sent := 20_000
	for n := range 4 {
		until := time.Now().Add(time.Duration(n+2) * time.Hour).Truncate(time.Second)
		ca.Replace(t, certificates, until, host, "edge.example")
		d.signal(syscall.SIGHUP)
		poll.Until(t, "the new certificate is used", func() bool {
			return d.metrics()["lectern_tls_certificate_expiry_timestamp_seconds"] == float64(until.Unix())
		})
		if _, stderr, code := by(100, shown...); code != 0 {
			t.Errorf("with certificate %d: exit %d, %s", n, code, stderr)
		}
		sent += 100
	}
	// A key that does not fit is left alone, and a good one is found without a signal.
	_, key := testca.New(t).Issue(t, time.Now().Add(time.Hour))
	good := testca.New(t)
	if err := os.WriteFile(filepath.Join(certificates, "tls.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	d.signal(syscall.SIGHUP)
	d.told("does not match")
	if m := d.metrics(); m["lectern_tls_files_bad"] != 1 || m["lectern_config_bad"] != 0 {
		t.Errorf("bad files %v, bad configuration %v", m["lectern_tls_files_bad"], m["lectern_config_bad"])
	}
	// From here on another authority signs.
	good.Replace(t, certificates, time.Now().Add(time.Hour), host, "edge.example")
	poll.Until(t, "the new files are found", func() bool { return d.metrics()["lectern_tls_files_bad"] == 0 })
	if _, stderr, code := by(100, shown...); code != 0 {
		t.Errorf("with another authority: exit %d, %s", code, stderr)
	}
	sent += 100
	other := t.TempDir()
	ca.Write(t, other, time.Now().Add(time.Hour), "edge.example")
	if _, stderr, code := by(1, "--tls-cert", filepath.Join(other, "tls.crt"), "--tls-key", filepath.Join(other, "tls.key")); code != 1 || !strings.Contains(stderr, "certificate") {
		t.Errorf("by the authority from before: exit %d, %s", code, stderr)
	}
	long.Wait()
	if n := d.metrics()["lectern_frames_refused_total{reason=\"stream\"}"]; n != 0 {
		t.Errorf("%v frames were refused", n)
	}
	// Over plain TCP the stream is nobody's.
	if _, stderr, code := lectern(t, nil, "emit", "--to", "tcp://"+d.address, "--stream", "7", "--events", "1"); code != 1 || !strings.Contains(stderr, "over TLS alone") {
		t.Errorf("over TCP: exit %d, %s", code, stderr)
	}
	d.stop()
	// The stream's name stands beside its number wherever somebody looks.
	for _, c := range []struct{ command, want string }{
		{"books", "\n7 news "}, {"books --json", `"stream":"7","stream_name":"news"`},
		{"top --all", "\n7 news "}, {"top --all --json", `"stream":"7","stream_name":"news"`},
	} {
		if out := succeed(t, append(strings.Fields(c.command), "--config", d.config)...); !strings.Contains(out, c.want) {
			t.Errorf("%s has no %q:\n%s", c.command, c.want, out)
		}
	}
	if n := events(t, dir); n != sent {
		t.Errorf("%d events are stored of %d", n, sent)
	}
}
