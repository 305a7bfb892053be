// Package keys reads and makes the key files of streams: a directory for each
// stream, as Kubernetes mounts a Secret, and in it a file for each key epoch.
package keys

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/lectern/lectern/collector"
	"github.com/lectern/lectern/wire"
)

// sizeMax is more than any key file has.
const sizeMax = 4096

// File is one key file.
type File struct {
	Path   string
	Secret *wire.Secret
	Info   fs.FileInfo
}

// Read reads all key files of a directory, in the order of their epochs. Names with
// a dot in front are not looked at: Kubernetes keeps its own there. One that cannot
// be read, or two of one epoch, are an error, and then nothing is returned.
func Read(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []File
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		secret, info, err := readFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, File{path, secret, info})
	}
	slices.SortFunc(all, func(a, b File) int { return cmp.Compare(a.Secret.Epoch(), b.Secret.Epoch()) })
	for i := 1; i < len(all); i++ {
		if all[i].Secret.Epoch() == all[i-1].Secret.Epoch() {
			return nil, fmt.Errorf("%s and %s are both of epoch %d: remove one", all[i-1].Path, all[i].Path, all[i].Secret.Epoch())
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no key in %s: make one with `lectern keys new --dir %s`", dir, dir)
	}
	return all, nil
}

func readFile(path string) (*wire.Secret, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // it is only read
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a file: a directory of keys has nothing else in it", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, sizeMax))
	if err != nil {
		return nil, nil, err
	}
	secret, err := wire.ParseSecret(string(text))
	if err == nil {
		err = collector.CheckSecret(secret)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return secret, info, nil
}

// Secrets returns the secrets of a directory.
func Secrets(dir string) ([]*wire.Secret, error) {
	files, err := Read(dir)
	var all []*wire.Secret
	for _, f := range files {
		all = append(all, f.Secret)
	}
	return all, err
}

// Same says whether two lists of secrets, in the order of their epochs, are the same.
func Same(a, b []*wire.Secret) bool {
	return slices.EqualFunc(a, b, func(x, y *wire.Secret) bool { return *x == *y })
}

var errNoEpoch = errors.New("all four epochs are in use: remove the key file that nobody seals with any more (`lectern keys ls`, and lectern_key_last_used_timestamp_seconds)")

// New draws a secret and writes it to a new file of a directory, which is made where
// there is none, for its owner alone. The epoch is the one behind the newest file's,
// or the next that is free.
func New(dir string) (path string, secret *wire.Secret, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	next, err := nextEpoch(dir)
	if err != nil {
		return "", nil, err
	}
	var b [wire.SecretSize]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	secret = wire.NewSecret(next, b)
	path = filepath.Join(dir, fmt.Sprintf("key-%d", next))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", nil, err
	}
	_, err = io.WriteString(f, secret.Text())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path)
		return "", nil, err
	}
	return path, secret, nil
}

// nextEpoch is the epoch of a new key.
func nextEpoch(dir string) (uint8, error) {
	entries, err := os.ReadDir(dir)
	if err != nil || !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), ".") }) {
		return 0, err
	}
	files, err := Read(dir)
	if err != nil {
		return 0, err
	}
	var used [wire.Epochs]bool
	var newest File
	for _, f := range files {
		used[f.Secret.Epoch()] = true
		if newest.Secret == nil || f.Info.ModTime().After(newest.Info.ModTime()) {
			newest = f
		}
	}
	for i := range uint8(wire.Epochs) {
		if epoch := (newest.Secret.Epoch() + 1 + i) % wire.Epochs; !used[epoch] {
			return epoch, nil
		}
	}
	return 0, errNoEpoch
}

// Fingerprint tells two secrets apart, and gives neither away.
func Fingerprint(s *wire.Secret) string {
	sum := sha256.Sum256([]byte("lectern key " + s.Text()))
	return hex.EncodeToString(sum[:4])
}

// Fast says whether this machine checks tags in hardware, as Go does it: without
// that each costs some ten times as much.
func Fast() bool {
	switch runtime.GOARCH {
	case "amd64":
		return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41
	case "arm64":
		return cpu.ARM64.HasAES && cpu.ARM64.HasPMULL || runtime.GOOS == "darwin"
	case "s390x":
		return cpu.S390X.HasAES && cpu.S390X.HasAESCTR && cpu.S390X.HasGHASH
	case "ppc64le":
		return true
	}
	return false
}
