package parquet

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lectern/lectern/storage"
)

// The directory is taken from under a store: nothing is made where it was, blocks
// are kept for later, and stored when it is put back.
func TestDirectoryTakenAway(t *testing.T) {
	for name, replace := range map[string]func(dir string) error{
		"moved":       func(string) error { return nil },
		"replaced":    func(dir string) error { return os.Mkdir(dir, 0o700) },
		"made a file": func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"used by others": func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, lockName), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "parquet")
			s := mustOpen(t, dir)
			mustStore(t, s, smallBlock(s.Collector(), 1, 1))
			beside, err := s.Beside(0xB)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.Present(), os.Rename(dir, dir+"-was"), replace(dir)); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadDir(dir)
			for of, b := range map[*Store]*storage.Block{s: smallBlock(s.Collector(), 2, 1), beside: smallBlock(0xB, 2, 1)} {
				if answer, err := of.Store(t.Context(), b); answer != storage.Retry || !errors.Is(err, ErrGone) {
					t.Errorf("stored: %v, %v", answer, err)
				}
				if err := of.Merge(t.Context()); !errors.Is(err, ErrGone) {
					t.Errorf("merged: %v", err)
				}
			}
			if after, _ := os.ReadDir(dir); len(after) != len(before) {
				t.Errorf("there are %v, there were %v", after, before)
			}
			if err := errors.Join(os.RemoveAll(dir), os.Rename(dir+"-was", dir)); err != nil {
				t.Fatal(err)
			}
			mustStore(t, s, smallBlock(s.Collector(), 2, 1))
			mustStore(t, beside, smallBlock(0xB, 2, 1))
		})
	}
}

// A directory that goes while a block is written has not got it.
func TestDirectoryTakenAwayMeanwhile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parquet")
	s := mustOpen(t, dir)
	mustStore(t, s, smallBlock(s.Collector(), 1, 1)) // the folders are there
	s.disk = &lastSync{realDisk{}, func() { _ = os.Rename(dir, dir+"-was") }, 2}
	if answer, err := s.Store(t.Context(), smallBlock(s.Collector(), 2, 1)); answer != storage.Retry || !errors.Is(err, ErrGone) {
		t.Errorf("stored: %v, %v", answer, err)
	}
}

// lastSync calls then after so many syncs of directories.
type lastSync struct {
	realDisk
	then func()
	left int
}

func (d *lastSync) SyncDir(dir string) error {
	err := d.realDisk.SyncDir(dir)
	if d.left--; d.left == 0 {
		d.then()
	}
	return err
}
