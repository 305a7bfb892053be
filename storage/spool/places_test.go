package spool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/wire"
)

func claim(t *testing.T, dir string, share bool) (*Spool, *Recovered, []string, error) {
	t.Helper()
	return Claim(Options{Dir: dir, SizeMax: 4 << 20, LogSize: 1 << 20, Metrics: metrics.NewSet(), Clock: time.Now}, share)
}

func mustClaim(t *testing.T, dir string, share bool, place string, elders ...string) (*Spool, *Recovered) {
	t.Helper()
	s, r, got, err := claim(t, dir, share)
	if err != nil {
		t.Fatal(err)
	}
	if s.Dir() != place || !slices.Equal(got, elders) {
		t.Fatalf("it is in %s behind %v, want %s behind %v", s.Dir(), got, place, elders)
	}
	return s, r
}

func sealSource(t *testing.T, s *Spool, source uint64) {
	t.Helper()
	_, err := sealOne(s, &Seal{
		Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Stream: 1, Content: source, Opens: 1}},
		Sources: []Source{{ID: source, Next: 5, End: 7, Session: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whoever comes first has the directory, others a place below; a place with something
// in it is nobody's but its heir's.
func TestPlaces(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "spool")
	one, two := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	first, _ := mustClaim(t, dir, false, dir)
	sealSource(t, first, 9)
	if _, _, _, err := claim(t, dir, false); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("without share: %v", err)
	}
	second, _ := mustClaim(t, dir, true, one, dir)
	sealSource(t, second, 8)
	third, _ := mustClaim(t, dir, true, two, dir, one)
	id := first.ID()

	// The first goes: its place is not vacant, so the fourth makes one.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if Vacant(dir) {
		t.Error("a place with a seal is vacant")
	}
	fourth, _ := mustClaim(t, dir, true, filepath.Join(dir, "3"), one, two)
	for _, s := range []*Spool{second, third, fourth} {
		if s.ID() != id || id == 0 || id >= wire.NumberMax {
			t.Errorf("clients are told of spool %x in %s, and of %x by the first", s.ID(), s.Dir(), id)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}

	// The heir retires what it is done with: not before the last block is stored.
	o := Options{Dir: one, SizeMax: 4 << 20, LogSize: 1 << 20, Metrics: metrics.NewSet(), Clock: time.Now}
	s, r, err := Open(o)
	if err != nil || len(rowsOf(r)) != 1 || len(r.Sources) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := flushRows(s, rowsOf(r), nil, r.Window, r.Last); err != nil {
		t.Fatal(err)
	}
	if err := s.Retire(); err == nil || Vacant(one) {
		t.Errorf("with a block that waits it is retired: %v", err)
	}
	b, _, err := s.Oldest()
	if err == nil {
		err = s.Stored(b.Number)
	}
	if err == nil {
		err = s.Retire()
	}
	if err != nil || !Vacant(one) {
		t.Fatalf("it is not vacant: %v", err)
	}
	if _, err := os.Stat(filepath.Join(one, "reserve")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its reserve: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error("closed twice:", err)
	}

	// Vacant places are taken again, with their ids and numbers, and no sources.
	elder, r := mustClaim(t, dir, true, dir)
	if len(r.Sources) != 1 || len(rowsOf(r)) != 1 {
		t.Errorf("the directory itself has lost something: %+v", r)
	}
	again, r := mustClaim(t, dir, true, one, dir)
	if again.Collector() != s.Collector() || again.LastNumber() != b.Number || len(r.Sources)+len(rowsOf(r))+len(r.Books)+r.Segments > 0 {
		t.Errorf("collector %x, last %d, %+v", again.Collector(), again.LastNumber(), r)
	}
	if Vacant(one) {
		t.Error("a place that is in use is vacant")
	}
	for _, s := range []*Spool{elder, again} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Even if nothing was sealed: its sources may be here next time.
	if Vacant(one) {
		t.Error("a place is vacant again by itself")
	}
}

// Many that start at once are in an order: one has no elder, and no two share a
// place.
func TestPlacesAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	type got struct {
		s      *Spool
		elders []string
		err    error
	}
	results := make(chan got)
	const n = 6
	for range n {
		go func() {
			s, _, elders, err := claim(t, dir, true)
			results <- got{s, elders, err}
		}()
	}
	behind := map[int]bool{}
	places := map[string]bool{}
	for range n {
		g := <-results
		if g.err != nil {
			t.Fatal(g.err)
		}
		defer g.s.Close()
		behind[len(g.elders)] = true
		places[g.s.Dir()] = true
	}
	if len(behind) != n || len(places) != n {
		t.Errorf("%d places, as many elders as %v", len(places), behind)
	}
}

// Who only looks whether a process has a place is not taken for one: an heir would
// believe a dead process's place to be somebody's, and that it knows all sources.
func TestLookIsNoOwner(t *testing.T) {
	place := t.TempDir()
	look, err := os.Create(filepath.Join(place, lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	if err := syscall.Flock(int(look.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if running, err := Running(place); running || err != nil {
		t.Errorf("running: %t, %v", running, err)
	}
	if err := syscall.Flock(int(look.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if running, err := Running(place); !running || err != nil {
		t.Errorf("with an owner it is running: %t, %v", running, err)
	}
}

// lookedAt is a file system on which others look at each directory that was just
// made.
type lookedAt struct{ vfs.OS }

func (f lookedAt) MakeDir(dir string) error {
	err := f.OS.MakeDir(dir)
	look, failed := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if failed != nil {
		return failed
	}
	if failed := syscall.Flock(int(look.Fd()), syscall.LOCK_SH); failed != nil {
		return failed
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = look.Close() })
	return err
}

// A new place is waited for while somebody looks at it.
func TestNewPlaceIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	elder, _ := mustClaim(t, dir, true, dir)
	defer elder.Close()
	o := Options{Dir: dir, SizeMax: 4 << 20, LogSize: 1 << 20, Files: lookedAt{}, Metrics: metrics.NewSet(), Clock: time.Now}
	s, _, _, err := Claim(o, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
