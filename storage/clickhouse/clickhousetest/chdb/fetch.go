// Package chdb is the ClickHouse engine as a library, loaded without cgo: how to
// fetch it once, open it on a directory, and run statements in it.
package chdb

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// Version is the engine's, as its makers publish it for npm: there is a package
// for Linux on amd64.
const Version = "26.7.3-stable.1"

// A release is a package that holds the engine.
type release struct {
	pack   string // its name and version, for "npm pack"
	sum    string // the SHA-256 of what that brings
	member string // the library in it
	size   int64  // of the library
}

var pinned = release{
	pack:   "@chdb/lib-linux-x64-gnu@" + Version,
	sum:    "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad",
	member: "package/libchdb.so",
	size:   566_330_096,
}

// CacheVariable names an environment variable: the directory in which the
// engine is kept, in place of one in the user's cache directory.
const CacheVariable = "LECTERN_TEST_CLICKHOUSE_ENGINE"

// ErrAbsent says that the engine was not fetched.
var ErrAbsent = errors.New("the ClickHouse engine is not here; fetch it with: make clickhouse-engine")

// patience is how long a fetch may take.
const patience = 10 * time.Minute

func directory() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "lectern", "chdb-"+Version), err
}

// Library is the path of the engine, if it was fetched; else the error is
// ErrAbsent, or says that there is none for this system.
func Library() (string, error) {
	if system := runtime.GOOS + "/" + runtime.GOARCH; system != "linux/amd64" {
		return "", fmt.Errorf("there is no ClickHouse engine for tests on %s, only on linux/amd64", system)
	}
	dir, err := directory()
	if err != nil {
		return "", err
	}
	return pinned.in(dir)
}

// in is the path of the library in a cache directory, if it is there.
func (r *release) in(dir string) (string, error) {
	path := filepath.Join(dir, filepath.Base(r.member))
	if info, err := os.Stat(path); err != nil || info.Size() != r.size {
		return "", ErrAbsent
	}
	return path, nil
}

// Fetch brings the engine with npm, checks it, and puts it into the cache, if it
// is not there. Several processes may call it at once: one does it, the others
// wait.
func Fetch() (path string, err error) {
	if path, err = Library(); err == nil || !errors.Is(err, ErrAbsent) {
		return path, err
	}
	dir, err := directory()
	if err != nil {
		return "", err
	}
	return pinned.fetch(dir)
}

func (r *release) fetch(dir string) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if path, err = r.in(dir); err == nil {
		return path, nil // another process was quicker
	}
	if old, err := filepath.Glob(filepath.Join(dir, "fetch-*")); err == nil {
		for _, path := range old { // of processes that were killed
			_ = os.RemoveAll(path)
		}
	}
	scratch, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	if err := r.download(scratch); err != nil {
		return "", err
	}
	library := filepath.Base(r.member)
	if err := os.Rename(filepath.Join(scratch, library), filepath.Join(dir, library)); err != nil {
		return "", err
	}
	return r.in(dir)
}

// download brings the package into a directory, checks it and unpacks the library.
func (r *release) download(dir string) error {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	npm := exec.CommandContext(ctx, "npm", "pack", "--silent", "--ignore-scripts", r.pack)
	npm.Dir, npm.WaitDelay = dir, 10*time.Second
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm pack %s: %w\n%s", r.pack, err, out)
	}
	packages, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("npm pack %s left %d packages", r.pack, len(packages))
	}
	file, err := os.Open(packages[0])
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != r.sum {
		return fmt.Errorf("npm pack %s: its SHA-256 is %s and should be %s", r.pack, got, r.sum)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return r.unpack(file, filepath.Join(dir, filepath.Base(r.member)))
}

// unpack writes the library from a package to a file.
func (r *release) unpack(from io.Reader, to string) error {
	plain, err := gzip.NewReader(from)
	if err != nil {
		return err
	}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if err != nil {
			return fmt.Errorf("find %s in the package: %w", r.member, err)
		}
		if header.Name != r.member {
			continue
		}
		file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
		if err != nil {
			return err
		}
		n, err := io.Copy(file, archive)
		if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
			return err
		}
		if n != r.size {
			return fmt.Errorf("%s has %d bytes and should have %d", r.member, n, r.size)
		}
		return nil
	}
}
