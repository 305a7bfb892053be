package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/conform"

	"github.com/cespare/xxhash/v2"
	"github.com/parquet-go/parquet-go"
)

// The streams that a client sends under.
const (
	clientLogUDP uint16 = 1 + iota
	clientLogTCP
	clientStormUDP
	clientStormTCP
	clientKilled
)

// notRun is the exit code of clients/LANG/test where something cannot be done
// here.
const notRun = 77

// otherClient is a directory of clients/ whose script "test" keeps to the convention
// of docs/CLIENTS.md.
type otherClient struct {
	name, script string
}

// clients are those that LECTERN_TEST_CLIENTS or another variable names, or "all".
func clients(t *testing.T, variable string) (some []otherClient) {
	t.Helper()
	only := strings.Fields(os.Getenv(variable))
	if len(only) == 0 {
		t.Skip("make test-clients runs it")
	}
	scripts, err := filepath.Glob("../../clients/*/test")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		path, err := filepath.Abs(s)
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(filepath.Dir(path)); only[0] == "all" || slices.Contains(only, name) {
			some = append(some, otherClient{name, path})
		}
	}
	if len(some) == 0 || only[0] != "all" && len(some) != len(only) {
		t.Fatalf("of the clients %v there are %v", only, some)
	}
	return some
}

// do runs a sub-command and returns what it printed, false where it cannot be
// done here, which it has said then.
func (c otherClient) do(t *testing.T, stdin io.Reader, args ...string) (string, bool) {
	t.Helper()
	command := exec.Command(c.script, args...)
	var out, both bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = stdin, io.MultiWriter(&out, &both), &both
	err := command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == notRun {
		said := strings.Split(strings.TrimSpace(out.String()), "\n")
		fmt.Fprintf(os.Stderr, "clients/%s/test %s: %s\n", c.name, args[0], said[len(said)-1])
		return "", false
	}
	if err != nil {
		t.Fatalf("clients/%s/test %s: %v\n%s", c.name, strings.Join(args, " "), err, both.String())
	}
	return out.String(), true
}

// Every client is set up, tested by its own tests, driven through all dialogues,
// and sends an access log and what a storm of forks adds to a real daemon.
func TestClients(t *testing.T) {
	for _, c := range clients(t, "LECTERN_TEST_CLIENTS") {
		t.Run(c.name, func(t *testing.T) {
			if _, ok := c.do(t, nil, "setup"); !ok {
				t.Skip("NOT RUN")
			}
			t.Run("unit", func(t *testing.T) { c.do(t, nil, "unit") })
			t.Run("conform", c.conform)
			t.Run("daemon", c.daemon)
		})
	}
}

// conform drives the client through all dialogues.
func (c otherClient) conform(t *testing.T) {
	// A driver that cannot be started here says so in place of an answer.
	if _, ok := c.do(t, strings.NewReader(""), "driver"); !ok {
		t.Skip("NOT RUN")
	}
	code, report := conforming(t, nil, []string{c.script, "driver"})
	for _, r := range report.Dialogues {
		if r.Outcome == conform.Failed {
			t.Error(r.String())
		}
	}
	if code != 0 || report.OK < 20 {
		t.Errorf("exit %d, %d ok", code, report.OK)
	}
	fmt.Fprintf(os.Stderr, "clients/%s: %d dialogues ok, %d NOT DONE, has %s\n", c.name, report.OK, report.NotDone, strings.Join(report.Has, " "))
}

// logEvents are the opens of the log, as clients/LANG/test log reads them, and
// how many there are of each minute, path and address.
func logEvents(t *testing.T) (lines []string, want map[string]int) {
	t.Helper()
	pipeline := strings.Replace(logOpens, "substr($4, 2, 17)", "substr($4, 2, 20)", 1)
	want = make(map[string]int)
	for line := range strings.Lines(shell(t, pipeline, accessLog())) {
		f := strings.Fields(line)
		at, err := time.Parse("02/Jan/2006:15:04:05", f[0])
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%d\topen\t%s\t%s\n", at.UnixMilli(), f[1], f[2]))
		want[fmt.Sprint(at.Truncate(time.Minute).Unix(), xxhash.Sum64String(f[1]), xxhash.Sum64String(f[2]))]++
	}
	return lines, want
}

// daemon sends to a real daemon, and looks at what it stored and at its books.
func (c otherClient) daemon(t *testing.T) {
	lines, want := logEvents(t)
	dir := filepath.Join(t.TempDir(), "parquet")
	d := serveOn(t, configure(t, dir, `window.late_max = "0s"`))
	sent := map[uint16]string{}
	for stream, way := range map[uint16]string{clientLogUDP: "udp", clientLogTCP: "tcp"} {
		if said, ok := c.do(t, strings.NewReader(strings.Join(lines, "")), "log", way, d.address, strconv.Itoa(int(stream))); ok {
			sent[stream] = said
		}
	}
	stormed := map[uint16]string{}
	for stream, way := range map[uint16]string{clientStormUDP: "udp", clientStormTCP: "tcp"} {
		if said, ok := c.do(t, nil, "storm", way, d.address, strconv.Itoa(int(stream)), "20", "500"); ok {
			stormed[stream] = said
		}
	}
	killed := sent[clientLogTCP] != ""
	if killed {
		c.killed(t, d, lines)
	}
	d.stop()

	if len(sent)+len(stormed) == 0 {
		t.Skip("NOT RUN")
	}
	books := clientBooks(t, d)
	rows := storedRows(t, dir)
	for stream, said := range sent {
		c.sentAll(t, stream, said, len(lines), books[stream])
		if got := opensOf(rows, stream); !maps.Equal(got, want) {
			t.Errorf("stream %d: the minutes differ from the log's: %d keys, want %d", stream, len(got), len(want))
		}
	}
	contents, users := make(map[string]bool), make(map[string]bool)
	for _, line := range lines {
		f := strings.Fields(line)
		contents[f[2]], users[f[3]] = true, true
	}
	said := sayings(contents)
	for stream := range sent {
		if got := storedNames(t, dir, stream); !maps.Equal(got, said) {
			t.Errorf("stream %d: %d names and attributes came, want %d, of %d contents", stream, len(got), len(said), len(contents))
		}
	}
	t.Logf("the log has %d opens of %d contents by %d users, and went over %d ways", len(lines), len(contents), len(users), len(sent))
	for stream, said := range stormed {
		n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(said), "added="))
		if b := books[stream]; err != nil || b.Accepted != n || b.Lost != 0 {
			t.Errorf("the storm of stream %d: %q, and the books have %d accepted, %d lost", stream, strings.TrimSpace(said), b.Accepted, b.Lost)
		}
	}
	if !killed {
		return
	}
	for key, n := range opensOf(rows, clientKilled) {
		if n > want[key] {
			t.Errorf("of a client that was killed %s came %d times, want %d at most", key, n, want[key])
		}
	}
}

// clientBook is one stream's.
type clientBook struct{ Sent, Accepted, Lost int }

func clientBooks(t *testing.T, d *served) map[uint16]clientBook {
	t.Helper()
	var all struct {
		Streams []struct {
			Stream               string
			Sent, Accepted, Lost json.Number
		}
		AddsUp bool `json:"adds_up"`
	}
	text := succeed(t, "books", "--config", d.config, "--json")
	if err := json.Unmarshal([]byte(text), &all); err != nil || !all.AddsUp {
		t.Errorf("the books: %v\n%s", err, text)
	}
	books := make(map[uint16]clientBook)
	for _, s := range all.Streams {
		number, err := strconv.ParseUint(s.Stream, 10, 16)
		sent, err2 := s.Sent.Int64()
		accepted, err3 := s.Accepted.Int64()
		lost, err4 := s.Lost.Int64()
		if err := errors.Join(err, err2, err3, err4); err != nil {
			t.Fatalf("the books of stream %q: %v", s.Stream, err)
		}
		books[uint16(number)] = clientBook{int(sent), int(accepted), int(lost)}
	}
	return books
}

// opensOf are the opens of a stream by minute, content and user.
func opensOf(rows []stored, stream uint16) map[string]int {
	got := make(map[string]int)
	for _, r := range rows {
		if r.Stream == stream {
			got[fmt.Sprint(r.Minute.Unix(), r.Content, r.User)] += int(r.Opens)
		}
	}
	return got
}

// saying is what one content is said to be.
type saying struct {
	content         uint64
	attribute, text string
}

// sayings are what docs/CLIENTS.md has "test log" say of these contents.
func sayings(contents map[string]bool) map[saying]bool {
	said := make(map[saying]bool)
	for path := range contents {
		id := xxhash.Sum64String(path)
		for attribute, text := range map[string]string{
			"name": path, "title": "Title of " + path, "section": "Log", "author": "A. Writer", "published": "1767225600000", "words": "1200",
		} {
			said[saying{id, attribute, text}] = true
		}
	}
	return said
}

// storedNames are what a stream's contents are said to be.
func storedNames(t *testing.T, dir string, stream uint16) map[saying]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "contents", "day=*", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[saying]bool)
	for _, f := range files {
		rows, err := parquet.ReadFile[struct {
			Stream    uint16 `parquet:"stream"`
			Content   uint64 `parquet:"content"`
			Attribute string `parquet:"attribute"`
			Text      string `parquet:"text"`
		}](f)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, r := range rows {
			if r.Stream == stream {
				names[saying{r.Content, r.Attribute, r.Text}] = true
			}
		}
	}
	return names
}

// sentAll holds what a client says of the log against the books.
func (c otherClient) sentAll(t *testing.T, stream uint16, said string, n int, b clientBook) {
	t.Helper()
	have := map[string]int{}
	for _, word := range strings.Fields(said) {
		if key, value, ok := strings.Cut(word, "="); ok {
			have[key], _ = strconv.Atoi(value)
		}
	}
	if arrived := have["sent"] + have["acked"]; have["added"] != n || arrived != n || b.Accepted != n || b.Lost != 0 {
		t.Errorf("stream %d: of %d events %q, and the books have %d accepted, %d lost", stream, n, strings.TrimSpace(said), b.Accepted, b.Lost)
	}
}

// killed kills a client that has sent half of the log and is about to send the rest.
func (c otherClient) killed(t *testing.T, d *served, lines []string) {
	t.Helper()
	const accepted = "lectern_events_accepted_total"
	before := d.metrics()[accepted]
	command := exec.Command(c.script, "log", "tcp", d.address, strconv.Itoa(int(clientKilled)))
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := command.StdinPipe()
	if err == nil {
		err = command.Start()
	}
	if err == nil {
		_, err = io.WriteString(in, strings.Join(lines[:len(lines)/2], ""))
	}
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); d.metrics()[accepted] <= before; {
		if time.Now().After(deadline) {
			t.Error("nothing came of the client that is to be killed")
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
	_ = command.Wait()
}

// TestBenchClients measures nothing itself: it shows what each client
// prints of itself and of a plain statsd client in the same run.
func TestBenchClients(t *testing.T) {
	for _, c := range clients(t, "LECTERN_BENCH_CLIENTS") {
		if _, ok := c.do(t, nil, "setup"); !ok {
			continue
		}
		if said, ok := c.do(t, nil, "bench"); ok {
			t.Logf("clients/%s, events a second of CPU time into datagrams:\n%s", c.name, said)
		}
	}
}
