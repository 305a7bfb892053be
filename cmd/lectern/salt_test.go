package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lectern/lectern/collector"
)

const saltDay = 20_000 // 2024-10-04

// What is drawn stays for the day, for every daemon of the directory, and is gone
// on the next.
func TestSaltIsKeptForItsDay(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "salt-123.new"), nil, 0o600); err != nil { // of a process that was killed
		t.Fatal(err)
	}
	drawn := make([]collector.Salt, 8)
	var all sync.WaitGroup
	for i := range drawn {
		all.Go(func() { drawn[i] = (&salts{dir: dir, logger: slog.New(slog.DiscardHandler)}).of(saltDay) })
	}
	all.Wait()
	for _, salt := range drawn {
		if salt != drawn[0] || salt == (collector.Salt{}) {
			t.Errorf("daemons of one directory have drawn %x", drawn)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "salt-2024-10-04")); err != nil || info.Mode() != fs.FileMode(0o600) {
		t.Errorf("%v, %v", info, err)
	}
	next, err := keptSalt(dir, saltDay+1)
	if err != nil || next == drawn[0] {
		t.Errorf("the next day: %x, %v", next, err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(names) != 1 || filepath.Base(names[0]) != "salt-2024-10-05" {
		t.Errorf("what is left: %s", names)
	}
}

// Without a place to keep it there is a salt all the same, and the log says so.
func TestSaltThatCannotBeKept(t *testing.T) {
	var log bytes.Buffer
	s := &salts{dir: filepath.Join(t.TempDir(), "gone"), logger: slog.New(slog.NewTextHandler(&log, nil))}
	if a, b := s.of(saltDay), s.of(saltDay); a == b || a == (collector.Salt{}) {
		t.Errorf("%x, then %x", a, b)
	}
	if !strings.Contains(log.String(), "cannot be kept") {
		t.Error(log.String())
	}
}

// Collectors with one salt_file have the same salts, which change each day.
func TestSaltFile(t *testing.T) {
	path := file(t, "salt", strings.Repeat("s", 16))
	a, b := salts{dir: "/nowhere"}, salts{dir: "/elsewhere"}
	for _, s := range []*salts{&a, &b} {
		if err := s.load(path); err != nil {
			t.Fatal(err)
		}
	}
	mac := hmac.New(sha256.New, []byte("ssssssssssssssss"))
	mac.Write([]byte("lectern users of day 20000"))
	if got := a.of(saltDay); got != b.of(saltDay) || !bytes.Equal(got[:], mac.Sum(nil)[:16]) {
		t.Errorf("%x and %x, want %x", got, b.of(saltDay), mac.Sum(nil)[:16])
	}
	if a.of(saltDay) == a.of(saltDay+1) {
		t.Error("the salt is the same on the next day")
	}
	for text, want := range map[string]string{"short": "has 5 bytes; write at least 16", strings.Repeat("s", 4097): "more than 4096 bytes"} {
		if err := a.load(file(t, "bad", text)); err == nil || !strings.Contains(err.Error(), want) || a.master.Load() == nil {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
}
