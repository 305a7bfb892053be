//go:build unix

package chdb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeNPM puts an npm before the real one that brings a package with that text as
// its library, and notes each time that it was called.
func fakeNPM(t *testing.T, text string) (r release, calls func() int) {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zipped)
	for _, file := range []struct{ name, text string }{{"package/index.js", "no"}, {"package/libchdb.so", text}} {
		if err := archive.WriteHeader(&tar.Header{Name: file.name, Mode: 0o755, Size: int64(len(file.text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(file.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, bytes []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), bytes, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("package", packed.Bytes())
	write("npm", []byte("#!/bin/sh\n[ \"$1 $4\" = 'pack the-engine@1' ] || exit 3\n"+
		"echo called >> "+dir+"/calls\ncp "+dir+"/package the-engine-1.tgz\n"))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	sum := sha256.Sum256(packed.Bytes())
	calls = func() int {
		text, _ := os.ReadFile(filepath.Join(dir, "calls"))
		return strings.Count(string(text), "called")
	}
	return release{pack: "the-engine@1", sum: hex.EncodeToString(sum[:]), member: "package/libchdb.so", size: int64(len(text))}, calls
}

// TestFetchOnce: of many that fetch at once, one calls npm; what a killed one left
// is removed.
func TestFetchOnce(t *testing.T) {
	r, calls := fakeNPM(t, "the library")
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.MkdirAll(filepath.Join(dir, "fetch-old"), 0o755); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for range 8 {
		go func() {
			path, err := r.fetch(dir)
			if text, wrong := os.ReadFile(path); err == nil && string(text) != "the library" {
				t.Errorf("%s holds %q, %v", path, text, wrong)
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if calls() != 1 {
		t.Errorf("npm was called %d times, should be once", calls())
	}
	if left := names(t, dir); left != "libchdb.so lock" {
		t.Errorf("in the cache: %s", left)
	}
}

// TestFetchRefuses what is not the pinned package, and leaves nothing of it.
func TestFetchRefuses(t *testing.T) {
	r, _ := fakeNPM(t, "the library")
	for name, test := range map[string]struct {
		change func(r *release)
		says   string
	}{
		"another sum":    {func(r *release) { r.sum = strings.Repeat("0", 64) }, "SHA-256"},
		"no library":     {func(r *release) { r.member = "package/other.so" }, "find package/other.so"},
		"another size":   {func(r *release) { r.size++ }, "should have"},
		"no such to get": {func(r *release) { r.pack = "other@1" }, "npm pack other@1"},
	} {
		dir, changed := t.TempDir(), r
		test.change(&changed)
		if _, err := changed.fetch(dir); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if left := names(t, dir); left != "lock" {
			t.Errorf("%s: left in the cache: %s", name, left)
		}
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

func TestParseError(t *testing.T) {
	for text, want := range map[string]Error{
		"Code: 60. DB::Exception: Unknown table t. (UNKNOWN_TABLE)": {60, "UNKNOWN_TABLE", "Unknown table t."},
		"Code: 62. DB::Exception: two\nlines (here)":                {62, "", "two\nlines (here)"},
		"no exception": {1002, "UNKNOWN_EXCEPTION", "no exception"},
	} {
		if got := parseError(text); *got != want {
			t.Errorf("%q: %+v, should be %+v", text, *got, want)
		}
	}
}
