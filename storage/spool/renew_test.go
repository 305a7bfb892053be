package spool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
	"github.com/lectern/lectern/storage/wal"
)

// storeAll brings all blocks to a store, and returns the last number.
func storeAll(t *testing.T, s *Spool) (last uint64) {
	t.Helper()
	for {
		b, ok, err := s.Oldest()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return last
		}
		if err := s.Stored(b.Number); err != nil {
			t.Fatal(err)
		}
		last = b.Number
	}
}

// flushed seals a row and flushes it.
func flushed(t *testing.T, s *Spool, content uint64) {
	t.Helper()
	n := mustSeal(t, s, testSeal(content))
	if err := flushRows(s, []storage.Row{row(content)}, nil, storage.Window{Start: 1, End: 2}, n); err != nil {
		t.Fatal(err)
	}
}

// A log of which the header alone is damaged loses nothing, the only one of a
// place included.
func TestOnlyHeaderIsDamaged(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	flushed(t, s, 1)
	flushed(t, s, 2)
	store := storeAll(t, s)
	mustSeal(t, s, testSeal(3))
	if logs, runs := m.Names("log-"), m.Names("segment-"); len(logs) != 1 || len(runs) != 0 {
		t.Fatalf("there are %v and %v", logs, runs)
	}
	m.Kill()
	clear(m.Data(wal.FileName(1))[:wal.FileHeaderSize])
	c, err := inspect(m, "/spool")
	if err != nil || c.Logs[0].Damage == "" || len(c.Logs[0].Records) < 4 {
		t.Errorf("inspected %+v, %v", c, err)
	}
	s, r := mustOpen(t, testOptions(m))
	if !slices.Equal(r.SetAside, []string{wal.FileName(1)}) || len(rowsOf(r)) != 1 || rowsOf(r)[0] != row(3) || len(r.Sources) != 3 || r.Last != 3 || s.LastNumber() != store {
		t.Errorf("recovered %+v, last number %d", r, s.LastNumber())
	}
	if err := s.CheckStore(store); err != nil {
		t.Error(err)
	}
	if err := flushRows(s, rowsOf(r), r.Books, r.Window, r.Last); err != nil {
		t.Fatal(err)
	}
	if logs := m.Names("log-"); !slices.Equal(logs, []string{wal.FileName(1) + badSuffix, wal.FileName(2)}) {
		t.Errorf("there are %v", logs)
	}
}

// A place of which the only log is lost, again and again, starts all the same, and
// gives no number twice.
func TestOnlyLogIsLost(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	store := uint64(0)
	for i := range uint64(4) {
		flushed(t, s, 2*i+1)
		flushed(t, s, 2*i+2)
		if i == 2 { // one that waits loses nothing
			b, ok, err := s.Oldest()
			if err != nil || !ok || b.Number <= store {
				t.Fatalf("block %+v, %v, the store has %d", b, err, store)
			}
			store = b.Number
			if err := s.Stored(b.Number); err != nil {
				t.Fatal(err)
			}
		} else {
			last := storeAll(t, s)
			if last <= store {
				t.Fatalf("number %d was given, the store has %d", last, store)
			}
			store = last
		}
		mustSeal(t, s, testSeal(100))
		runs := len(m.Names("segment-"))
		m.Kill()
		logs := slices.DeleteFunc(m.Names("log-"), func(n string) bool { return strings.HasSuffix(n, badSuffix) })
		if len(logs) != 1 {
			t.Fatalf("there are %v", logs)
		}
		clear(m.Data(logs[0])[:vfstest.Sector])
		d := &dump{}
		o := testOptions(m)
		o.Logger = d.logger()
		var r *Recovered
		s, r = mustOpen(t, o)
		if !slices.Equal(r.SetAside, logs) || len(rowsOf(r))+len(r.Sources) != 0 || r.Segments != runs || !strings.Contains(d.String(), "the newest log is lost") {
			t.Errorf("recovered %+v\n%s", r, d)
		}
		if err := s.CheckStore(store); err != nil {
			t.Fatal(err)
		}
	}
	last := s.LastNumber()
	m.Kill()
	if s, r := mustOpen(t, testOptions(m)); s.LastNumber() != last || len(r.SetAside) != 0 {
		t.Errorf("the next start recovered %+v, last number %d, was %d", r, s.LastNumber(), last)
	}
}

// Where seals of an older log are there and the newest log is lost, they may be
// stored already: the store knows. Renew is the way on then.
func TestRenew(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	id := s.Collector()
	flushed(t, s, 1)
	waits, ok, err := s.Oldest()
	if err != nil || !ok {
		t.Fatal(err)
	}
	s.Park(waits.Number)
	mustSeal(t, s, testSeal(2))
	older, err := os.ReadFile(filepath.Join(o.Dir, wal.FileName(1)))
	if err != nil {
		t.Fatal(err)
	}
	s.log.NextFile()
	flushed(t, s, 3)
	store := storeAll(t, s)
	if store == 0 {
		t.Fatal("nothing was stored")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// As if the process had died before it removed the older log.
	if err := os.WriteFile(filepath.Join(o.Dir, wal.FileName(1)), older, 0o600); err != nil {
		t.Fatal(err)
	}
	newest, err := os.OpenFile(filepath.Join(o.Dir, wal.FileName(2)), os.O_WRONLY, 0)
	if err == nil {
		_, err = newest.WriteAt(make([]byte, vfstest.Sector), 0)
		_ = newest.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	s, r := mustOpen(t, o)
	err = s.CheckStore(store)
	if r.Seals == 0 || err == nil || !strings.Contains(err.Error(), "lectern spool renew --dir "+o.Dir) {
		t.Fatalf("recovered %+v; %v", r, err)
	}
	if _, _, err := Renew(o.Dir); err == nil || !strings.Contains(err.Error(), "process that runs") {
		t.Errorf("a spool in use was renewed: %v", err)
	}
	_ = s.Close()
	had := held(t, o.Dir)
	moved, files, err := Renew(o.Dir)
	if err != nil || moved != filepath.Join(o.Dir, "renewed-1") || files != len(had) || !slices.Equal(held(t, moved), had) {
		t.Fatalf("%d files are in %s of %v: %v", files, moved, had, err)
	}
	if b, err := ReadBlock(moved, waits.Number); err != nil || b.Checksum != waits.Checksum {
		t.Errorf("the block that waited is %+v, %v", b, err)
	}
	s, r = mustOpen(t, o)
	defer s.Close()
	if s.Collector() == id || len(rowsOf(r))+len(r.Sources)+r.Segments != 0 {
		t.Errorf("collector %x, was %x; recovered %+v", s.Collector(), id, r)
	}
	if _, _, err := Renew(t.TempDir()); err == nil || !strings.Contains(err.Error(), "there is no spool") {
		t.Errorf("nothing was renewed: %v", err)
	}
}

// A segment that was set aside is of what a place holds, and its blocks can be read.
func TestSegmentSetAside(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	s, _ := mustOpen(t, o)
	flushed(t, s, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if n := e.Name(); strings.HasPrefix(n, "segment-") {
			err = errors.Join(err, os.Rename(filepath.Join(o.Dir, n), filepath.Join(o.Dir, n+badSuffix)))
		} else {
			err = errors.Join(err, os.Remove(filepath.Join(o.Dir, n)))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if Vacant(o.Dir) {
		t.Error("a place that holds a segment that was set aside is vacant")
	}
	moved, files, err := Renew(o.Dir)
	if err != nil || files != 1 {
		t.Fatalf("%d files are moved: %v", files, err)
	}
	if b, err := ReadBlock(moved, 1); err != nil || b.Rows.Len() != 1 {
		t.Errorf("its block is %+v, %v", b, err)
	}
}

// held lists the files that Renew moves.
func held(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if n := e.Name(); n == "collector" || strings.HasPrefix(n, "log-") || strings.HasPrefix(n, "segment-") {
			names = append(names, n)
		}
	}
	return names
}

// A Renew that is cut off after any file is finished by the next, and no start
// takes what is left for a spool.
func TestRenewCutOff(t *testing.T) {
	for done := range 4 {
		o := testOptions(nil)
		o.Dir = t.TempDir()
		s, _ := mustOpen(t, o)
		flushed(t, s, 1)
		mustSeal(t, s, testSeal(2))
		_ = s.Close()
		had := held(t, o.Dir)
		if len(had) != 3 {
			t.Fatalf("there is %v", had)
		}
		list, err := os.ReadDir(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		name, err := renewedName(o.Dir, list)
		if err == nil {
			err = os.Mkdir(filepath.Join(o.Dir, name), 0o700)
		}
		for _, file := range had[:done] {
			if err == nil {
				err = os.Rename(filepath.Join(o.Dir, file), filepath.Join(o.Dir, name, file))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(o); err == nil || !strings.Contains(err.Error(), "spool renew --dir "+o.Dir+" ") && !strings.Contains(err.Error(), "spool renew --dir "+o.Dir+"`") {
			t.Fatalf("with %d files moved it was opened: %v", done, err)
		}
		moved, files, err := Renew(o.Dir)
		if err != nil || files != len(had)-done || !slices.Equal(held(t, moved), had) {
			t.Fatalf("with %d files moved: %d more, %v, %v", done, files, held(t, moved), err)
		}
		s, r := mustOpen(t, o)
		if len(rowsOf(r))+r.Segments != 0 {
			t.Errorf("recovered %+v", r)
		}
		_ = s.Close()
		if moved, _, err := Renew(o.Dir); err != nil || filepath.Base(moved) != "renewed-2" {
			t.Errorf("the second time: %s, %v", moved, err)
		}
	}
}
