package main

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lectern/lectern/collector"
)

// salts are what `users = "daily"` hashes with, one for each day. Without a file of
// the operator's each is drawn, and lies in the spool's directory until the day is
// over, so that a restart counts nobody twice, nor two daemons that follow each
// other there.
type salts struct {
	dir    string                 // the spool's
	master atomic.Pointer[[]byte] // what streams.salt_file holds; nil without
	logger *slog.Logger
}

// saltFileMin is the least that streams.salt_file must hold, and saltFileMax the
// most that is read of it.
const (
	saltFileMin = 16
	saltFileMax = 4096
)

// load reads streams.salt_file. An empty path is for none.
func (s *salts) load(path string) error {
	if path == "" {
		s.master.Store(nil)
		return nil
	}
	text, err := readShort(path, saltFileMax)
	if err == nil && len(text) < saltFileMin {
		err = fmt.Errorf("it has %d bytes; write at least %d random ones to it", len(text), saltFileMin)
	}
	if err != nil {
		return fmt.Errorf("read streams.salt_file %s: %w", path, err)
	}
	s.master.Store(&text)
	return nil
}

// of is the salt of a day.
func (s *salts) of(day int64) (salt collector.Salt) {
	if master := s.master.Load(); master != nil {
		mac := hmac.New(sha256.New, *master)
		mac.Write([]byte("lectern users of day " + strconv.FormatInt(day, 10)))
		copy(salt[:], mac.Sum(nil))
		return salt
	}
	salt, err := keptSalt(s.dir, day)
	if err != nil {
		s.logger.Error("the salt of this day's users cannot be kept: a restart before midnight UTC counts readers of streams with users = \"daily\" again",
			"error", err)
	}
	return salt
}

// saltPrefix is what the name of the file of a day's salt begins with.
const saltPrefix = "salt-"

// keptSalt is the salt of a day that lies in a directory. Where there is none it
// is drawn, and those of other days go. With an error it is good, and not kept.
func keptSalt(dir string, day int64) (salt collector.Salt, err error) {
	name := saltPrefix + time.Unix(day*86400, 0).UTC().Format(time.DateOnly)
	path := filepath.Join(dir, name)
	if salt, err = readSalt(path); err == nil {
		return salt, nil
	}
	var drawn collector.Salt
	_, _ = rand.Read(drawn[:]) // never fails
	if !errors.Is(err, fs.ErrNotExist) {
		return drawn, err
	}
	err = writeSalt(path, drawn)
	salt, none := readSalt(path) // another daemon may have been first, and have taken away what this one was writing
	if none != nil {
		return drawn, cmp.Or(err, none)
	}
	return salt, forgetSalts(dir, name)
}

func readSalt(path string) (salt collector.Salt, err error) {
	b, err := readShort(path, len(salt))
	if err == nil && len(b) != len(salt) {
		err = fmt.Errorf("%s is no salt: remove it, and a new one is drawn", path)
	}
	copy(salt[:], b)
	return salt, err
}

// writeSalt makes a file that is whole from the first moment on, unless there is
// one.
func writeSalt(path string, salt collector.Salt) error {
	f, err := os.CreateTemp(filepath.Dir(path), saltPrefix+"*.new") // for nobody else to read
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(salt[:])
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		if err = os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	return err
}

// forgetSalts removes all salts but the one of this name, and what a killed process
// left of them.
func forgetSalts(dir, but string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		if strings.HasPrefix(e.Name(), saltPrefix) && e.Name() != but {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// readShort reads a file that is not longer than most.
func readShort(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b := make([]byte, most+1)
	n, err := io.ReadFull(f, b)
	switch {
	case n > most:
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	}
	return b[:n], nil
}
