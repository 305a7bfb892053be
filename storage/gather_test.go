package storage

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// The library keeps one goroutine for all summaries; it must not be born inside
// a bubble.
func init() { metrics.NewSet().NewSummary("x") }

// shelf is a store in memory that can be told to fail.
type shelf struct {
	mu     sync.Mutex
	blocks []*Block
	answer func(b *Block) (Answer, error) // nil: always Stored
	slow   time.Duration
	last   uint64
	closed bool
}

func (s *shelf) Store(ctx context.Context, b *Block) (Answer, error) {
	time.Sleep(s.slow) // in synctest's time
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		if a, err := s.answer(b); a != Stored {
			return a, err
		}
	}
	s.blocks = append(s.blocks, b)
	return Stored, nil
}
func (s *shelf) LastNumber() uint64 { return s.last }
func (s *shelf) Close() error       { s.closed = true; return nil }

type rowKey struct {
	stream        uint16
	minute        uint32
	content, user uint64
}

// contents adds up the rows of all blocks with a plain map, and fails where a
// block breaks its rules.
func (s *shelf) contents(t *testing.T) (map[rowKey]Row, map[uint16]Book) {
	t.Helper()
	sums, books := map[rowKey]Row{}, map[uint16]Book{}
	next := s.last + 1
	for _, b := range s.blocks {
		if b.Number != next {
			t.Errorf("block has number %d, want %d", b.Number, next)
		}
		next++
		if b.Rows.Len() > BlockRowsMax {
			t.Errorf("block %d has %d rows", b.Number, b.Rows.Len())
		}
		for i := range b.Rows.Len() {
			r := b.Rows.Row(i)
			if r.Day() != b.Day {
				t.Fatalf("block %d of day %d has a row of day %d", b.Number, b.Day, r.Day())
			}
			if i > 0 {
				before := b.Rows.Row(i - 1)
				if CompareKeys(&before, &r) >= 0 {
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
			sum.Sent += book.Sent
			sum.Accepted += book.Accepted
			books[book.Stream] = sum
		}
	}
	return sums, books
}

func newTestGatherer(s Store, most int) *Gatherer {
	return NewGatherer(GathererOptions{
		Store: s, Collector: 7, FlushInterval: 10 * time.Second, RowsWaitingMax: most,
		Metrics: metrics.NewSet(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

func randomRow(r *rand.Rand, keys uint64) Row {
	minute := uint32(20000*secondsPerDay+r.IntN(3*24*60)*60) / 60 * 60
	at := int64(minute)*1000 + int64(r.IntN(60000))
	return Row{
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
		s := &shelf{last: 41, slow: 3 * time.Second, answer: func(*Block) (Answer, error) {
			if moods.IntN(3) == 0 {
				return Retry, errors.New("not now")
			}
			return Stored, nil
		}}
		g := newTestGatherer(s, 5_000_000)
		want, wantBooks := map[rowKey]Row{}, map[uint16]Book{}
		start := time.Now().UnixMilli()
		for range 60 {
			var rows []Row
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
			books := []Book{{Stream: 1, Sent: uint64(len(rows)), Accepted: uint64(len(rows))}}
			w := wantBooks[1]
			w.Sent += books[0].Sent
			w.Accepted += books[0].Accepted
			wantBooks[1] = w
			end := time.Now().UnixMilli()
			g.Take(Window{Start: start, End: end}, rows, books)
			clear(rows) // they are the caller's again
			start = end
			time.Sleep(time.Second)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !s.closed {
			t.Error("the store is not closed")
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
		if gotBooks[1].Sent != wantBooks[1].Sent || gotBooks[1].Accepted != wantBooks[1].Accepted {
			t.Errorf("books %+v, want %+v", gotBooks[1], wantBooks[1])
		}
		if room := g.Room(); room != 5_000_000 {
			t.Errorf("room for %d rows at the end, want all", room)
		}
	})
}

// While the store is away, rows of the same keys cost memory once.
func TestGathererMergesWhileStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		s := &shelf{answer: func(*Block) (Answer, error) {
			if !mended.Load() {
				return Retry, errors.New("away")
			}
			return Stored, nil
		}}
		g := newTestGatherer(s, 4*BlockRowsMax)
		rows := make([]Row, BlockRowsMax/4)
		for i := range rows {
			rows[i] = Row{Minute: 20000 * secondsPerDay, Content: uint64(i % 1000), User: 1, Opens: 1}
		}
		const cuts = 40 // ten times what would fit unmerged
		for range cuts {
			if g.Room() < len(rows) {
				t.Fatalf("no room after merging: %d", g.Room())
			}
			g.Take(Window{Start: 1, End: 2}, rows, nil)
			time.Sleep(time.Second)
		}
		mended.Store(true)
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, _ := s.contents(t)
		if len(got) != 1000 {
			t.Errorf("%d keys, want 1000", len(got))
		}
		for k, r := range got {
			if r.Opens != cuts*BlockRowsMax/4/1000 {
				t.Fatalf("key %v has %d opens, want %d", k, r.Opens, cuts*BlockRowsMax/4/1000)
			}
		}
	})
}

func TestGathererParksAndRetriesAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		s := &shelf{answer: func(b *Block) (Answer, error) {
			if !mended.Load() && b.Number == 1 {
				return Never, errors.New("no such column")
			}
			return Stored, nil
		}}
		g := newTestGatherer(s, 1000)
		take := func() {
			g.Take(Window{Start: 1, End: 2}, []Row{{Minute: 60, Opens: 1}}, nil)
			time.Sleep(11 * time.Second)
			synctest.Wait()
		}
		take()
		take()
		if len(s.blocks) != 1 || s.blocks[0].Number != 2 {
			t.Fatalf("the block behind the parked one is not stored")
		}
		if g.Room() != 999 {
			t.Errorf("room is %d: a parked row is still in memory", g.Room())
		}
		mended.Store(true)
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.blocks) != 2 || g.Room() != 1000 {
			t.Errorf("%d blocks stored and room for %d at the end", len(s.blocks), g.Room())
		}
	})
}

func TestGathererCloseSaysWhatIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{answer: func(*Block) (Answer, error) { return Retry, errors.New("disk full") }}
		g := newTestGatherer(s, 1000)
		g.Take(Window{Start: 1, End: 2}, []Row{{Minute: 60, Opens: 1}}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := g.Close(ctx)
		if err == nil || !s.closed {
			t.Fatalf("Close returned %v, store closed: %v", err, s.closed)
		}
		t.Log(err)
	})
}

func TestGathererSplitsDaysAndSizes(t *testing.T) {
	rows := make([]Row, 0, BlockRowsMax+20)
	for i := range BlockRowsMax + 5 {
		rows = append(rows, Row{Minute: 60, Content: uint64(i)})
	}
	for i := range 15 {
		rows = append(rows, Row{Minute: secondsPerDay, Content: uint64(i)})
	}
	for _, want := range []int{BlockRowsMax, 5, 15} {
		if n := blockLength(rows); n != want {
			t.Fatalf("block of %d rows, want %d", n, want)
		}
		rows = rows[want:]
	}
}
