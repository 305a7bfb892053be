package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
)

// tableFootprint is what the table of a minute takes beside its rows, in rows.
const tableFootprint = 5

// shelf is a store in memory that can be told to fail.
type shelf struct {
	mu     sync.Mutex
	blocks []*storage.Block
	answer func(b *storage.Block) (storage.Answer, error) // nil: always Stored
	slow   time.Duration
	last   uint64
	away   error // of LastNumber
	closed bool
}

func (s *shelf) Store(ctx context.Context, b *storage.Block) (storage.Answer, error) {
	time.Sleep(s.slow) // in synctest's time
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		if a, err := s.answer(b); a != storage.Stored {
			return a, err
		}
	}
	kept := *b // the memory of its rows will have others
	kept.Rows = storage.Columns{}
	for i := range b.Rows.Len() {
		r := b.Rows.Row(i)
		kept.Rows.Append(&r)
	}
	s.blocks = append(s.blocks, &kept)
	return storage.Stored, nil
}
func (s *shelf) LastNumber(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.away
}
func (s *shelf) Close() error { s.closed = true; return nil }

type rowKey struct {
	stream        uint16
	minute        uint32
	content, user uint64
}

// contents adds up the rows of all blocks with a plain map, and fails where a
// block breaks its rules.
func (s *shelf) contents(t *testing.T) (map[rowKey]storage.Row, map[uint16]storage.Book) {
	t.Helper()
	sums, books := map[rowKey]storage.Row{}, map[uint16]storage.Book{}
	last := s.last
	for _, b := range s.blocks {
		if b.Number <= last {
			t.Errorf("block %d comes behind block %d", b.Number, last)
		}
		last = b.Number
		if b.Rows.Len() > storage.BlockRowsMax {
			t.Errorf("block %d has %d rows", b.Number, b.Rows.Len())
		}
		for i := range b.Rows.Len() {
			r := b.Rows.Row(i)
			if r.Day() != b.Day {
				t.Fatalf("block %d of day %d has a row of day %d", b.Number, b.Day, r.Day())
			}
			if i > 0 {
				before := b.Rows.Row(i - 1)
				if storage.CompareKeys(&before, &r) >= 0 {
					t.Fatalf("block %d: row %d is not behind row %d", b.Number, i, i-1)
				}
			}
			k := rowKey{r.Stream, r.Minute, r.Content, r.User}
			if sum, ok := sums[k]; ok {
				sum.Opens += r.Opens
				sum.Dwell += r.Dwell
				sum.First = min(sum.First, r.First)
				sums[k] = sum
			} else {
				sums[k] = r
			}
		}
		for _, book := range b.Books {
			sum := books[book.Stream]
			sum.Counts[storage.Sent] += book.Counts[storage.Sent]
			sum.Counts[storage.Accepted] += book.Counts[storage.Accepted]
			books[book.Stream] = sum
		}
	}
	return sums, books
}

func newTestGatherer(s storage.Store, spool *testSpool, most int) *Gatherer {
	return NewGatherer(GathererOptions{
		Spool: spool.Spool, Store: s, FlushInterval: 10 * time.Second, RowsWaitingMax: most,
		Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
	})
}

// sealOne gives a cut that nobody waits for.
func sealOne(g *Gatherer, what *storage.Seal) error { return g.Seal(what, func() {}) }

// Whoever is acknowledged when the cut is durable does not wait for the rows to be
// added up. It is so for a cut that is sealed at once as for one that is retried, and
// each is added once.
func TestSealIsDurableBeforeItIsAddedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := newTestSpool(t, 41)
		g := newTestGatherer(&shelf{last: 41}, spool, 1000)
		for i, fails := range []bool{false, true, false} {
			acks := 0
			durable := func() {
				if acks++; g.waiting() != i {
					t.Errorf("when cut %d is acknowledged %d rows wait, want %d", i, g.waiting(), i)
				}
			}
			spool.set(fails)
			err := g.Seal(&storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Minute: 60, User: uint64(i), Opens: 1}}}, durable)
			if fails {
				if err == nil || g.Retry() == nil || acks > 0 || g.waiting() != i {
					t.Fatalf("the disk was to fail, and %d rows wait", g.waiting())
				}
				spool.set(false)
				err = g.Retry()
			}
			if err == nil {
				err = g.Retry() // nothing is left to do
			}
			if err != nil || acks != 1 || g.waiting() != i+1 {
				t.Fatalf("cut %d: %v, acknowledged %d times, and then %d rows wait", i, err, acks, g.waiting())
			}
		}
		empty := false
		if err := g.Seal(&storage.Seal{Window: storage.Window{Start: 2, End: 3}}, func() { empty = true }); err != nil || !empty {
			t.Errorf("an empty cut: %v, acknowledged %t", err, empty)
		}
		if g.waiting() != 3 || g.mark.Through != 3 {
			t.Errorf("%d rows of %d seals wait, want 3 of 3", g.waiting(), g.mark.Through)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A store that is away at the start is asked for its last number at the first
// contact, and gets nothing where it has seen later ones than the spool.
func TestStoreIsCheckedAtFirstContact(t *testing.T) {
	for _, last := range []uint64{41, 42} {
		synctest.Test(t, func(t *testing.T) {
			s := &shelf{last: last, away: storage.ErrAway}
			spool := newTestSpool(t, 41)
			g := newTestGatherer(s, spool, 1000)
			if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Opens: 1}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			s.mu.Lock()
			if len(s.blocks) > 0 {
				t.Error("a block went to a store that could not be asked")
			}
			s.away = nil
			s.mu.Unlock()
			time.Sleep(time.Minute)
			if err := g.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if want := int(42 - last); len(s.blocks) != want {
				t.Errorf("last number %d: %d blocks are stored, want %d", last, len(s.blocks), want)
			}
			if refused := g.meters.refused.Get() == 1; refused != (last > 41) {
				t.Errorf("last number %d: refused is %t", last, refused)
			}
		})
	}
}

func randomRow(r *rand.Rand, keys uint64) storage.Row {
	minute := uint32(20000*storage.SecondsPerDay+r.IntN(3*24*60)*60) / 60 * 60
	at := int64(minute)*1000 + int64(r.IntN(60000))
	return storage.Row{
		Stream: uint16(r.IntN(3)), Minute: minute, Content: r.Uint64N(keys), User: r.Uint64N(keys),
		Opens: 1 + uint32(r.IntN(3)), Dwell: uint64(r.IntN(1000)), First: at, Last: at,
	}
}

func TestGathererAgainstMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 1))
		moods := rand.New(rand.NewPCG(seed, 2))
		var fixed atomic.Bool
		s := &shelf{last: 41, slow: 3 * time.Second, answer: func(*storage.Block) (storage.Answer, error) {
			if !fixed.Load() && moods.IntN(3) == 0 {
				return storage.Retry, errors.New("not now")
			}
			return storage.Stored, nil
		}}
		spool := newTestSpool(t, 41)
		g := newTestGatherer(s, spool, 5_000_000)
		sealFails := rand.New(rand.NewPCG(seed, 3))
		want, wantBooks := map[rowKey]storage.Row{}, map[uint16]storage.Book{}
		start := time.Now().UnixMilli()
		for range 60 {
			var rows []storage.Row
			for range r.IntN(2000) {
				row := randomRow(r, 4)
				k := rowKey{row.Stream, row.Minute, row.Content, row.User}
				if sum, ok := want[k]; ok {
					sum.Opens += row.Opens
					sum.Dwell += row.Dwell
					sum.First = min(sum.First, row.First)
					want[k] = sum
				} else {
					want[k] = row
				}
				rows = append(rows, row)
			}
			books := []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: uint64(len(rows)), storage.Accepted: uint64(len(rows))}}}
			w := wantBooks[1]
			w.Counts[storage.Sent] += books[0].Counts[storage.Sent]
			w.Counts[storage.Accepted] += books[0].Counts[storage.Accepted]
			wantBooks[1] = w
			end := time.Now().UnixMilli()
			spool.set(sealFails.IntN(4) == 0)
			err := sealOne(g, &storage.Seal{Window: storage.Window{Start: start, End: end}, Rows: rows, Books: books})
			for err != nil {
				time.Sleep(time.Second)
				spool.set(sealFails.IntN(4) == 0)
				err = g.Retry()
			}
			clear(rows) // they are the caller's again
			start = end
			time.Sleep(time.Second)
		}
		spool.set(false)
		for spool.left() > 0 { // the store takes its time
			time.Sleep(time.Minute)
		}
		fixed.Store(true)
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !s.closed || spool.left() > 0 {
			t.Errorf("closed %v, with %d blocks left", s.closed, spool.left())
		}
		got, gotBooks := s.contents(t)
		if len(got) != len(want) {
			t.Errorf("%d keys stored, want %d", len(got), len(want))
		}
		for k, w := range want {
			if g := got[k]; g.Opens != w.Opens || g.Dwell != w.Dwell || g.First != w.First {
				t.Fatalf("key %v: stored %+v, want %+v", k, g, w)
			}
		}
		if gotBooks[1].Counts[storage.Sent] != wantBooks[1].Counts[storage.Sent] || gotBooks[1].Counts[storage.Accepted] != wantBooks[1].Counts[storage.Accepted] {
			t.Errorf("books %+v, want %+v", gotBooks[1], wantBooks[1])
		}
		if room := g.Room(); room != 5_000_000 {
			t.Errorf("room for %d rows at the end, want all", room)
		}
	})
}

// A block that the store will never take does not stop those behind it.
func TestGathererParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{answer: func(b *storage.Block) (storage.Answer, error) {
			if b.Number == 1 {
				return storage.Never, errors.New("no such column")
			}
			return storage.Stored, nil
		}}
		g := newTestGatherer(s, newTestSpool(t, 0), 1000)
		for range 2 {
			if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Minute: 60, Opens: 1}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second)
			synctest.Wait()
		}
		if len(s.blocks) != 1 || s.blocks[0].Number != 2 {
			t.Fatal("the block behind the parked one is not stored")
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// What bars all blocks parks none: it is said once a minute, as an error, and they
// go on by themselves, in their order, when it is fixed.
func TestGathererIsBarred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := "wrong password"
		s := &shelf{answer: func(*storage.Block) (storage.Answer, error) {
			return storage.Retry, fmt.Errorf("%w: %s", storage.ErrBarred, why)
		}}
		spool := newTestSpool(t, 0)
		var log bytes.Buffer
		g := NewGatherer(GathererOptions{
			Spool: spool.Spool, Store: s, FlushInterval: 10 * time.Second, RowsWaitingMax: 1000,
			Metrics: metrics.NewSet(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		for range 2 {
			if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Minute: 60, Opens: 1}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		s.mu.Lock()
		if n := strings.Count(log.String(), "level=ERROR"); n < 30 || n > 61 || n != strings.Count(log.String(), why) {
			t.Errorf("in an hour it was said %d times:\n%s", n, log.String())
		}
		log.Reset()
		why = "no such table" // another reason is said at once
		s.mu.Unlock()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		if !strings.Contains(log.String(), why) {
			t.Errorf("it was not said: %s", log.String())
		}
		s.answer = nil
		s.mu.Unlock()
		time.Sleep(31 * time.Second)
		s.mu.Lock()
		if spool.Parked() > 0 || len(s.blocks) != 2 || s.blocks[0].Number != 1 {
			t.Errorf("%d blocks are parked, %d are stored", spool.Parked(), len(s.blocks))
		}
		s.mu.Unlock()
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A block of which the store does not know whether it has it holds up none that
// comes after it, is shown while that is so, and is stored when the store knows.
func TestGathererIsUnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := &shelf{answer: func(b *storage.Block) (storage.Answer, error) {
			if b.Number != 1 {
				return storage.Stored, nil
			}
			if asked++; asked > 10000 {
				panic("the store is asked without end") // time stands still where nobody sleeps
			}
			return storage.Unsure, errors.New("a replica is away")
		}}
		spool := newTestSpool(t, 0)
		var log bytes.Buffer
		set := metrics.NewSet()
		g := NewGatherer(GathererOptions{
			Spool: spool.Spool, Store: s, FlushInterval: 10 * time.Second, RowsWaitingMax: 1000,
			Metrics: set, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		shown := func() string {
			var b bytes.Buffer
			set.WritePrometheus(&b)
			_, text, _ := strings.Cut(b.String(), "lectern_blocks_unsure ")
			return strings.ReplaceAll(text[:strings.Index(text, "lectern_blocks_unsure_oldest_seconds ")+len("lectern_blocks_unsure_oldest_seconds 99999")], "\n", " ")
		}
		seal := func() {
			if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Minute: 60, Opens: 1}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		for number := uint64(1); number <= 400; number++ {
			seal()
			s.mu.Lock()
			n := len(s.blocks)
			held := n != int(number)-1 || n > 0 && s.blocks[n-1].Number != number
			s.mu.Unlock()
			if held {
				t.Errorf("ten seconds after block %d was made %d are stored", number, n)
				break
			}
		}
		s.mu.Lock()
		if asked < 30 || asked > 80 {
			t.Errorf("in 4000 seconds it was asked for %d times", asked)
		}
		if n := strings.Count(log.String(), "a replica is away"); n < 5 || n > 8 {
			t.Errorf("it was told of %d times:\n%s", n, log.String())
		}
		if text := shown(); !strings.HasPrefix(text, "1 ") || !strings.Contains(text, "lectern_blocks_unsure_oldest_seconds 39") {
			t.Errorf("shown is %s", text)
		}
		s.answer = nil
		s.mu.Unlock()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		s.mu.Lock()
		if n := len(s.blocks); n != 400 || s.blocks[n-1].Number != 1 || spool.Blocks() != 0 {
			t.Errorf("%d are stored, %d wait", n, spool.Blocks())
		}
		if text := shown(); !strings.HasPrefix(text, "0 ") {
			t.Errorf("shown is %s", text)
		}
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := g.Close(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

// A thousand blocks of which each is asked for twice until the store knows take
// minutes and no backoff: that is for a store that does not answer what it is sent,
// which is not sent all of them in a row.
func TestGathererIsUnsureOfMany(t *testing.T) {
	for _, away := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const blocks = 1000
			asked := map[uint64]int{}
			s := &shelf{answer: func(b *storage.Block) (storage.Answer, error) {
				asked[b.Number]++
				switch {
				case away:
					return storage.Unsure, fmt.Errorf("%w: no answer", storage.ErrAway)
				case asked[b.Number] > 2:
					return storage.Stored, nil
				}
				return storage.Unsure, errors.New("a replica lags")
			}}
			spool := newTestSpool(t, 0)
			spool.make(blocks)
			spool.reopen()
			g := newTestGatherer(s, spool, 1000)
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			s.mu.Lock()
			if n := len(asked); away && n > 25 || !away && n != blocks {
				t.Errorf("away=%v: %d blocks were asked for in three minutes", away, n)
			}
			if n := len(s.blocks); away && n > 0 || !away && n != blocks {
				t.Errorf("away=%v: %d blocks are stored", away, n)
			}
			s.mu.Unlock()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := g.Close(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// At the end, too, one that is unsure holds up none behind it, and the end waits
// for nobody.
func TestGathererIsUnsureAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{answer: func(b *storage.Block) (storage.Answer, error) {
			if b.Number == 1 {
				return storage.Unsure, errors.New("a replica is away")
			}
			return storage.Stored, nil
		}}
		spool := newTestSpool(t, 0)
		g := newTestGatherer(s, spool, 1000)
		for day := range uint32(3) {
			if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Minute: 60 + day*storage.SecondsPerDay, Opens: 1}}}); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		if err := g.Close(t.Context()); err != nil || len(s.blocks) != 2 || spool.Blocks() != 1 || time.Since(began) > time.Second {
			t.Errorf("%v after %v: %d are stored, %d wait", err, time.Since(began), len(s.blocks), spool.Blocks())
		}
	})
}

// What another process left is brought to the store past a block that is unsure,
// and is settled when that is sure.
func TestLeftoverIsUnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, spool := &shelf{}, newTestSpool(t, 0)
		s.answer = func(b *storage.Block) (storage.Answer, error) {
			if b.Number == 1 {
				return storage.Unsure, errors.New("a replica is away")
			}
			return storage.Stored, nil
		}
		ended := make(chan error, 1)
		left := leftover(s, spool, []storage.Row{{Opens: 1}, {Minute: storage.SecondsPerDay, Opens: 1}})
		go func() { ended <- ShipLeftover(t.Context(), left) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		s.mu.Lock()
		if len(s.blocks) != 1 || spool.Blocks() != 1 {
			t.Errorf("%d are stored, %d wait", len(s.blocks), spool.Blocks())
		}
		s.answer = nil
		s.mu.Unlock()
		if err := <-ended; err != nil || len(s.blocks) != 2 {
			t.Errorf("%v: %d are stored", err, len(s.blocks))
		}
	})
}

// A store that is away at the end does not hold the end up: the spool keeps what
// waits.
func TestGathererLeavesToTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{answer: func(*storage.Block) (storage.Answer, error) { return storage.Retry, errors.New("away") }}
		spool := newTestSpool(t, 0)
		g := newTestGatherer(s, spool, 1000)
		if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Minute: 60, Opens: 1}}}); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if spool.left() != 1 || !s.closed {
			t.Errorf("%d blocks in the spool, closed %v", spool.left(), s.closed)
		}
	})
}

// An empty cut costs nothing.
func TestGathererSealsNoEmptyCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := newTestSpool(t, 0)
		g := newTestGatherer(&shelf{}, spool, 1000)
		before := spool.disk.Steps
		if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}}); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if steps := spool.disk.Steps - before; steps != 0 {
			t.Errorf("it took %d operations of the disk", steps)
		}
	})
}

// What cannot be flushed waits, and room shrinks by it.
func TestGathererFlushFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, spool := &shelf{}, newTestSpool(t, 0)
		g := newTestGatherer(s, spool, 1000)
		row := []storage.Row{{Minute: 60, Opens: 1, First: 60_000, Last: 60_000}}
		if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: row}); err != nil {
			t.Fatal(err)
		}
		spool.set(true)
		time.Sleep(time.Minute)
		if g.Room() != 1000-1-tableFootprint {
			t.Errorf("room for %d rows", g.Room())
		}
		spool.set(false)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if len(s.blocks) != 1 || g.Room() != 1000 {
			t.Errorf("%d blocks stored, room for %d rows", len(s.blocks), g.Room())
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// Rows stay in memory until they are written: a slow disk makes no room.
func TestGathererRoomWhileFlushing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := newTestSpool(t, 0)
		g := newTestGatherer(&shelf{}, spool, 1000)
		if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: 1, End: 2}, Rows: []storage.Row{{Minute: 60, Opens: 1, First: 60_000, Last: 60_000}, {Minute: 120, Opens: 1, First: 120_000, Last: 120_000}}}); err != nil {
			t.Fatal(err)
		}
		spool.slow(2 * time.Second)
		time.Sleep(11 * time.Second) // it is being written
		if g.Room() != 1000-2-2*tableFootprint {
			t.Errorf("room for %d rows while 2 are written", g.Room())
		}
		time.Sleep(2 * time.Second)
		if g.Room() != 1000 {
			t.Errorf("room for %d rows when they are", g.Room())
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A clock that was wrong and is set right leaves no mark on later windows.
func TestGathererWindowsAfterAWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, spool := &shelf{}, newTestSpool(t, 0)
		g := newTestGatherer(store, spool, 1000)
		const wrong = 9_000_000
		for i, w := range []storage.Window{{Start: 1000, End: 2000}, {Start: 2000, End: wrong}, {Start: 3000, End: 3000}, {Start: 3000, End: 4000}, {Start: 4000, End: 5000}} {
			if err := sealOne(g, &storage.Seal{Window: w, Rows: []storage.Row{{Content: uint64(i), Minute: 60, Opens: 1}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // it is flushed and stored
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if last := store.blocks[len(store.blocks)-1]; len(store.blocks) != 5 || last.Window.End != 5000 {
			t.Errorf("%d blocks, the window of the last is %+v", len(store.blocks), last.Window)
		}
		for _, b := range store.blocks {
			if b.Window.Start > b.Window.End {
				t.Errorf("block %d has the window %+v", b.Number, b.Window)
			}
		}
	})
}

// A block has the configuration of the last cut that is in it.
func TestBlocksHaveTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, spool := &shelf{}, newTestSpool(t, 0)
		g := newTestGatherer(store, spool, 1000)
		for i, configs := range [][]uint64{{7}, {7, 8}, {8, 9, 7}} {
			for n, config := range configs {
				at := int64(1000 * (10*i + n + 1))
				if err := sealOne(g, &storage.Seal{Window: storage.Window{Start: at, End: at + 1000, Config: config}, Rows: []storage.Row{{Content: uint64(at), Minute: 60, Opens: 1}}}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute) // it is flushed and stored
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, b := range store.blocks {
			got = append(got, b.Window.Config)
		}
		if !slices.Equal(got, []uint64{7, 8, 7}) {
			t.Errorf("the blocks have the configurations %d", got)
		}
	})
}
