package parquet

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
)

// forget takes rows out of the oracle.
func (o *oracle) forget(s storage.Selection) (rows, events uint64) {
	for k, r := range o.rows {
		if s.User != nil && (*s.User != k.user || k.coarse != storage.CoarseNot) || s.Stream != nil && *s.Stream != k.stream || s.Before != 0 && k.minute >= s.Before {
			continue
		}
		n := uint64(r.Opens) + uint64(r.Reads) + uint64(r.Finishes) + uint64(r.Saves) + uint64(r.Shares) + uint64(r.Impressions) + uint64(r.Clicks)
		t := o.books[k.stream]
		t.Stored -= n
		t.Forgotten += n
		o.books[k.stream] = t
		delete(o.rows, k)
		rows, events = rows+1, events+n
	}
	return rows, events
}

// anySelection draws one of few users, streams and minutes.
func anySelection(r *rand.Rand) (s storage.Selection) {
	user, stream := r.Uint64N(5)|1<<63, uint16(r.IntN(3))
	if r.IntN(4) > 0 {
		s.User = &user
	}
	if r.IntN(2) == 0 {
		s.Stream = &stream
	}
	if s.User == nil || r.IntN(4) == 0 {
		s.Before = testDay*secondsPerDay + uint32(r.IntN(20))*60
	}
	return s
}

func openForgetter(t *testing.T, dir string) *Forgetter {
	t.Helper()
	f, err := OpenForgetter(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Blocks come, and come again, are merged and forgotten, in any order, with starts in
// between: what is meant is gone, also from a block that comes again; nothing else is,
// and the books add up.
func TestForgetSimulation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 6 {
		dir := t.TempDir()
		s := mustOpen(t, dir)
		want := newOracle()
		var blocks []*storage.Block
		var forgotten uint64
		for step := range 40 {
			switch r.IntN(6) {
			case 0, 1, 2:
				b := randomBlock(r, s.Collector(), uint64(len(blocks)+1))
				mustStore(t, s, b)
				want.take(b)
				blocks = append(blocks, b)
			case 3:
				if err := s.Merge(t.Context()); err != nil {
					t.Fatal(err)
				}
			case 4:
				sel := anySelection(r)
				done, err := openForgetter(t, dir).Forget(t.Context(), sel, int64(step))
				if err != nil {
					t.Fatal(err)
				}
				_, wanted := want.forget(sel)
				var events uint64
				for _, n := range done {
					events += n.Events
				}
				if events != wanted {
					t.Fatalf("%d events were forgotten, want %d", events, wanted)
				}
				forgotten += wanted
			case 5:
				if len(blocks) > 0 && r.IntN(2) == 0 {
					mustStore(t, s, blocks[r.IntN(len(blocks))])
				} else {
					s.Close()
					s = mustOpen(t, dir)
				}
			}
		}
		want.verifyContents(t, dir)
		log, err := openForgetter(t, dir).Log(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var events uint64
		for _, n := range log {
			events += n.Events
		}
		if events != forgotten {
			t.Fatalf("the log has %d events, %d were forgotten", events, forgotten)
		}
	}
}

// Each file operation of a Forget fails in turn, or is the last before a crash. The books
// add up at once, no file is half, and the next call ends it.
func TestForgetWithFailingDisk(t *testing.T) {
	before := t.TempDir()
	s := mustOpen(t, before)
	for n := range uint64(3) {
		mustStore(t, s, smallBlock(s.Collector(), n+1, 1, 2+n))
	}
	s.Close()
	user := uint64(1)
	sel := storage.Selection{User: &user}
	for _, crash := range []bool{false, true} {
		for fail := 1; ; fail++ {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(before)); err != nil {
				t.Fatal(err)
			}
			d := newFaultyDisk(t)
			d.fail, d.crash = fail, crash
			f := openForgetter(t, dir)
			f.disk = d
			_, err := f.Forget(t.Context(), sel, 7)
			if err == nil && d.ops < fail {
				if fail < 20 {
					t.Fatalf("a Forget has only %d operations", d.ops)
				}
				break
			}
			// A failed read of one that is to be removed anyway does no harm.
			if err != nil && !errors.Is(err, errInjected) {
				t.Fatalf("operation %d fails: %v", fail, err)
			}
			r, _ := OpenReader(dir)
			books, err := r.Books(t.Context())
			if err != nil || len(books) != 1 || books[0].Stored+books[0].Forgotten != 6 {
				t.Fatalf("operation %d fails: %+v, %v", fail, books, err)
			}
			if _, err := openForgetter(t, dir).Forget(t.Context(), sel, 8); err != nil {
				t.Fatal(err)
			}
			if books, err = r.Books(t.Context()); err != nil || books[0].Stored != 3 || books[0].Forgotten != 3 {
				t.Fatalf("operation %d, and again: %+v, %v", fail, books, err)
			}
			for _, file := range parquetFiles(t, dir) {
				if strings.HasPrefix(file, ".") {
					t.Errorf("operation %d: %s is left", fail, file)
				}
			}
		}
	}
}

// A merge that has read a file waits with nothing while rows are taken out of it: the one
// that comes first keeps the other off.
func TestForgetKeepsMergesOff(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for n := range uint64(2) {
		mustStore(t, s, smallBlock(s.Collector(), n+1, 1, 2))
	}
	for _, alone := range []bool{true, false} {
		release, err := rewriting(t.Context(), dir, alone)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*lookPause)
		if alone {
			err = s.Merge(ctx)
		} else {
			_, err = openForgetter(t, dir).Forget(ctx, storage.Selection{Before: 1}, 1)
		}
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("alone %v: %v, want a wait without end", alone, err)
		}
		release()
	}
	together, err := rewriting(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer together()
	if err := s.Merge(t.Context()); err != nil { // of another process that merges
		t.Error(err)
	}
}

// Merges and forgettings at once, from several sides: no row comes back.
func TestForgetBesideMerges(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	want := newOracle()
	for n := range uint64(40) {
		b := smallBlock(s.Collector(), n+1, 1, 2, 3, 4)
		b.Window.End += int64(n) * 600_000
		mustStore(t, s, b)
		want.take(b)
	}
	ended := make(chan error)
	go func() { ended <- s.Merge(t.Context()) }()
	for _, user := range []uint64{1, 3} {
		go func() {
			_, err := openForgetter(t, dir).Forget(t.Context(), storage.Selection{User: &user}, time.Now().UnixMilli())
			ended <- err
		}()
		want.forget(storage.Selection{User: &user})
	}
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	want.verifyContents(t, dir)
}

// Rows gives what is meant, and a damaged file is an error that keeps nothing else.
func TestForgetDamagedFile(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	for n := range uint64(3) {
		mustStore(t, s, smallBlock(s.Collector(), n+1, 1, 2))
	}
	user := uint64(1)
	f := openForgetter(t, dir)
	rows, err := f.Rows(t.Context(), storage.Selection{User: &user})
	if err != nil || len(rows) != 3 || rows[0].User != 1 {
		t.Errorf("rows %+v, %v", rows, err)
	}
	path := filepath.Join(dir, "reads/day=2024-10-04/20241004T03-000000000002.parquet")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file[10] ^= 1
	if err := os.WriteFile(path, file, 0o640); err != nil {
		t.Fatal(err)
	}
	done, err := f.Forget(t.Context(), storage.Selection{User: &user}, 1)
	if !errors.Is(err, errDamaged) || len(done) != 1 || done[0].Rows != 2 {
		t.Errorf("%+v, %v; want 2 rows, and an error of the damaged file", done, err)
	}
}
