package pipeline

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/live"
	"github.com/lectern/lectern/storage/spool"
)

// followed is a Gatherer whose cuts are followed.
func followed(s *testSpool, r *spool.Recovered) (*Gatherer, *live.Readers) {
	readers := live.New(live.Options{ReadersMax: 1000, ContentsMax: 10})
	return NewGatherer(GathererOptions{
		Spool: s.Spool, Store: &shelf{}, FlushInterval: time.Minute, Settle: 5 * time.Second, RowsWaitingMax: 1000, Recovered: r,
		Watcher: readers, Metrics: metrics.NewSet(), Logger: slog.New(slog.DiscardHandler),
	}), readers
}

// second is the cut of the second that ends now, in which a user opened a content; of
// user 0 it has no row.
func second(user uint64) *storage.Seal {
	end := time.Now().UnixMilli()
	seal := &storage.Seal{Window: storage.Window{Start: end - 1000, End: end}}
	if user > 0 {
		at := end - 500
		seal.Rows = []storage.Row{{Stream: 1, Content: 1, User: user, Opens: 1, Minute: uint32(at / 60_000 * 60), First: at, Last: at}}
		seal.Books = []storage.Book{{Stream: 1, Counts: storage.Counts{storage.Sent: 1, storage.Accepted: 1}}}
	}
	return seal
}

// read says how many readers there are, and opens in the last hour.
func read(t *testing.T, r *live.Readers, minute, five, opens uint64) {
	t.Helper()
	var x live.Stream
	if all := r.Top(1).Streams; len(all) > 0 {
		x = all[0]
	}
	sum := uint64(0)
	for _, n := range x.Minutes {
		sum += n
	}
	if x.Minute != minute || x.Five != five || sum != opens {
		t.Errorf("%d readers of a minute, %d of five, %d opens; want %d, %d, %d", x.Minute, x.Five, sum, minute, five, opens)
	}
}

// Readers are those of what is sealed, each cut once, also where that took a second try;
// and time goes on with cuts that have nothing.
func TestReadersAreOfWhatIsSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSpool(t, 0)
		g, readers := followed(s, nil)
		s.set(true)
		time.Sleep(time.Second)
		if sealOne(g, second(7)) == nil || g.Retry() == nil {
			t.Fatal("a disk that fails took it")
		}
		read(t, readers, 0, 0, 0)
		s.set(false)
		for range 3 {
			if err := g.Retry(); err != nil {
				t.Fatal(err)
			}
		}
		read(t, readers, 1, 1, 1)
		time.Sleep(time.Second)
		if err := sealOne(g, second(8)); err != nil {
			t.Fatal(err)
		}
		read(t, readers, 2, 2, 2)
		for _, minute := range []uint64{2, 0} { // the first is over, and flushed
			time.Sleep(40 * time.Second)
			if err := sealOne(g, second(0)); err != nil {
				t.Fatal(err)
			}
			read(t, readers, minute, 2, 2)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A process that is killed leaves in the log who reads in the minute that runs, and the
// next one begins with them.
func TestReadersAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSpool(t, 0)
		g, readers := followed(s, nil)
		began := time.Now()
		for user := range uint64(130) { // two minutes, of which two are flushed
			time.Sleep(time.Second)
			if err := sealOne(g, second(user+1)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		read(t, readers, 59, 130, 130) // the minute ends with the second that has just begun
		recovered := s.reopen()
		g.cancel() // as the kill does
		g, readers = followed(s, recovered)
		// Seconds 120 to 129 are those of the minute that runs.
		read(t, readers, 10, 10, 10)
		if since := readers.Top(1).Since; since != began.Add(2*time.Minute).UnixMilli() {
			t.Errorf("what is known begins %v after the start, want 2 minutes", time.UnixMilli(since).Sub(began))
		}
		time.Sleep(time.Second)
		if err := sealOne(g, second(130)); err != nil { // who was there before
			t.Fatal(err)
		}
		read(t, readers, 10, 10, 11)
		time.Sleep(58 * time.Second) // all but one are silent for longer
		if err := sealOne(g, second(0)); err != nil {
			t.Fatal(err)
		}
		read(t, readers, 1, 10, 11)
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
