//go:build unix

package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lectern/lectern/cmd/lectern/internal/conform"
)

// goDriver builds the driver around emit, with these files of emit in place of
// its own, and returns how it is started.
func goDriver(t *testing.T, overlay map[string]string) []string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "emit.test")
	args := []string{"test", "-c", "-o", program}
	if overlay != nil {
		replace := map[string]string{}
		for name, text := range overlay {
			path, err := filepath.Abs(filepath.Join("../../emit", name))
			if err != nil {
				t.Fatal(err)
			}
			replace[path] = filepath.Join(dir, name)
			if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// The other tests need not be compiled each time.
		others, err := filepath.Glob("../../emit/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range others {
			if path, err := filepath.Abs(name); err == nil && filepath.Base(name) != "driver_test.go" {
				replace[path] = ""
			}
		}
		list, err := json.Marshal(map[string]any{"Replace": replace})
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "-overlay", filepath.Join(dir, "overlay.json"))
	}
	build := exec.Command("go", append(args, "github.com/lectern/lectern/emit")...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	return []string{program, "-test.run", "^TestDriver$", "-driver"}
}

// conforming runs lectern conform --json.
func conforming(t *testing.T, flags, driver []string) (code int, report conformReport) {
	t.Helper()
	args := slices.Concat([]string{"conform", "--json"}, flags, []string{"--"}, driver)
	code, stdout, stderr := runWith(t, nil, os.Environ(), args...)
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("exit %d, %v: %s%s", code, err, stdout, stderr)
	}
	return code, report
}

// Go's client keeps to all dialogues, but for those of forks, which Go has not.
func TestConformGo(t *testing.T) {
	code, report := conforming(t, nil, goDriver(t, nil))
	for _, r := range report.Dialogues {
		if r.Outcome == conform.Failed {
			t.Error(r.String())
		}
		if r.Outcome == conform.NotDone && !slices.Contains(r.Lacks, "fork") && r.Lacks[0] != "a second address, 127.0.0.2, on this machine" {
			t.Error(r.String())
		}
	}
	if code != 0 || report.OK < 60 || report.Client != "go" {
		t.Errorf("exit %d, %d ok of client %q", code, report.OK, report.Client)
	}
}

// mistake is one way in which a client is broken on purpose.
type mistake struct {
	name, file, right, wrong string
	noticed                  string // a dialogue that fails for it
	because                  string // what its reason says
}

var mistakes = []mistake{
	{"a sequence is used twice", "packer.go", "\tp.sequence++\n", "\tif p.sequence != 3 {\n\t\tp.sequence++\n\t}\n", "udp-silence", "is used twice"},
	{"a drop is not numbered", "sender.go", "\tm.lastError = err\n", "\tm.lastError = err\n\tm.packer.sequence--\n\tm.packer.position -= uint64(events)\n", "udp-own-drop", "lost is 0, want 5"},
	{"a restart repeats its source", "packer.go", "\treturn binary.LittleEndian.Uint64(b[:])\n", "\treturn 4711 + 0*binary.LittleEndian.Uint64(b[:])\n", "udp-killed", "belongs to process 1 of this dialogue"},
	{"an emitter keeps the source of the one before", "packer.go", "\treturn binary.LittleEndian.Uint64(b[:])\n", "\treturn 4711 + 0*binary.LittleEndian.Uint64(b[:])\n", "udp-two-emitters", "was dialled before"},
	{"a datagram is sent again", "udp.go", "\t\tu.sender.stats.Datagrams++\n", "\t\tu.sender.stats.Datagrams++\n\t\tif events > 0 {\n\t\t\t_, _ = s.Write(datagram)\n\t\t}\n", "udp-flush", "is sent again: over UDP nothing is"},
	{"beats are missing in a silence", "sender.go", "\t\tm.beat()\n\t\tm.beatWait = min", "\t\tm.lastSent = now\n\t\tm.beatWait = min", "udp-silence", "nothing came"},
	{"a silence has too many beats", "sender.go", "\t\tm.beatWait = min(2*m.beatWait, beatWaitMax)\n", "", "udp-silence", "nothing was to come"},
	{"the beats at the beginning are missing", "udp.go", "\tu.sender.start(packer, o.FlushAge, beats)\n", "\tu.sender.start(packer, o.FlushAge, 0)\n", "udp-opening", "it does not come"},
	{"the beats at the end are missing", "udp.go", "\t\tm.beat()\n\t}\n\tm.failed = ErrClosed\n", "\t}\n\tm.failed = ErrClosed\n", "udp-close-sends", "nothing came"},
	{"a source that is replaced says no last beats", "renew.go", "\tu.retire(old, &last)\n", "\t_, _ = old, last\n", "udp-renew", "ended without its three last beats"},
	{"a position counts frames", "packer.go", "\tp.position += uint64(count)\n", "\tp.position++\n", "udp-opening", "the number of events in the frames before"},
	{"a new socket keeps the source", "renew.go", "\tm.packer.renew()\n", "", "udp-renew", "over UDP a source belongs to one socket and one address"},
	{"more is in flight than the credit", "session.go", "k.inFlight > 0 && (k.inFlight+size > k.credit || k.inFlight+size < size)", "k.inFlight > 2*k.credit", "tcp-credit", "and the credit is 3000"},
	{"a frame that is sent again has the present time", "session.go", "\t\tsize := k.size(frame)\n", "\t\tsize := k.size(frame)\n\t\tif after.sequence <= q.tried() {\n\t\t\tframe[10]++\n\t\t}\n", "tcp-resume", "is sent again with other bytes"},
	{"what was in flight is not sent again", "session.go", "link{live: true, cursor: q.head,", "link{live: true, cursor: q.next,", "tcp-resume", "nothing came"},
	{"an ack of another spool is believed", "session.go", "\t} else if !same {\n", "\t} else if false && !same {\n", "tcp-another-spool-durable", "goes on, but has ended"},
	{"an ack of what was never sent is believed", "session.go", "\tif a.Durable > t.queue.tried() && !t.queue.fenced {\n", "\tif false {\n", "tcp-ahead", "goes on, but has ended"},
	{"a refused frame is sent again", "session.go", "\t\tq.refuse(m)\n", "", "tcp-refused-kind", "was refused and is sent again"},
	{"what may have been counted is sent again", "ended.go", "\t\tif !unsure(m, frameSequence(frame)) {\n", "\t\tif true {\n", "tcp-forgotten", "sent again it may count twice"},
	{"a final ack is an ack like others", "session.go", "\tif a.Final {\n", "\tif false {\n", "tcp-final", "the credit is 0"},
	{"a full buffer forgets what it drops", "tcp.go", "\tt.queue.skip(events)\n", "", "tcp-full", "its numbers show 0 as lost"},
	{"a frame's time is its newest event's", "packer.go", "\tp.header(dst[:start], p.extent.flags(), len(dst)-start, len(p.events), p.extent.oldest)\n", "\tp.header(dst[:start], p.extent.flags(), len(dst)-start, len(p.events), p.extent.newest)\n", "udp-times", "ms off"},
	{"ids are written in eight bytes", "packer.go", "\t\tdst = wire.AppendEvent(dst, e, prev)\n", "\t\tdst = wire.AppendEvent(dst, e, nil)\n\t\t_ = prev\n", "udp-flush", "the events take fewer bytes"},
	{"datagrams are too large", "packer.go", "\t\tsize:   size,\n", "\t\tsize:   size + 100,\n", "udp-datagram-size", "at most 300 may be sent"},
	{"no beats go out among sealed events", "sender.go", "\tif now.Sub(m.lastBeat) >= beatWaitMax {\n", "\tif false {\n", "sealed-busy", "no beat for"},
	{"an answer with a wrong tag is believed", "session_keys.go", "|| !k.down.Opens(frame) {", "{", "sealed-tcp-forged-ack", "no end"},
	{"two connections have the same random bytes", "session_keys.go", "\t_, _ = rand.Read(k.session.Emitter[:])", "\t_, _ = rand.Read(nil)", "sealed-tcp-resume", "were in a hello before"},
	{"the id of text is another", "id.go", "return wire.ID(text)", "return wire.ID(text) ^ 1", "hash", "id is"},
	{"what a content was called before is not said again", "name.go", "o.text == fresh.text && ", "", "udp-attributes", "not 4 new names"},
	{"an author is said to be a section", "name.go", "Attribute: what, Text:", "Attribute: what &^ (what >> 1 & 1), Text:", "udp-attributes", "a section of content 13353046256577510050 that nobody said"},
}

// A client that is broken on purpose is noticed, by the dialogue that is about it
// and for the right reason.
func TestConformNoticesMistakes(t *testing.T) {
	for _, m := range mistakes {
		text, err := os.ReadFile(filepath.Join("../../emit", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), m.right) != 1 {
			t.Errorf("%s: %q is not in emit/%s once", m.name, m.right, m.file)
		}
	}
	some := slices.Clone(mistakes)
	if os.Getenv("LECTERN_TEST_MISTAKES") != "all" { // each is a build of its own
		rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		some = some[:6]
	}
	for _, m := range some {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("../../emit", m.file))
			if err != nil {
				t.Fatal(err)
			}
			driver := goDriver(t, map[string]string{m.file: strings.Replace(string(text), m.right, m.wrong, 1)})
			code, report := conforming(t, []string{"--only", m.noticed}, driver)
			if code != 1 || report.Failed != 1 || !strings.Contains(report.Dialogues[0].Reason, m.because) {
				t.Errorf("exit %d, want one failure with %q: %+v", code, m.because, report.Dialogues)
			}
		})
	}
}

// cMistakes are ways to break the client in C: Go's cannot fork.
var cMistakes = []mistake{
	{"a child keeps its parent's source", "lectern.h", "\tif (l->forks != lectern_i_forks) lectern_i_fork(l, 0);\n", "\tl->pid = getpid();\n", "fork", "whoever forks draws a new one"},
	{"a child keeps its parent's socket", "lectern.h", "\t\tif (l->address_size > 0) l->fd = lectern_i_socket(l);\n", "\t\tstatic int first = -1;\n\t\tif (first < 0) first = lectern_i_socket(l);\n\t\tl->fd = dup(first);\n", "fork", "the child sends over its parent's socket"},
	{"a child sends what its parent had not sent", "lectern.h", "\tmemset(&l->stats, 0, sizeof l->stats);\n\tlectern_i_clear(l);\n", "\tmemset(&l->stats, 0, sizeof l->stats);\n\tif (l->count == 0) lectern_i_clear(l);\n", "fork", "whoever forks leaves it to the parent"},
}

func TestConformNoticesMistakesInC(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	for _, m := range cMistakes {
		t.Run(m.name, func(t *testing.T) {
			text, err := os.ReadFile("../../clients/c/" + m.file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), m.right) != 1 {
				t.Fatalf("%q is not in clients/c/%s once", m.right, m.file)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, m.file), []byte(strings.Replace(string(text), m.right, m.wrong, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			driver, err := os.ReadFile("../../clients/c/driver.c")
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "driver.c"), driver, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(dir, "driver")
			if out, err := exec.Command("cc", "-std=c99", "-D_GNU_SOURCE", "-pthread", "-o", program, filepath.Join(dir, "driver.c")).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			code, report := conforming(t, []string{"--only", m.noticed}, []string{program})
			if code != 1 || report.Failed != 1 || !strings.Contains(report.Dialogues[0].Reason, m.because) {
				t.Errorf("exit %d, want one failure with %q: %+v", code, m.because, report.Dialogues)
			}
		})
	}
}

// docs/CLIENTS.md lists them.
func TestConformMistakesAreListed(t *testing.T) {
	page, err := os.ReadFile("../../docs/CLIENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Concat(mistakes, cMistakes) {
		if row := "| " + m.name + " | `" + m.noticed + "` |\n"; !strings.Contains(string(page), row) {
			t.Errorf("docs/CLIENTS.md has no row %q", row)
		}
	}
}
