package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/internal/poll"
)

// The tests in this file and its neighbours run the built binary as its users do.

// built builds lectern once for all tests.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lectern")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "lectern")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := built(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// lectern runs a command to its end.
func lectern(t testing.TB, stdin io.Reader, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	c := exec.Command(path, args...)
	c.Stdin, c.Stdout, c.Stderr = stdin, &out, &errs
	c.Dir = t.TempDir() // no config.toml lies about there
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// succeed runs a command that must succeed, and returns what it printed.
func succeed(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, code := lectern(t, nil, args...)
	if code != 0 {
		t.Fatalf("lectern %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// served is a running daemon.
type served struct {
	t               testing.TB
	command         *exec.Cmd
	config          string
	address         string // of events
	ops             string // base URL of operations
	mu              sync.Mutex
	log             bytes.Buffer // what it says; protected by mu
	ready, finished chan struct{}
}

// configure writes a config file with a store of its own.
func configure(t testing.TB, dir, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("listen.address = \"127.0.0.1:0\"\nops.address = \"127.0.0.1:0\"\nparquet.dir = %q\nspool.dir = %q\n%s\n", dir, dir+".spool", lines)
	if !strings.Contains(lines, "spool.size_max") {
		text = "spool.size_max = \"384MiB\"\n" + text // for the keys of any number of loops
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveOn starts a daemon and waits until it is ready.
func serveOn(t testing.TB, config string) *served {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return serveBy(t, config, exec.Command(path, "serve", "--config", config))
}

// serveBy starts a command that says that it is ready as a daemon does.
func serveBy(t testing.TB, config string, command *exec.Cmd) *served {
	t.Helper()
	d := &served{t: t, config: config, command: command, ready: make(chan struct{}), finished: make(chan struct{})}
	pipe, err := d.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	go d.listen(pipe)
	t.Cleanup(func() {
		_ = d.command.Process.Kill()
		<-d.finished
		_ = d.command.Wait()
		if t.Failed() {
			t.Logf("the daemon said:\n%s", d.said())
		}
	})
	select {
	case <-d.ready:
	case <-d.finished:
		t.Fatalf("the daemon did not start:\n%s", d.said())
	case <-time.After(time.Minute):
		t.Fatalf("the daemon is not ready:\n%s", d.said())
	}
	return d
}

var readyLine = regexp.MustCompile(`msg="(?:lectern|the edge) is ready" (?:events|pages)=(\S+) operations=(\S+)`)

func (d *served) listen(pipe io.Reader) {
	defer close(d.finished)
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		d.mu.Lock()
		fmt.Fprintln(&d.log, lines.Text())
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			d.address, d.ops = m[1], "http://"+m[2]
			close(d.ready)
		}
		d.mu.Unlock()
	}
}

func (d *served) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// stop ends the daemon as an operator does, and wants it to have stored all.
func (d *served) stop() {
	d.t.Helper()
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	<-d.finished
	if err := d.command.Wait(); err != nil {
		d.t.Fatalf("the daemon left with: %v\n%s", err, d.said())
	}
}

// get reads a page of operations.
func (d *served) get(page string) (status int, body string) {
	d.t.Helper()
	answer, err := http.Get(d.ops + page)
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// metrics reads /metrics, by name with labels.
func (d *served) metrics() map[string]float64 {
	d.t.Helper()
	_, body := d.get("/metrics")
	values := make(map[string]float64)
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			d.t.Fatalf("/metrics has the line %q", line)
		}
		values[line[:at]] = v
	}
	return values
}

// emitAll runs `lectern emit` to this daemon.
func (d *served) emit(network string, args ...string) emitSummary {
	d.t.Helper()
	out := succeed(d.t, append([]string{"emit", "--to", network + "://" + d.address}, args...)...)
	var s emitSummary
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		d.t.Fatalf("emit printed %q: %v", out, err)
	}
	return s
}

// stored is a row as any reader of Parquet sees it.
type stored struct {
	Stream   uint16    `parquet:"stream"`
	Minute   time.Time `parquet:"minute,timestamp(millisecond)"`
	Content  uint64    `parquet:"content"`
	User     uint64    `parquet:"user"`
	Opens    uint32    `parquet:"opens"`
	Reads    uint32    `parquet:"reads"`
	Finishes uint32    `parquet:"finishes"`
	Saves    uint32    `parquet:"saves"`
	Shares   uint32    `parquet:"shares"`
	Skipped  uint32    `parquet:"skipped"`
}

// storedRows reads every file of reads with the Parquet library alone.
func storedRows(t testing.TB, dir string) (rows []stored) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "reads", "day=*", "*.parquet"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of reads under %s: %v", dir, err)
	}
	for _, f := range files {
		part, err := parquet.ReadFile[stored](f)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, r := range part {
			if day := r.Minute.UTC().Format("day=2006-01-02"); day != filepath.Base(filepath.Dir(f)) {
				t.Errorf("%s holds a row of %s", f, day)
			}
		}
		rows = append(rows, part...)
	}
	return rows
}

// accessLog is the log that the tests send: an excerpt of a real one, or the
// one that LECTERN_TEST_ACCESS_LOG names.
func accessLog() string {
	if path := os.Getenv("LECTERN_TEST_ACCESS_LOG"); path != "" {
		return path
	}
	path, _ := filepath.Abs("testdata/access.log.gz")
	return path
}

// shell runs a pipeline: the oracle that shares no code with lectern.
func shell(t *testing.T, pipeline string, args ...string) string {
	t.Helper()
	out, err := exec.Command("bash", append([]string{"-euc", "set -o pipefail; " + pipeline, "oracle"}, args...)...).Output()
	if err != nil {
		t.Fatalf("%s: %v", pipeline, err)
	}
	return strings.TrimSpace(string(out))
}

// logOpens prints the opens of a log: minute, path without query, address. A 206
// is one where its client has not had the path in the half hour before, or, since
// servers write a line when they are done, behind it.
const logOpens = `zcat "$1" | awk '$6=="\"GET" && ($9==200||$9==206||$9==304) {
	p=$7; sub(/\?.*/, "", p)
	split($4, t, /[\/:[]/); at=((t[2]*24+t[5])*60+t[6])*60+t[7]; gap=at-had[$1,p]; if (gap<0) gap=-gap
	further=($9==206 && ($1,p) in had && gap<=1800)
	if ($9!=304 && (!(($1,p) in had) || at>had[$1,p])) had[$1,p]=at
	if (!further) print substr($4, 2, 17), p, $1
}'`

func TestAccessLog(t *testing.T) {
	log := accessLog()
	dir := filepath.Join(t.TempDir(), "parquet")
	d := serveOn(t, configure(t, dir, `window.late_max = "0s"`))
	opens := shell(t, logOpens+` | wc -l`, log)
	for stream, network := range map[string]string{"1": "udp", "2": "tcp"} {
		if s := d.emit(network, "--log", log, "--stream", stream); strconv.FormatUint(s.Events, 10) != opens {
			t.Errorf("%s: emit sent %d events, the log has %s", network, s.Events, opens)
		}
	}
	d.stop()

	books := succeed(t, "books", "--config", d.config, "--json")
	var b struct {
		Streams []struct {
			Stream                                      string
			Sent, Accepted, Stored, Lost, Shed, Clamped json.Number
		}
		AddsUp bool `json:"adds_up"`
	}
	if err := json.Unmarshal([]byte(books), &b); err != nil || !b.AddsUp || len(b.Streams) != 2 {
		t.Errorf("the books: %v\n%s", err, books)
	}

	// What each minute, path and address counted, by a pipeline and by us.
	want := make(map[string]int)
	for line := range strings.Lines(shell(t, logOpens+` | sort | uniq -c`, log)) {
		f := strings.Fields(line)
		n, _ := strconv.Atoi(f[0])
		minute, err := time.Parse("02/Jan/2006:15:04", f[1])
		if err != nil {
			t.Fatal(err)
		}
		want[fmt.Sprint(minute.Unix(), xxhash.Sum64String(f[2]), xxhash.Sum64String(f[3]))] = n
	}
	rows := storedRows(t, dir)
	for _, stream := range []uint16{1, 2} {
		got := make(map[string]int)
		contents, users := make(map[uint64]bool), make(map[uint64]bool)
		for _, r := range rows {
			if r.Stream == stream {
				got[fmt.Sprint(r.Minute.Unix(), r.Content, r.User)] += int(r.Opens)
				contents[r.Content], users[r.User] = true, true
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("stream %d: the minutes differ from the log's: %d keys, want %d", stream, len(got), len(want))
		}
		if n := shell(t, logOpens+` | awk '{print $2}' | sort -u | wc -l`, log); n != strconv.Itoa(len(contents)) {
			t.Errorf("stream %d: %d contents, want %s", stream, len(contents), n)
		}
		if n := shell(t, logOpens+` | awk '{print $3}' | sort -u | wc -l`, log); n != strconv.Itoa(len(users)) {
			t.Errorf("stream %d: %d users, want %s", stream, len(users), n)
		}
		t.Logf("stream %d: %s opens, %d contents, %d users, %d rows", stream, opens, len(contents), len(users), len(got))
		topFive(t, d, log, stream)
	}
	namesAfterStart(t, d, log)
}

// namesAfterStart starts the daemon anew, which knows then what the contents of the log
// are called, though no emitter says it again.
func namesAfterStart(t *testing.T, before *served, log string) {
	t.Helper()
	paths, _ := strconv.ParseFloat(shell(t, logOpens+` | awk '{print $2}' | sort -u | wc -l`, log), 64)
	d := serveOn(t, before.config)
	defer d.stop()
	poll.Until(t, "the contents of two streams have their names", func() bool { return d.metrics()["lectern_contents_named"] == 2*paths })
}

// topFive compares `lectern top` with sort and uniq.
func topFive(t *testing.T, d *served, log string, stream uint16) {
	t.Helper()
	var want []string
	for line := range strings.Lines(shell(t, logOpens+` | awk '{print $2}' | sort | uniq -c | sort -rn | awk '{print $1}' | sed -n 1,5p`, log)) {
		want = append(want, strings.TrimSpace(line))
	}
	out := succeed(t, "top", "--config", d.config, "--all", "-n", "5", "--stream", strconv.Itoa(int(stream)))
	var got []string
	for _, count := range want {
		found := false
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			found = found || slices.Contains(f, count) && slices.ContainsFunc(f, func(s string) bool {
				return strings.HasPrefix(s, "/") && shell(t, logOpens+` | awk -v p="$2" '$2==p' | wc -l`, log, s) == count
			})
		}
		if found {
			got = append(got, count)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("top of stream %d has not the counts %v:\n%s", stream, want, out)
	}
}

// Made-up readers over both transports, with cuts and blocks meanwhile.
func TestCrowdIsExact(t *testing.T) {
	events := 300_000
	if n := os.Getenv("LECTERN_TEST_EVENTS"); n != "" {
		events, _ = strconv.Atoi(n)
	}
	dir := filepath.Join(t.TempDir(), "parquet")
	d := serveOn(t, configure(t, dir, "window.ack_interval = \"200ms\"\nwindow.flush_interval = \"1s\"\nparquet.merge_interval = \"1s\""))
	count := strconv.Itoa(events)
	d.emit("tcp", "--events", count, "--stream", "1", "--users", "50000", "--contents", "20000")
	d.emit("udp", "--events", count, "--stream", "2", "--users", "50000", "--contents", "20000", "--rate", "200000")
	m := d.metrics()
	d.stop()
	t.Logf("%.0f of %.0f cuts held the loops for at most 0.1 ms; with %d loops", m[`lectern_cut_hold_seconds_bucket{le="0.0001"}`], m["lectern_cut_hold_seconds_count"], runtime.GOMAXPROCS(0))
	succeed(t, "books", "--config", d.config)
	sums := make(map[uint16]int)
	for _, r := range storedRows(t, dir) {
		sums[r.Stream] += int(r.Opens + r.Reads + r.Finishes + r.Saves + r.Shares)
	}
	if sums[1] != events || sums[2] != events {
		t.Errorf("stored %v, sent %d each", sums, events)
	}
}

// A command that succeeds says nothing on standard error.
func TestNothingOnStandardError(t *testing.T) {
	if _, stderr, code := lectern(t, nil, "version"); code != 0 || stderr != "" {
		t.Errorf("exit %d, said %q", code, stderr)
	}
}

// What a stopped daemon has stored, the next one goes on from.
func TestStopAndGoOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	config := configure(t, dir, "")
	for round := 1; round <= 3; round++ {
		d := serveOn(t, config)
		if status, body := d.get("/readyz"); status != http.StatusOK {
			t.Errorf("not ready: %d %s", status, body)
		}
		if status, body := d.get("/healthz"); status != http.StatusOK {
			t.Errorf("not healthy: %d %s", status, body)
		}
		d.emit("tcp", "--events", "5000", "--seed", strconv.Itoa(round))
		d.stop()
		sum := 0
		for _, r := range storedRows(t, dir) {
			sum += int(r.Opens + r.Reads + r.Finishes + r.Saves + r.Shares)
		}
		if sum != round*5000 {
			t.Fatalf("round %d: %d events are stored", round, sum)
		}
	}
	succeed(t, "books", "--config", config)
}

// A killed daemon leaves a directory that the next one takes up, and readers
// can read. What it had not stored is gone: the spool is for that.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	config := configure(t, dir, "window.ack_interval = \"100ms\"\nwindow.flush_interval = \"100ms\"")
	for round := range 3 {
		d := serveOn(t, config)
		d.emit("tcp", "--events", "50000", "--seed", strconv.Itoa(round+1))
		_ = d.command.Process.Kill()
		<-d.finished
	}
	d := serveOn(t, config)
	d.emit("tcp", "--events", "10", "--stream", "9")
	d.stop()
	succeed(t, "books", "--config", config)
	if out := succeed(t, "top", "--config", config, "--all", "--stream", "9", "--json"); !strings.Contains(out, `"id"`) {
		t.Errorf("nothing of stream 9 after the kills: %s", out)
	}
}

// Mistakes of a person are answered with what to do, and the right exit code.
func TestMistakes(t *testing.T) {
	running := serveOn(t, configure(t, filepath.Join(t.TempDir(), "parquet"), ""))
	file := func(lines string) string { return configure(t, filepath.Join(t.TempDir(), "p"), lines) }
	taken := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(taken, fmt.Appendf(nil, "listen.address = %q\nops.address = \"127.0.0.1:0\"\nparquet.dir = %q\nspool.dir = %q\n", running.address, t.TempDir(), t.TempDir()), 0o600); err != nil {
		t.Fatal(err)
	}
	opsTaken := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(opsTaken, fmt.Appendf(nil, "listen.address = \"127.0.0.1:0\"\nops.address = %q\n", strings.TrimPrefix(running.ops, "http://")), 0o600); err != nil {
		t.Fatal(err)
	}
	notDir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "serve"},
		{[]string{"sevre"}, 2, `"serve"`},
		{[]string{"serve", "--cofnig", "x"}, 2, "--help"},
		{[]string{"serve", "--config", "/nowhere/config.toml"}, 1, "/nowhere/config.toml"},
		{[]string{"serve", "--config", file(`window.flush_intervall = "1s"`)}, 1, "flush_interval"},
		{[]string{"serve", "--config", taken}, 1, "another process has the port"},
		{[]string{"serve", "--config", running.config}, 1, "another process"},
		{[]string{"serve", "--config", opsTaken}, 1, "set ops.address"},
		{[]string{"serve", "--config", configure(t, notDir, "")}, 1, notDir},
		{[]string{"emit", "--to", "tcp://127.0.0.1:1", "--events", "1"}, 1, "127.0.0.1:1"},
		{[]string{"top", "--config", configure(t, "/nowhere/parquet", "")}, 1, "/nowhere/parquet"},
		{[]string{"books", "--what"}, 2, "--help"},
	} {
		stdout, stderr, code := lectern(t, nil, c.args...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("lectern %s: exit %d, want %d and %q in\n%s%s", strings.Join(c.args, " "), code, c.code, c.says, stdout, stderr)
		}
	}
}

// What the spool holds of a killed daemon can be listed, verified and exported,
// and nothing that was acknowledged is missing.
func TestSpoolOfADeadDaemon(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	config := configure(t, dir, "window.ack_interval = \"50ms\"\nwindow.flush_interval = \"1h\"")
	d := serveOn(t, config)
	d.emit("tcp", "--events", "20000")
	_ = d.command.Process.Kill()
	<-d.finished
	if out := succeed(t, "spool", "ls", "--config", config); !strings.Contains(out, "are in no block yet") {
		t.Errorf("ls: %s", out)
	}
	if out := succeed(t, "spool", "verify", "--config", config); !strings.Contains(out, "Every checksum is right.") {
		t.Errorf("verify: %s", out)
	}
	none := filepath.Join(t.TempDir(), "none")
	if out := succeed(t, "spool", "export", "--config", config, "--to", none); !strings.Contains(out, "rows more are in no block yet") {
		t.Errorf("export of seals alone: %s", out)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("an export of nothing made a directory")
	}
	d = serveOn(t, config)
	d.stop()
	sum := 0
	for _, r := range storedRows(t, dir) {
		sum += int(r.Opens + r.Reads + r.Finishes + r.Saves + r.Shares)
	}
	if sum != 20_000 {
		t.Errorf("%d of 20,000 acknowledged events are stored after a kill", sum)
	}
	succeed(t, "books", "--config", config)
	if stdout, stderr, code := lectern(t, nil, "spool", "verify", "--dir", t.TempDir()); code != 1 || !strings.Contains(stderr, "there is none") {
		t.Errorf("verify of a directory that is no spool: exit %d, %s%s", code, stdout, stderr)
	}
	export := filepath.Join(t.TempDir(), "export")
	if out := succeed(t, "spool", "export", "--config", config, "--to", export); !strings.Contains(out, "0 blocks") {
		t.Errorf("export: %s", out)
	}
}
