package spool

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/place"
)

// The directory, or the log in it, is taken from under a spool: nothing is sealed
// or flushed any more, and what another may have put there is left alone. What was
// not taken is taken when all is put back.
func TestDirectoryTakenAway(t *testing.T) {
	const is, was = "spool", "was"
	for name, take := range map[string]func(dir string) error{
		"moved":   func(dir string) error { return os.Rename(filepath.Join(dir, is), filepath.Join(dir, was)) },
		"removed": func(dir string) error { return os.RemoveAll(filepath.Join(dir, is)) },
		"replaced by an empty one": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, is), filepath.Join(dir, was)), os.Mkdir(filepath.Join(dir, is), 0o700))
		},
		"replaced by its copy": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, is), filepath.Join(dir, was)), os.CopyFS(filepath.Join(dir, is), os.DirFS(filepath.Join(dir, was))))
		},
		"replaced by a file": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, is), filepath.Join(dir, was)), os.WriteFile(filepath.Join(dir, is), nil, 0o600))
		},
		"emptied": func(dir string) error {
			list, err := os.ReadDir(filepath.Join(dir, is))
			for _, e := range list {
				err = errors.Join(err, os.Remove(filepath.Join(dir, is, e.Name())))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := testOptions(nil)
			o.Dir = filepath.Join(dir, is)
			s, _ := mustOpen(t, o)
			defer s.Close()
			flush := func(n uint64) error {
				return flushRows(s, []storage.Row{row(n)}, nil, storage.Window{Start: 1, End: 2}, n)
			}
			for n := range uint64(3) {
				mustSeal(t, s, testSeal(n+1))
				if err := flush(n + 1); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.place.Present(); err != nil {
				t.Fatal(err)
			}
			b, _, err := s.Oldest()
			if err != nil {
				t.Fatal(err)
			}
			if err := take(dir); err != nil {
				t.Fatal(err)
			}
			before := tree(t, filepath.Join(dir, is))

			if err := s.place.Present(); !errors.Is(err, place.ErrGone) {
				t.Errorf("is it there? %v", err)
			}
			if _, err := sealOne(s, testSeal(4)); !errors.Is(err, place.ErrGone) {
				t.Errorf("sealed: %v", err)
			}
			if err := s.Retry(); !errors.Is(err, place.ErrGone) {
				t.Errorf("tried again: %v", err)
			}
			if s.Room() != 0 {
				t.Error("there is room")
			}
			if err := flush(3); !errors.Is(err, place.ErrGone) {
				t.Errorf("flushed: %v", err)
			}
			if _, ok, err := s.Oldest(); ok || !errors.Is(err, place.ErrGone) {
				t.Errorf("a block: %v, %v", ok, err)
			}
			if err := s.Stored(b.Number); err != nil {
				t.Error(err)
			}
			s.log.NextFile() // and it would begin another
			if err := s.Retry(); !errors.Is(err, place.ErrGone) {
				t.Errorf("tried again in another log: %v", err)
			}
			if after := tree(t, filepath.Join(dir, is)); after != before {
				t.Errorf("what is there now was changed from\n%s to\n%s", before, after)
			}
			if _, err := os.Stat(filepath.Join(dir, was)); err != nil {
				return
			}

			if err := errors.Join(os.RemoveAll(filepath.Join(dir, is)), os.Rename(filepath.Join(dir, was), filepath.Join(dir, is))); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.place.Present(), s.Retry()); err != nil {
				t.Fatalf("put back: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, r := mustOpen(t, o)
			if r.Last != 4 || r.Rows.Len() != 1 || len(r.SetAside) != 0 {
				t.Errorf("recovered %+v", r)
			}
			_ = s.Close()
		})
	}
}

// tree is the names and sizes of what is in a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	all := ""
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil {
			all += info.ModTime().String() + " " + path + "\n"
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
