package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/lectern/lectern/cmd/lectern/internal/once"
	"github.com/lectern/lectern/emit"
)

// emitTaker takes events as a client library with a queue does: what was added
// outlives it, and it knows how many that were.
type emitTaker struct {
	mu     sync.Mutex // protects taken
	taken  *[]string  // content and user of each, by name
	names  map[uint64]string
	source uint64
	events uint64
	last   int // so many events more are taken, then it is killed
	killed bool
}

var errKilled = errors.New("killed")

func newEmitTaker(names ...string) *emitTaker {
	e := &emitTaker{taken: new([]string), names: make(map[uint64]string), source: 7, last: 1 << 30}
	for _, name := range names {
		e.names[xxhash.Sum64String(name)] = name
	}
	return e
}

func (e *emitTaker) Add(event emit.Event) error {
	if e.killed {
		return errKilled
	}
	e.events++
	e.mu.Lock()
	*e.taken = append(*e.taken, e.name(event.Content)+" "+e.name(event.User))
	e.mu.Unlock()
	if e.last--; e.last == 0 {
		e.killed = true
	}
	return nil
}

// some returns what was taken since the last call.
func (e *emitTaker) some() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	some := strings.Join(*e.taken, "|")
	*e.taken = nil
	return some
}

func (e *emitTaker) name(id uint64) string {
	if name, ok := e.names[id]; ok {
		return name
	}
	return fmt.Sprint(id)
}

func (e *emitTaker) Position() (emit.Position, bool) {
	return emit.Position{Source: e.source, Events: e.events}, !e.killed
}
func (e *emitTaker) Name(string) error           { return nil }
func (e *emitTaker) Stats() emit.Stats           { return emit.Stats{Events: e.events} }
func (e *emitTaker) Close(context.Context) error { return nil }

// emitLogOptionsOf are the options that the arguments make.
func emitLogOptionsOf(t testing.TB, args ...string) *emitOptions {
	t.Helper()
	o := newEmitOptions()
	err := o.flags.Parse(append([]string{"--to", "tcp://127.0.0.1:1"}, args...))
	if err == nil {
		err = o.complete()
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// emitLogRun sends a log, and returns what was taken and what was said.
func emitLogRun(t testing.TB, out *emitTaker, stdin io.Reader, args ...string) (said string, err error) {
	t.Helper()
	l, err := openEmitLog(emitLogOptionsOf(t, args...), stdin)
	if err != nil {
		return "", err
	}
	err = l.run(t.Context(), out, newEmitPace(0))
	var stderr strings.Builder
	_, end := emitLogEnd(l, &stderr)
	return stderr.String(), errors.Join(err, end)
}

// logLine is a line of the combined format.
func logLine(client, target string, status int, agent string) string {
	return fmt.Sprintf("%s - - [28/Nov/2026:20:00:01 +0000] \"GET %s HTTP/1.1\" %d 100 \"-\" %q\n", client, target, status, agent)
}

func TestEmitLogChooses(t *testing.T) {
	const browser, bot = "Mozilla/5.0", "Mozilla/5.0 (compatible; Googlebot/2.1)"
	text := logLine("192.0.2.1", "/a?x", 200, browser) + logLine("192.0.2.1", "/a/", 200, browser) + logLine("192.0.2.2", "/s.css", 200, browser) +
		logLine("192.0.2.3", "/a", 200, bot) + logLine("192.0.2.4", "/v", 206, browser) + logLine("192.0.2.4", "/v", 206, browser) +
		strings.Replace(logLine("10.0.0.1", "/b/c", 200, browser), "\n", " \"192.0.2.9, 10.0.0.3\"\n", 1) + logLine("192.0.2.1", "/d", 404, browser)
	for _, test := range []struct {
		args, want, left string
	}{
		{"", "/a 192.0.2.1|/a/ 192.0.2.1|/s.css 192.0.2.2|/a 192.0.2.3|/v 192.0.2.4|/b/c 10.0.0.1", "1 further ranges of downloads"},
		{"--no-bots", "/a 192.0.2.1|/a/ 192.0.2.1|/s.css 192.0.2.2|/v 192.0.2.4|/b/c 10.0.0.1", "1 of bots, 1 further ranges of downloads"},
		{"--skip *.css --skip /v", "/a 192.0.2.1|/a/ 192.0.2.1|/a 192.0.2.3|/b/c 10.0.0.1", "3 by --only and --skip"},
		{"--only /a* --only /b/*", "/a 192.0.2.1|/a/ 192.0.2.1|/a 192.0.2.3|/b/c 10.0.0.1", "3 by --only and --skip"},
		{"--only /a* --keep-query", "/a?x 192.0.2.1|/a/ 192.0.2.1|/a 192.0.2.3", "4 by --only and --skip"},
		{"--only /a --trim-slash", "/a 192.0.2.1|/a 192.0.2.1|/a 192.0.2.3", "4 by --only and --skip"},
		{"--only /b/* --client-from forwarded", "/b/c 192.0.2.9", "6 by --only and --skip"},
		{"--only /b/* --client-from forwarded --trusted-proxy 10.0.0.1", "/b/c 10.0.0.3", "6 by --only and --skip"},
	} {
		out := newEmitTaker("/a", "/a?x", "/a/", "/s.css", "/v", "/b/c", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.9", "10.0.0.1", "10.0.0.3")
		said, err := emitLogRun(t, out, strings.NewReader(text), append([]string{"--log", "-"}, strings.Fields(test.args)...)...)
		if got := strings.Join(*out.taken, "|"); err != nil || got != test.want || said != "lectern emit: left out: "+test.left+"\n" {
			t.Errorf("%s: %v, %s\n%s, want\n%s", test.args, err, said, got, test.want)
		}
	}
}

func TestEmitLogReports(t *testing.T) {
	long := strings.Repeat("x", firstMax)
	text := "# Fields\n\x1b[2Jnothing\n" + logLine("-", "/a", 200, "") + logLine("h", "/a", 200, "") + long + "y\n" + strings.Repeat("z", 300_000) + "\n" + strings.Repeat(logLine("h", "/a", 200, ""), 3)
	said, err := emitLogRun(t, newEmitTaker(), strings.NewReader(text), "--log", "-")
	want := `lectern emit: 5 of 9 lines could not be read:
  1 is a comment: line 1: "# Fields"
  1 is longer than 256 KiB: line 6
  2, each of which has no readable time in brackets; the first is line 2: "\x1b[2Jnothing"
  1 has neither an address nor a name for its client: line 3: "- - - [28/Nov/2026:20:00:01 +0000] \"GET /a HTTP/1.1\" 200 100 \"-\" \"\""
`
	if said != want || err == nil || err.Error() != "5 of 9 lines could not be read: most of the log is missing; is it an access log, and --format right?" {
		t.Errorf("%v\n%s", err, said)
	}
	said, err = emitLogRun(t, newEmitTaker(), strings.NewReader(long+"y\n"+logLine("h", "/a", 200, "")), "--log", "-")
	if err != nil || !strings.HasSuffix(said, `"`+long+"\"…\n") {
		t.Errorf("half: %v\n%s", err, said)
	}
}

func TestEmitLogFiles(t *testing.T) {
	e, _ := zstd.NewWriter(nil)
	for name, text := range map[string][]byte{
		"zstd": e.EncodeAll([]byte(logLine("h", "/a", 200, "")), nil),
		"json": []byte(`{"ts":1792267201.5,"who":"h","request":"GET /a HTTP/1.1","status":200}`),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out := newEmitTaker("/a", "h")
		if said, err := emitLogRun(t, out, nil, "--log", path, "--field", "client=who"); err != nil || said != "" || strings.Join(*out.taken, "|") != "/a h" {
			t.Errorf("%s: %v, %v, %s", name, *out.taken, err, said)
		}
	}
	if _, err := emitLogRun(t, newEmitTaker(), nil, "--log", t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: %v", err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openEmitLog(emitLogOptionsOf(t, "--log", fifo), nil); err != nil {
		t.Errorf("a pipe without a writer: %v", err) // and it does not wait
	}
	for _, args := range [][]string{{"--follow"}, {"--once", t.TempDir()}} {
		if _, err := openEmitLog(emitLogOptionsOf(t, append([]string{"--log", fifo}, args...)...), nil); err == nil {
			t.Errorf("%v of a pipe is taken", args)
		}
	}
}

func TestEmitLogUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--events 1 --format json":                                "--format goes with --log",
		"--events 1 --no-bots":                                    "--no-bots goes with --log",
		"--log a --format clf":                                    `--format: "clf" is not one of auto`,
		"--log a --field time":                                    `--field "time": it is not WHAT=NAME`,
		"--log a --field clock=x":                                 `--field "clock=x": it is not WHAT=NAME`,
		"--log a --field time=x --format common":                  "--field is for JSON lines",
		"--log a --client-from proxy":                             `--client-from "proxy" is neither peer nor forwarded`,
		"--log a --trusted-proxy x":                               `--trusted-proxy "x": it is not a network`,
		"--log a --client-from peer --trusted-proxy 192.0.2.0/24": "--trusted-proxy goes with --client-from forwarded",
		"--log a --only css":                                      `--only "css": no path is of this pattern`,
		"--log a --once=":                                         "--once names no directory",
		"--log a --once d --queue q":                              "--once and --queue exclude each other",
		"--log - --once d":                                        "--follow and --once are for a file",
		"--log - --follow":                                        "--follow and --once are for a file",
	} {
		var out, errs bytes.Buffer
		code := (&process{stdout: &out, stderr: &errs}).runEmit(t.Context(), append([]string{"--to", "tcp://127.0.0.1:1"}, strings.Fields(args)...))
		if code != 2 || out.Len() > 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: exit %d, %q, want %q", args, code, errs.String(), want)
		}
	}
}

// write appends to a file.
func write(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A log is followed over all that becomes of logs, to its last line.
func TestEmitLogFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "access.log")
		write(t, path, logLine("h", "/1", 200, ""))
		l, err := openEmitLog(emitLogOptionsOf(t, "--log", path, "--follow"), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, interrupt := context.WithCancel(t.Context())
		out := newEmitTaker("/1", "/2", "/3", "/4", "/5", "/6", "/7", "h")
		ended := make(chan error)
		go func() { ended <- l.run(ctx, out, newEmitPace(0)) }()
		for i, step := range []struct {
			do   func()
			want string
		}{
			{func() {}, "/1 h"},
			{func() { write(t, path, logLine("h", "/2", 200, "")+logLine("h", "/3", 200, "")[:20]) }, "/2 h"},
			{func() { write(t, path, logLine("h", "/3", 200, "")[20:]) }, "/3 h"},
			{func() { _ = os.Rename(path, path+".1") }, ""},
			{func() { write(t, path+".1", logLine("h", "/4", 200, "")) }, "/4 h"},                    // the server has it open
			{func() { write(t, path, logLine("h", "/5", 200, "")) }, "/5 h"},                         // until it opens the new one
			{func() { _ = os.Truncate(path, 0) }, ""},                                                // logrotate's copytruncate
			{func() { write(t, path, strings.Repeat(logLine("h", "/6", 200, ""), 2)) }, "/6 h|/6 h"}, // grown past where it was
			{func() { _ = os.WriteFile(path, []byte(strings.Repeat(logLine("i", "/7", 200, ""), 4)), 0o600) }, "/7 i|/7 i|/7 i|/7 i"},
		} {
			step.do()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if got := strings.ReplaceAll(out.some(), out.name(xxhash.Sum64String("i")), "i"); got != step.want {
				t.Errorf("step %d: %s, want %s", i, got, step.want)
			}
		}
		interrupt()
		if err := <-ended; err != nil || !l.endless() {
			t.Error(err)
		}
	})
}

// A log is sent once: again, longer, by another name, compressed, begun anew.
func TestEmitLogOnce(t *testing.T) {
	dir, memory := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "access.log")
	first := strings.Repeat(logLine("h", "/1", 200, ""), 10)
	out := newEmitTaker("/1", "/2", "/3", "/4", "h")
	for i, step := range []struct {
		do   func()
		log  string
		want int
		said string
	}{
		{func() { write(t, path, first) }, path, 10, ""},
		{func() {}, path, 0, ""},
		{func() { write(t, path, logLine("h", "/2", 200, "")+logLine("h", "/2", 200, "")[:10]) }, path, 1, "lectern emit: the last line has no end yet, and is left for the next run\n"},
		{func() { write(t, path, logLine("h", "/2", 200, "")[10:]) }, path, 1, ""},
		// Its end is in the renamed file, which is found by itself, and is sent once.
		{func() {
			write(t, path, logLine("h", "/2", 200, ""))
			_ = os.Rename(path, path+".1")
			write(t, path, logLine("h", "/3", 200, ""))
		}, path, 2, ""},
		{func() {}, path + ".1", 0, ""},
		{func() {
			text, _ := os.ReadFile(path + ".1")
			_ = os.WriteFile(path+".2.gz", []byte(gzipped(string(text))), 0o600)
			_ = os.Remove(path + ".1")
		}, path + ".2.gz", 0, ""},
		{func() { _ = os.WriteFile(path, []byte(strings.Repeat(logLine("h", "/4", 200, ""), 5)), 0o600) }, path, 5, ""}, // begun anew
		{func() {}, path, 0, ""},
	} {
		step.do()
		*out.taken = nil
		said, err := emitLogRun(t, out, nil, "--log", step.log, "--once", memory)
		if err != nil || len(*out.taken) != step.want || said != step.said {
			t.Errorf("step %d: %v, %v, %q", i, *out.taken, err, said)
		}
	}
	// Another collector has another memory, and two runs do not share one.
	o := emitLogOptionsOf(t, "--log", path, "--once", memory, "--stream", "3")
	if _, err := openEmitLog(o, nil); err == nil || !strings.Contains(err.Error(), "give another directory for tcp://127.0.0.1:1 as stream 3") {
		t.Errorf("another stream: %v", err)
	}
	l, err := openEmitLog(emitLogOptionsOf(t, "--log", path, "--once", memory), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openEmitLog(emitLogOptionsOf(t, "--log", path, "--once", memory), nil); err == nil || !strings.Contains(err.Error(), "another run has") {
		t.Errorf("two at once: %v", err)
	}
	_ = l.progress.close()
}

// Whenever a run is killed, and whatever becomes of the log meanwhile, the next
// ones send every line once.
func TestEmitLogOnceIsKilled(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) { emitLogKills(t, seed) })
	}
}

func emitLogKills(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	dir, memory := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "access.log")
	out := newEmitTaker()
	var want []string
	number := 0
	grow := func() {
		var lines strings.Builder
		defer func() { write(t, path, lines.String()) }()
		for range random.IntN(600) {
			number++
			target, status := fmt.Sprintf("/%d", number), []int{200, 200, 200, 404, 206}[random.IntN(5)]
			if status == 206 {
				target = "/download"
			}
			lines.WriteString(logLine("h", target, status, ""))
			if status == 200 {
				want = append(want, fmt.Sprint(xxhash.Sum64String(target)))
			}
		}
	}
	grow()
	write(t, path, logLine("h", "/last", 200, ""))
	want = append(want, fmt.Sprint(xxhash.Sum64String("/last")))
	run := func(last int, renew bool, rate int64) {
		out.killed, out.last = false, last
		o := emitLogOptionsOf(t, "--log", path, "--once", memory)
		o.client.Queue = "" // out stands for it
		l, err := openEmitLog(o, nil)
		if err == nil {
			err = l.progress.recover(emit.Position{Source: out.source, Events: out.events})
		}
		if err != nil {
			t.Fatal(err)
		}
		if renew && out.events > 0 {
			out.source, out.events = out.source+1, 0 // an empty queue begins a new source
		}
		err = l.run(t.Context(), out, newEmitPace(rate))
		if err != nil && !(errors.Is(err, errKilled) && out.killed) {
			t.Fatal(err)
		}
		if err := l.progress.close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 12 {
		run(1+random.IntN(1500), random.IntN(4) == 0, int64(50+random.IntN(1000))) // so that seconds pass
		grow()
		// What is rotated twice before it was sent is not looked for.
		if !out.killed && random.IntN(2) == 0 {
			_ = os.Rename(path, fmt.Sprintf("%s.%d", path, number))
			number++
			write(t, path, logLine("h", fmt.Sprintf("/%d", number), 200, ""))
			want = append(want, fmt.Sprint(xxhash.Sum64String(fmt.Sprintf("/%d", number))))
		}
	}
	run(1<<30, false, 0)
	var got []string
	for _, event := range *out.taken {
		if content, _, _ := strings.Cut(event, " "); content != fmt.Sprint(xxhash.Sum64String("/download")) {
			got = append(got, content)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("seed %d: %d events, want %d", seed, len(got), len(want))
	}
}

func TestOnceRefuses(t *testing.T) {
	dir := t.TempDir()
	m, err := once.Open(dir, "here")
	if err != nil {
		t.Fatal(err)
	}
	info, _ := os.Stat(dir)
	l, _ := m.Find("log", info, []byte("head"))
	if err := errors.Join(m.Save(l, once.Mark{}), m.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sent.json")
	good, _ := os.ReadFile(path)
	for name, test := range map[string]struct {
		text []byte
		want string
	}{
		"damage":    {bytes.Replace(good, []byte(`"log"`), []byte(`"lag"`), 1), "is damaged"},
		"cut off":   {good[:20], "is damaged"},
		"empty":     {nil, "is damaged"},
		"a newer":   {bytes.Replace(good, []byte(`"version": 1`), []byte(`"version": 2`), 1), "is of a newer lectern (version 2)"},
		"elsewhere": {good, "remembers what was sent to here"},
	} {
		if err := os.WriteFile(path, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := once.Open(dir, "there"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, test.text) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}
