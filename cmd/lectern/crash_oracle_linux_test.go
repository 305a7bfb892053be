package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lectern/lectern/emit"
)

// Every event of the crash tests is about a content of its own, counted from 1
// within its stream: so each that is missing or doubled can be named.

// fate is what may have become of an event.
type fate byte

const (
	unsent  fate = iota // nobody may have stored it
	maybe               // at most once
	counted             // exactly once
)

// stored counts how often each event of a stream is stored.
func storedEvents(t testing.TB, dir string) map[uint16]map[uint64]int {
	t.Helper()
	streams := make(map[uint16]map[uint64]int)
	for _, r := range storedRows(t, dir) {
		if streams[r.Stream] == nil {
			streams[r.Stream] = make(map[uint64]int)
		}
		streams[r.Stream][r.Content] += int(r.Opens + r.Reads + r.Finishes + r.Saves + r.Shares)
	}
	return streams
}

// compare says which events of a stream are missing, doubled or made up. fates
// begins with that of event 1.
func compare(stored map[uint64]int, fates []fate) error {
	var wrong []string
	most := map[fate]int{unsent: 0, maybe: 1, counted: 1}
	for i, f := range fates {
		n := stored[uint64(i)+1]
		if n > most[f] || f == counted && n == 0 {
			wrong = append(wrong, fmt.Sprintf("event %d is stored %d times", i+1, n))
		}
	}
	for content := range stored {
		if content == 0 || content > uint64(len(fates)) {
			wrong = append(wrong, fmt.Sprintf("content %d is stored and was never sent", content))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d events are not stored as they should be: %s", len(wrong), len(fates), strings.Join(wrong[:min(len(wrong), 10)], ", "))
}

// all is the fates of so many events that have the same.
func all(n uint64, f fate) []fate {
	fates := make([]fate, n)
	for i := range fates {
		fates[i] = f
	}
	return fates
}

// crashEvent is the event of a number, which begins with 1. A third of them is of
// yesterday, so that blocks are cut at midnight.
func crashEvent(number uint64, nowMS int64) emit.Event {
	const day = 24 * 60 * 60 * 1000
	if number/100%3 == 2 {
		nowMS -= day
	}
	return emit.Event{Time: nowMS, Content: number, User: 1, Kind: emit.Open}
}

// checkBooks wants the books of a stopped daemon to add up, its spool to be whole,
// and nothing to be set aside.
func checkBooks(t testing.TB, config, spool string) {
	t.Helper()
	var b struct {
		AddsUp bool `json:"adds_up"`
	}
	if out := succeed(t, "books", "--config", config, "--json"); json.Unmarshal([]byte(out), &b) != nil || !b.AddsUp {
		t.Errorf("the books do not add up: %s", out)
	}
	succeed(t, "spool", "verify", "--config", config)
	if bad, _ := filepath.Glob(filepath.Join(spool, "*.bad")); len(bad) > 0 {
		t.Errorf("a kill damaged %v", bad)
	}
}

// complaints are the lines of a daemon's log that nothing but a broken disk
// explains.
func complaints(log string) (lines []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=ERROR") {
			lines = append(lines, line)
		}
	}
	return lines
}

// crashed is a daemon's home that outlives its processes.
type crashed struct {
	address, config, parquet, spool string
}

// home makes an empty one.
func home(t testing.TB, lines string) *crashed {
	t.Helper()
	dir := t.TempDir()
	h := &crashed{
		address: loopback(t), config: filepath.Join(dir, "config.toml"),
		parquet: filepath.Join(dir, "parquet"), spool: filepath.Join(dir, "spool"),
	}
	h.configure(t, lines)
	return h
}

func (h *crashed) configure(t testing.TB, lines string) {
	t.Helper()
	if !strings.Contains(lines, "limits.keys_max") {
		lines += "\nlimits.keys_max = 524288" // for a spool of this size, whatever the number of loops
	}
	text := fmt.Sprintf("listen.address = %q\nops.address = \"127.0.0.1:0\"\nparquet.dir = %q\nspool.dir = %q\nspool.size_max = \"256MiB\"\n%s\n",
		h.address, h.parquet, h.spool, lines)
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// kill ends a daemon as a crash does.
func (d *served) kill() {
	_ = d.command.Process.Signal(syscall.SIGKILL)
	<-d.finished
	_ = d.command.Wait()
}
