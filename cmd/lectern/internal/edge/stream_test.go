package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// testQueue is a queue on disk, as a test sees it: it outlives a kill.
type testQueue struct {
	source  uint64
	events  []emit.Event
	skipped uint64
	names   []string // that were said, again and again
	room    int      // events that find room; below 0: any
	kill    int      // operations until the process is killed; below 0: never
	added   int      // events since kill was set
	err     error
	deaf    bool // names are not kept
}

type killed struct{}

func (q *testQueue) step() {
	if q.kill == 0 {
		panic(killed{})
	}
	q.kill--
}

func (q *testQueue) Add(e emit.Event) error {
	q.step()
	if q.room == 0 {
		return emit.ErrFull
	}
	q.room--
	q.events = append(q.events, e)
	q.added++
	q.step() // a kill right behind it
	return nil
}

func (q *testQueue) Name(text string) error {
	if !q.deaf {
		q.names = append(q.names, strings.Clone(text))
	}
	return nil
}

func (q *testQueue) Describe(content uint64, what wire.Attribute, text string) error {
	q.names = append(q.names, fmt.Sprint(content, " ", what, " ", text))
	return nil
}

func (q *testQueue) Skip(n uint64) error {
	q.step()
	q.skipped += n
	q.step()
	return nil
}

func (q *testQueue) Position() (emit.Position, bool) {
	return emit.Position{Source: q.source, Events: uint64(len(q.events)) + q.skipped}, true
}
func (q *testQueue) Stats() emit.Stats           { return emit.Stats{} }
func (q *testQueue) Err() error                  { return q.err }
func (q *testQueue) Close(context.Context) error { return nil }

func openTestStream(t *testing.T, dir string, q *testQueue, most int, idle time.Duration) *stream {
	t.Helper()
	s := &stream{Stream: Stream{Name: "site"}, queue: q, pages: newPages(most, idle)}
	position, _ := q.Position()
	var err error
	// It is written anew often.
	if s.journal, err = openJournal(dir, os.Getpagesize(), s.pages, position, true); err != nil {
		t.Fatal(err)
	}
	return s
}

// Pages that send what was not answered again, an edge that is killed between any
// two steps, and a queue that is full at times: each event that was answered is in
// the queue, and none is twice.
func TestPagesOverKills(t *testing.T) {
	first := rand.Uint64()
	for i := range uint64(40) {
		seed := first + i
		pagesOverKills(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// testPage is a page as its browser has it.
type testPage struct {
	id       uint64
	events   int // numbered so far
	answered int // below this number all were answered
}

func pagesOverKills(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	dir := t.TempDir()
	q := &testQueue{source: rng.Uint64(), room: -1, kill: -1}
	now := time.Unix(1_800_000_000, 0)
	s := openTestStream(t, dir, q, 1000, time.Hour)
	all := make([]testPage, 1+rng.IntN(5))
	for i := range all {
		all[i].id = uint64(i + 1)
	}
	for range 300 {
		now = now.Add(time.Second)
		p := &all[rng.IntN(len(all))]
		p.events += rng.IntN(4)
		if p.events == p.answered {
			continue
		}
		// What is not answered, from a number on that may have been taken before.
		b := batch{page: p.id, first: uint64(p.answered)}
		end := p.answered + 1 + rng.IntN(p.events-p.answered)
		for n := p.answered; n < end; n++ {
			b.events = append(b.events, emit.Event{Content: p.id, User: uint64(n), Time: now.UnixMilli()})
		}
		if q.room = -1; rng.IntN(6) == 0 {
			q.room = rng.IntN(4)
		}
		if q.kill = -1; rng.IntN(8) == 0 {
			q.kill = rng.IntN(6)
		}
		q.added = 0
		why, dead := takeOrDie(s, &b, now)
		switch {
		case dead:
			if q.added == 0 && rng.IntN(2) == 0 {
				s.journal.mem[s.journal.size-1-rng.IntN(recordSize)] ^= 1 // it was being written
			}
			_ = s.journal.close()
			q.kill = -1
			s = openTestStream(t, dir, q, 1000, time.Hour)
		case why == Taken && rng.IntN(4) > 0: // else the answer is lost
			p.answered = end
		case why != Taken && why != Full:
			t.Errorf("%v", why)
		}
	}
	// The pages go, and each has told all it could.
	q.room, q.kill = -1, -1
	want := uint64(0)
	for i := range all {
		p := &all[i]
		dropped := rng.IntN(3) // numbered, and never sent
		b := batch{page: p.id, first: uint64(p.answered)}
		for n := p.answered; n < p.events; n++ {
			b.events = append(b.events, emit.Event{Content: p.id, User: uint64(n)})
		}
		if len(b.events) > 0 {
			if why, err := s.take(&b, now); why != Taken || err != nil {
				t.Fatal(why, err)
			}
		}
		if dropped > 0 {
			last := batch{page: p.id, first: uint64(p.events + dropped), events: []emit.Event{{Content: p.id, User: uint64(p.events + dropped)}}}
			if why, err := s.take(&last, now); why != Taken || err != nil {
				t.Fatal(why, err)
			}
			want += uint64(dropped)
		}
	}
	if rng.IntN(2) == 0 {
		q.kill = rng.IntN(4)
	}
	for done := false; !done; q.kill = -1 {
		if done = forgetOrDie(s, now.Add(2*time.Hour)); !done {
			_ = s.journal.close()
			s = openTestStream(t, dir, q, 1000, time.Hour)
		}
	}
	if q.skipped != want || len(s.pages.of) != 0 {
		t.Errorf("%d events are booked as lost, and pages dropped %d; %d pages are left", q.skipped, want, len(s.pages.of))
	}
	seen := map[string]int{}
	for _, e := range q.events {
		key := fmt.Sprint(e.Content, " ", e.User)
		if seen[key]++; seen[key] > 1 {
			t.Errorf("event %s is in the queue twice", key)
		}
	}
	for i := range all {
		for n := range all[i].events {
			if seen[fmt.Sprint(all[i].id, " ", n)] != 1 {
				t.Errorf("event %d of page %d is not in the queue", n, all[i].id)
			}
		}
	}
}

func takeOrDie(s *stream, b *batch, now time.Time) (why Reason, dead bool) {
	defer dies(&dead)
	why, _ = s.take(b, now)
	return why, false
}

func forgetOrDie(s *stream, now time.Time) (done bool) {
	var dead bool
	func() {
		defer dies(&dead)
		done = s.tick(now) == nil
	}()
	return done && !dead
}

func dies(dead *bool) {
	if what := recover(); what != nil {
		if _, ok := what.(killed); !ok {
			panic(what)
		}
		*dead = true
	}
}

func TestPagesAreBounded(t *testing.T) {
	q := &testQueue{room: -1, kill: -1}
	s := openTestStream(t, t.TempDir(), q, 10, time.Hour)
	now := time.Unix(1_800_000_000, 0)
	for id := uint64(1); id <= 1000; id++ {
		b := batch{page: id, first: 1, events: []emit.Event{{Content: id}}}
		if why, err := s.take(&b, now); why != Taken || err != nil {
			t.Fatal(why, err)
		}
		if len(s.pages.of) > 10 {
			t.Fatalf("%d pages", len(s.pages.of))
		}
	}
	if s.evicted != 990 || q.skipped != 990 {
		t.Errorf("%d evicted, %d events booked as lost; want 990 of each", s.evicted, q.skipped)
	}
}

func TestNumbersFarAheadAreRefused(t *testing.T) {
	q := &testQueue{room: -1, kill: -1}
	s := openTestStream(t, t.TempDir(), q, 10, time.Hour)
	b := batch{page: 1, first: numbersAhead + 1, events: []emit.Event{{}}}
	if why, _ := s.take(&b, time.Unix(1_800_000_000, 0)); why != OutOfRange || len(q.events) > 0 {
		t.Errorf("%v, %d events", why, len(q.events))
	}
}

// An edge that is killed while it starts, when the empty queue of the one before has
// made way for another, knows afterwards what that one had taken.
func TestKillWhileItStarts(t *testing.T) {
	dir := t.TempDir()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	now := time.Unix(1_800_000_000, 0)
	dial := func() (Queue, error) {
		return emit.DialTCP(t.Context(), "127.0.0.1:1", emit.Options{Stream: 7, Queue: dir, OnFull: emit.Fail, Background: true})
	}
	start := func(dial func() (Queue, error)) (*stream, error) {
		s := &stream{Stream: Stream{Name: "site"}, pages: newPages(10, time.Hour)}
		var err error
		if s.lock, err = lockDir(dir); err != nil {
			t.Fatal(err)
		}
		if err = s.open(dir, dial); err != nil {
			_ = s.lock.Close()
		}
		return s, err
	}
	take := func(s *stream) {
		b := batch{page: 1, events: []emit.Event{{Content: 1, Time: now.UnixMilli()}}}
		if why, err := s.take(&b, now); why != Taken || err != nil {
			t.Fatal(why, err)
		}
	}
	s, err := start(dial)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil {
		t.Error("two have the directory")
	}
	take(s)
	_ = s.close(over)

	died := errors.New("killed")
	if _, err := start(func() (Queue, error) {
		if err := os.Remove(filepath.Join(dir, "queue")); err != nil { // all was acknowledged
			t.Fatal(err)
		}
		q, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		_ = q.Close(over)
		return nil, died
	}); !errors.Is(err, died) {
		t.Fatal(err)
	}

	if s, err = start(dial); err != nil {
		t.Fatal(err)
	}
	defer s.close(over)
	take(s)
	if s.again != 1 || s.counts().queue.Events != 0 {
		t.Errorf("%d events came again, %d are in the queue", s.again, s.counts().queue.Events)
	}
}
