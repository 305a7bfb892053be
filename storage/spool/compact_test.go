package spool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// flushOne seals and flushes rows with n keys, one event each.
func flushOne(t *testing.T, s *Spool, n int) {
	t.Helper()
	rows := make([]storage.Row, n)
	for i := range rows {
		rows[i] = storage.Row{Minute: 20000 * day, Content: uint64(i), Opens: 1}
	}
	book := []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: uint64(n)}}}
	number := mustSeal(t, s, &Seal{Rows: rows, Books: book})
	if err := flushRows(s, rows, book, storage.Window{Start: int64(number), End: int64(number) + 1}, number); err != nil {
		t.Fatal(err)
	}
}

// shipAll stores all blocks, and returns how many there were, with how many
// events in their rows and sent in their books.
func shipAll(t *testing.T, s *Spool) (blocks, events, sent uint64) {
	t.Helper()
	for ; ; blocks++ {
		b, ok, err := s.Oldest()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return blocks, events, sent
		}
		for i := range b.Rows.Len() {
			row := b.Rows.Row(i)
			events += row.Events()
		}
		for _, k := range b.Books {
			sent += k.Counts[storage.Sent]
		}
		if err := s.Stored(b.Number); err != nil {
			t.Fatal(err)
		}
	}
}

// An outage costs disk by distinct keys.
func TestMergeKeepsDiskByKeys(t *testing.T) {
	m := vfstest.New(1)
	o := testOptions(m)
	o.LogSize = 64 << 10
	s, _ := mustOpen(t, o)
	flushOne(t, s, 100)
	one := s.queue[0].Size
	for range 500 {
		flushOne(t, s, 100)
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var size int64
	for _, r := range s.queue {
		size += r.Size
	}
	if size > 24*one {
		t.Errorf("501 segments of the same keys take %d bytes, one takes %d", size, one)
	}
	_, events, sent := shipAll(t, s)
	if events != 50100 || sent != 50100 {
		t.Errorf("%d events and %d in the books, want 50100", events, sent)
	}
}

// A segment that a store may have seen keeps its bytes: tried in this process, or
// recovered from another.
func TestTriedRunsAreNotMerged(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	for range 8 {
		flushOne(t, s, 1)
	}
	b, _, err := s.Oldest()
	if err != nil || b.Number != 1 {
		t.Fatal(b, err)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.queue) != 8 {
		t.Errorf("%d segments after seven", len(s.queue))
	}
	m.Kill()
	s, _ = mustOpen(t, testOptions(m))
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.queue) != 8 {
		t.Errorf("recovered segments were compacted: %d are left", len(s.queue))
	}
}

// A compacted segment has seals that a durable record covers already, and numbers that
// none knows yet: it must not go before one does.
func TestMergedNumbersAreRemembered(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	for range 8 {
		flushOne(t, s, 1)
	}
	mustSeal(t, s, testSeal(1)) // says all that was flushed
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, _, err := s.Oldest()
	if err != nil || b.Number != 9 {
		t.Fatal(b, err)
	}
	if err := s.Stored(9); err != nil {
		t.Fatal(err)
	}
	if names := m.Names("segment-"); len(names) > 0 {
		t.Errorf("%v are left", names)
	}
	m.PowerLoss()
	s, _ = mustOpen(t, testOptions(m))
	if err := s.CheckStore(9); err != nil {
		t.Error(err)
	}
}

// A process that ends between a compaction and the removal of what was compacted leaves
// both: the next one ships the compacted segment alone.
func TestMergedRunsThatStay(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	for range 8 {
		flushOne(t, s, 1)
	}
	noRemoval := func(o vfstest.Op) error {
		if o.What == "remove" && o.Name != "reserve" {
			return vfstest.ErrFault
		}
		return nil
	}
	m.Fault = noRemoval
	_ = s.Compact(t.Context())
	if n := len(m.Names("segment-")); n != 9 {
		t.Fatalf("%d segment files after the compaction", n)
	}
	m.Kill()
	m.Fault = noRemoval
	s, _ = mustOpen(t, testOptions(m))
	if b, ok, err := s.Oldest(); ok || err != nil {
		t.Errorf("block %d is shipped while the compacted segments are there too, %v", b.Number, err)
	}
	m.Fault = nil
	s.Tidy()
	blocks, events, _ := shipAll(t, s)
	if blocks != 1 || events != 8 {
		t.Errorf("%d blocks with %d events are shipped, want 1 with 8", blocks, events)
	}
	if names := m.Names("segment-"); len(names) > 0 {
		t.Errorf("%v are left", names)
	}
}

func TestMergeEndsWithContext(t *testing.T) {
	m := vfstest.New(1)
	s, _ := mustOpen(t, testOptions(m))
	for range 8 {
		flushOne(t, s, 3)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if b, ok, err := s.Oldest(); !ok || err != nil || b.Number != 1 {
		t.Errorf("after a compaction that was given up: %v %v %v", b, ok, err)
	}
	if names := m.Names("1"); len(names) > 0 {
		t.Errorf("%v are left", names)
	}
}

// One goroutine seals, one flushes, one ships, one compacts; all is stored once.
func TestConcurrent(t *testing.T) {
	o := testOptions(vfstest.New(1))
	o.SizeMax = 1 << 30
	o.compactAt = 3
	s, _ := mustOpen(t, o)
	const seals = 2000
	type cut struct {
		number uint64
		rows   []storage.Row
	}
	cuts := make(chan cut, 64)
	var group sync.WaitGroup
	group.Go(func() {
		defer close(cuts)
		for i := range uint64(seals) {
			rows := []storage.Row{{Minute: 20000 * day, Content: i % 5, Opens: 1}}
			n, err := sealOne(s, &Seal{Rows: rows, Sources: []Source{{ID: i % 9, Next: i}}})
			if err != nil {
				t.Error(err)
				return
			}
			cuts <- cut{n, rows}
		}
	})
	flushed := make(chan struct{})
	group.Go(func() {
		defer close(flushed)
		for c := range cuts {
			if err := flushRows(s, c.rows, nil, storage.Window{Start: 1, End: 2}, c.number); err != nil {
				t.Error(err)
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	group.Go(func() {
		for {
			if err := s.Compact(ctx); err != nil {
				t.Error(err)
			}
			select {
			case <-flushed:
				return
			case <-s.Wait():
			}
		}
	})
	stored := map[uint64]uint64{}
	group.Go(func() {
		<-flushed // the store was away
		for ctx.Err() == nil {
			b, ok, err := s.Oldest()
			if err != nil {
				t.Error(err)
				return
			}
			if !ok {
				s.mu.Lock()
				left := len(s.queue)
				s.mu.Unlock()
				if left == 0 {
					return
				}
				select {
				case <-s.Wait():
				case <-ctx.Done():
				}
				continue
			}
			for i := range b.Rows.Len() {
				row := b.Rows.Row(i)
				stored[row.Content] += row.Events()
			}
			if err := s.Stored(b.Number); err != nil {
				t.Error(err)
				return
			}
			_ = s.Room()
		}
	})
	group.Wait()
	want := map[uint64]uint64{0: 400, 1: 400, 2: 400, 3: 400, 4: 400}
	if fmt.Sprint(stored) != fmt.Sprint(want) {
		t.Errorf("stored %v, want %v", stored, want)
	}
}

// What a seal and a flush allocate is the path that is looked for, for the system
// call.
func TestSealAllocatesPathsAlone(t *testing.T) {
	o := testOptions(nil)
	o.Dir, o.LogSize, o.SizeMax = t.TempDir(), 64<<20, 256<<20
	s, _ := mustOpen(t, o)
	defer s.Close()
	seal, none := randomSeal(rand.New(rand.NewPCG(1, 1)), 1000, 100), storage.NewMinutes()
	nothing := func(uint64) {}
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Seal(seal, nothing); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(none, nil, storage.Window{}, storage.Mark{Through: s.sealed, Before: storage.All}); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("a seal allocates %v times", n)
	}
}

func randomSeal(rng *rand.Rand, rows, sources int) *Seal {
	seal := &Seal{Window: storage.Window{Start: 1, End: 2}, Books: []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: uint64(rows)}}}}
	for range rows {
		seal.Rows = append(seal.Rows, storage.Row{Minute: 20000 * day, Content: rng.Uint64(), User: rng.Uint64(), Opens: 1, Dwell: 5})
	}
	for range sources {
		seal.Sources = append(seal.Sources, Source{ID: rng.Uint64(), Next: 5})
	}
	return seal
}
