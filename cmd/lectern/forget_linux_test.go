package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// forgetTest is a daemon whose ports stay the same, since it is killed and started again.
type forgetTest struct {
	*served
	events, spool string
	stop          chan struct{}
	loaded        chan uint64 // how many events the load was
}

// forgetLines are the keys of a configuration by which blocks are made often, and rows
// wait in memory.
func forgetLines(t *testing.T) (lines, events string) {
	events = loopback(t)
	return fmt.Sprintf("listen.address = %q\nops.token_file = %q\nops.address = %q\nwindow.ack_interval = \"50ms\"\nwindow.flush_interval = \"500ms\"\nwindow.late_max = \"0s\"\nstop.grace = \"5m\"", events, opsToken, loopback(t)), events
}

// withoutPorts is a configuration without the lines that name any port, and with one of its token.
func withoutPorts(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kept := strings.NewReplacer("listen.address = \"127.0.0.1:0\"\n", "", "ops.address = \"127.0.0.1:0\"\n", "").Replace(string(text))
	if line := fmt.Sprintf("ops.token_file = %q\n", opsToken); strings.Count(kept, line) > 1 {
		kept = strings.Replace(kept, line, "", 1)
	}
	if err := os.WriteFile(path, []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load sends the access log again and again, of other readers, until it is stopped.
func (f *forgetTest) load(t *testing.T) {
	var sent uint64
	for {
		select {
		case <-f.stop:
			f.loaded <- sent
			return
		default:
		}
		stdout, stderr, code := lectern(t, nil, "emit", "--to", "tcp://"+f.events, "--log", accessLog(), "--stream", "2", "--rate", "20000")
		if code != 0 {
			continue // the daemon was killed just now, when it began
		}
		var s emitSummary
		if err := json.Unmarshal([]byte(stdout), &s); err != nil {
			t.Errorf("the load: %s%s", stdout, stderr)
		}
		sent += s.Events
	}
}

// killSoon kills a command after a while, if it is not at its end before.
func killSoon(t *testing.T, after time.Duration, args ...string) {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Dir = t.TempDir()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	_ = c.Wait()
}

// traces are the files below a directory with the bytes of an id.
func traces(t *testing.T, dir string, id uint64) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrNotExist) || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was stored meanwhile
		}
		if bytes.Contains(b, binary.LittleEndian.AppendUint64(nil, id)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// exportedRows are the rows that lectern export writes, and how many events they are.
func exportedRows(t *testing.T, config, user string) (rows int, events uint64) {
	t.Helper()
	for line := range strings.Lines(succeed(t, "export", "--config", config, "--user", user)) {
		var r struct {
			User                                                       string
			Opens, Reads, Finishes, Saves, Shares, Impressions, Clicks uint64
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.User != strconv.FormatUint(emit.ID(user), 10) {
			t.Fatalf("%s: %v", line, err)
		}
		rows, events = rows+1, events+r.Opens+r.Reads+r.Finishes+r.Saves+r.Shares+r.Impressions+r.Clicks
	}
	return rows, events
}

// forgetRounds is how often the command is killed: 3 times, or as LECTERN_TEST_FORGETS
// says.
func forgetRounds() int {
	if n, err := strconv.Atoi(os.Getenv("LECTERN_TEST_FORGETS")); err == nil {
		return n
	}
	return 3
}

// What is sent of the stream of the reader: before, and in each round.
const (
	forgetParts = 5
	forgetPart  = 2000
	forgetMore  = 50
)

// forgetSent is all of it.
func forgetSent() uint64 { return uint64(forgetParts*forgetPart + forgetRounds()*forgetMore) }

// forgetUnderLoad has a reader forgotten while others read on, with the command and the
// daemon killed in the middle, and returns how many events were forgotten. also does what
// is to be done to the store in between.
func forgetUnderLoad(t *testing.T, config, events, spoolDir string, also func(round int)) (f *forgetTest, forgotten uint64) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	f = &forgetTest{served: serveOn(t, config), events: events, spool: spoolDir, stop: make(chan struct{}), loaded: make(chan uint64, 1)}
	go f.load(t)
	for part := range forgetParts { // in several blocks
		f.emit("tcp", "--events", strconv.Itoa(forgetPart), "--users", "3", "--contents", "50", "--stream", "1", "--seed", strconv.Itoa(part))
	}
	const user = "user-1"
	// In memory, or in the spool, is still some of it: export has that, too.
	rows, all := exportedRows(t, config, user)
	if rows == 0 || all == 0 {
		t.Fatal("nothing is there to be forgotten")
	}
	restart := func() {
		f.kill()
		f.served = serveOn(t, config)
	}
	for round := range forgetRounds() {
		f.emit("tcp", "--events", strconv.Itoa(forgetMore), "--users", "3", "--contents", "50", "--stream", "1", "--seed", strconv.Itoa(100+round)) // what waits
		killed, after := make(chan struct{}), time.Duration(r.IntN(1500))*time.Millisecond
		go func() {
			defer close(killed)
			killSoon(t, after, "forget", "--config", config, "--user", user)
		}()
		if round%2 == 1 {
			time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
			restart()
		}
		also(round)
		<-killed
	}
	if out := succeed(t, "forget", "--config", config, "--user", user); !strings.Contains(out, "This was forgotten.") && !strings.Contains(out, "Nothing that was asked for is stored.") {
		t.Errorf("forget said %q", out)
	}
	// Nothing of it is in the spool of the daemon that goes on.
	if found := traces(t, spoolDir, emit.ID(user)); len(found) > 0 {
		t.Errorf("the reader is still in %v", found)
	}
	if rows, _ := exportedRows(t, config, user); rows > 0 {
		t.Errorf("%d rows of the reader are still there", rows)
	}
	close(f.stop)
	if sent := <-f.loaded; sent == 0 {
		t.Error("there was no load")
	}
	f.served.stop()
	if found := traces(t, spoolDir, emit.ID(user)); len(found) > 0 {
		t.Errorf("after the stop the reader is in %v", found)
	}
	for line := range strings.Lines(succeed(t, "forget", "--log", "--config", config)) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[1] == "1" {
			n, _ := strconv.ParseUint(fields[3], 10, 64)
			forgotten += n
		}
	}
	if forgotten < all {
		t.Errorf("%d events were forgotten, and %d were there before", forgotten, all)
	}
	var books struct {
		Streams []struct {
			Stream                      string
			Accepted, Stored, Forgotten uint64
		}
		AddsUp bool `json:"adds_up"`
	}
	if err := json.Unmarshal([]byte(succeed(t, "books", "--json", "--config", config)), &books); err != nil || !books.AddsUp {
		t.Errorf("books: %+v, %v", books, err)
	}
	for _, s := range books.Streams {
		want := map[string]uint64{"1": forgotten}[s.Stream]
		if s.Accepted != s.Stored+s.Forgotten || s.Forgotten != want {
			t.Errorf("stream %s: %+v, and %d were forgotten", s.Stream, s, want)
		}
	}
	return f, forgotten
}

// A reader is forgotten under load, with the command and the daemon killed in the middle,
// in Parquet: he is nowhere, the books balance, and everybody else is there.
func TestForgetKilledParquet(t *testing.T) {
	lines, events := forgetLines(t)
	dir := filepath.Join(t.TempDir(), "parquet")
	config := withoutPorts(t, configure(t, dir, lines))
	_, forgotten := forgetUnderLoad(t, config, events, dir+".spool", func(int) {})
	var left uint64
	for _, r := range storedRows(t, dir) {
		if r.User == emit.ID("user-1") {
			t.Error("a file has the reader")
		}
		if r.Stream == 1 {
			left += uint64(r.Opens) + uint64(r.Reads) + uint64(r.Finishes) + uint64(r.Saves) + uint64(r.Shares)
		}
	}
	if left+forgotten != forgetSent() {
		t.Errorf("%d events are left, %d were forgotten, and %d were sent", left, forgotten, forgetSent())
	}
}

// The same in ClickHouse, which is killed as well: every receipt is there once.
func TestForgetKilledClickHouse(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	lines, events := forgetLines(t)
	spoolDir := filepath.Join(t.TempDir(), "spool")
	config := withoutPorts(t, onClickHouse(t, s, spoolDir, lines))
	_, forgotten := forgetUnderLoad(t, config, events, spoolDir, func(round int) {
		if round%3 == 2 {
			s.Kill()
			s.Restart()
		}
	})
	sum := "sum(opens) + sum(reads) + sum(finishes) + sum(saves) + sum(shares)"
	row := s.Query("SELECT " + sum + ", countIf(user = " + strconv.FormatUint(emit.ID("user-1"), 10) + ") FROM lectern.reads WHERE stream = 1")[0]
	left, _ := strconv.ParseUint(row[0], 10, 64)
	if row[1] != "0" || left+forgotten != forgetSent() {
		t.Errorf("%d events are left, %s rows of the reader; %d were forgotten, and %d were sent", left, row[1], forgotten, forgetSent())
	}
	// Every block of the ledger has its receipt, once.
	row = s.Query("SELECT uniqExact(collector, block), (SELECT count() FROM lectern.receipts), (SELECT countIf(copies != 1 OR checksums != 1) FROM lectern.receipts) FROM lectern.ledger")[0]
	if row[0] != row[1] || row[2] != "0" {
		t.Errorf("%s blocks have books, %s have receipts, %s not exactly one", row[0], row[1], row[2])
	}
}
