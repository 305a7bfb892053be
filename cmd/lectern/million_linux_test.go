package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/readers"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
)

// TestBenchMillion is `make bench-million`: what a crowd of readers costs who are
// there at once, from the datagram to the stored row. Each has a heartbeat every
// ten seconds. Beside the daemon of this tree, in the same run, stand a build of an
// earlier commit, what no daemon could do without, and a plain program.
//
// Without LECTERN_BENCH_MILLION, the seconds of each load, it is a small crowd for
// a moment: then it says that the bench works, and that every event is stored.
// LECTERN_BENCH_READERS is how many there are, LECTERN_BENCH_ONLY a part of the
// names of the lines to be measured, LECTERN_BENCH_BASE the earlier commit and
// LECTERN_BENCH_FLUSH a list of settings of window.flush_interval.
func TestBenchMillion(t *testing.T) {
	b := newMillion(t)
	b.crowds()
	b.settings()
	b.floors()
	b.plain()
	b.stages()
}

// million is a run of the bench.
type million struct {
	*testing.T
	length  time.Duration // of each load
	readers int
	real    bool // was asked for: whole minutes, and all lines
	only    string
	builds  []*build
	results []*millionResult
}

func newMillion(t *testing.T) *million {
	b := &million{T: t, length: time.Second, readers: 50_000, only: os.Getenv("LECTERN_BENCH_ONLY")}
	if text := os.Getenv("LECTERN_BENCH_MILLION"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 1 {
			t.Fatalf("LECTERN_BENCH_MILLION is the seconds of each load, not %q", text)
		}
		b.length, b.real, b.readers = time.Duration(seconds)*time.Second, true, 1_000_000
	}
	if text := os.Getenv("LECTERN_BENCH_READERS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("LECTERN_BENCH_READERS is a number of readers, not %q", text)
		}
		b.readers = n
	}
	b.builds = []*build{buildHere(t)}
	if b.real {
		if old := buildEarlier(t); old != nil {
			b.builds = append(b.builds, old)
		}
	}
	return b
}

// wants says whether a line was asked for.
func (b *million) wants(name string) bool { return strings.Contains(name, b.only) }

const millionHead = "%-44s %11s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n"

func head(title string) {
	fmt.Printf("\n%s\n\n"+millionHead, title, "load", "events", "rows/ev", "least", "CPU ns", "disk B", "write B", "stored B", "peak MiB", "store ns", "ack ms")
}

// crowds measures the crowd over each transport into each store, build by build; and
// as many readers who neither come nor go, whose heartbeats fall by chance.
func (b *million) crowds() {
	head(fmt.Sprintf("%d readers at once for %v; a line's figures are of an event", b.readers, b.length))
	for _, store := range []string{"parquet", "clickhouse"} {
		for _, network := range []string{"udp", "tcp"} {
			for _, of := range b.builds {
				name := fmt.Sprintf("%s into %s, %s", network, store, of.name)
				if b.wants(name) && (b.real || (network == "udp") == (store == "parquet")) {
					b.measure(name, of, store, network, b.crowd(), "")
				}
			}
		}
	}
	for _, of := range b.builds {
		if name := "udp into parquet, heartbeats alone, " + of.name; b.wants(name) && b.real {
			b.measure(name, of, "parquet", "udp", b.byChance(uint64(b.readers), float64(b.readers)/readers.Heartbeat.Seconds()), "")
		}
	}
}

// settings measures what window.flush_interval costs.
func (b *million) settings() {
	list := os.Getenv("LECTERN_BENCH_FLUSH")
	if list == "" {
		return
	}
	head("The same over UDP into Parquet, by window.flush_interval")
	for _, interval := range strings.Split(list, ",") {
		b.measure("flush_interval = "+interval, b.builds[0], "parquet", "udp", b.crowd(), fmt.Sprintf("window.flush_interval = %q\n", interval))
	}
}

// measure runs a load against a daemon and prints what it came to.
func (b *million) measure(name string, of *build, store, network string, l *crowdLoad, lines string) *millionResult {
	dir := b.dir()
	text := fmt.Sprintf("listen.address = \"127.0.0.1:0\"\nops.address = \"127.0.0.1:0\"\nparquet.dir = %q\nspool.dir = %q\n%s",
		filepath.Join(dir, "parquet"), filepath.Join(dir, "spool"), lines)
	if !b.real {
		text += "spool.size_max = \"256MiB\"\n"
	}
	r := &millionResult{name: name, dir: filepath.Join(dir, "parquet")}
	var engine *clickhousetest.Server
	if store == "clickhouse" {
		if _, err := chdb.Library(); err != nil {
			fmt.Printf("%-44s not measured: %v\n", name, err)
			return nil
		}
		engine = clickhousetest.Start(b.T, clickhousetest.Options{})
		text += fmt.Sprintf("storage.driver = \"clickhouse\"\nclickhouse.address = %q\nclickhouse.user = %q\nclickhouse.password = %q\n", engine.Address(), engine.User(), engine.Password())
	}
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	if engine != nil {
		of.run(b.T, "schema", "--apply", "--config", config)
		r.engine = engine.PID()
	}
	c := exec.Command(of.path, "serve", "--config", config)
	c.Env = append(plainEnviron(), profileVariable+"="+filepath.Join(dir, "profile"))
	d := serveBy(b.T, config, c)
	b.send(d, l, network, r)
	r.profile = d.profile(filepath.Join(dir, "profile"))
	d.stop()
	r.ended(c.ProcessState)
	r.books(b.T, of, config)
	if engine != nil {
		r.ofEngine(engine)
	} else {
		r.ofParquet(b.T)
	}
	fmt.Print(r)
	b.results = append(b.results, r)
	return r
}

// dir is a directory of the run's. In LECTERN_BENCH_DIR, where that is set: its disk
// is a part of what is measured.
func (b *million) dir() string {
	dir, err := os.MkdirTemp(os.Getenv("LECTERN_BENCH_DIR"), "lectern-million")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// send sends a load from the beginning of a minute, until all of it is stored.
func (b *million) send(d *served, l *crowdLoad, network string, r *millionResult) {
	if b.real {
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
	}
	r.watch(d.command.Process.Pid)
	probed := func() (time.Duration, int) { return 0, 0 }
	if network == "tcp" {
		probed = probeAcks(b.T, d.address)
	}
	spent := cpuOfSelf()
	r.sent = l.send(b.T, network, d.address)
	r.sender, r.least = cpuOfSelf()-spent, l.least
	r.acks, r.probes = probed() // before the wait for silence
	if d.ops == "" {
		return
	}
	until := time.Now()
	if b.real {
		until = until.Add(2 * time.Minute) // a minute, and what it takes to be stored
	}
	for time.Now().Before(until) {
		if m := d.metrics(); m["lectern_rows_waiting"] == 0 && m["lectern_spool_blocks"] == 0 {
			return
		}
		time.Sleep(time.Second)
	}
}
