package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// Queue takes events and keeps them until the collector has them: an emit.TCP with
// a queue on disk, of which Add fails with emit.ErrFull and does not wait.
type Queue interface {
	Add(emit.Event) error
	// Name and Describe say what a content is called, and more of it. What finds no
	// room is said with a later event.
	Name(text string) error
	Describe(content uint64, what wire.Attribute, text string) error
	// Skip numbers events that will never come, so that they show as lost.
	Skip(events uint64) error
	Position() (p emit.Position, ok bool)
	Stats() emit.Stats
	// Err is why there is no connection now, nil while there is one.
	Err() error
	Close(context.Context) error
}

// batch is what came in one piece: the events of one page, or of no page.
type batch struct {
	page   uint64 // 0: events without numbers
	first  uint64 // the number of the first event
	events []emit.Event
	names  []string // of their contents
	fresh  []int    // those of the events that were not taken before
}

// reset makes b another batch, with the memory of this one.
func (b *batch) reset() { *b = batch{events: b.events[:0], names: b.names[:0], fresh: b.fresh[:0]} }

// stream brings the events of one stream to its queue. Its methods may be called
// by several goroutines at once.
type stream struct {
	Stream

	// For tellAway alone.
	awayTold time.Time // when the log last said that there is no connection
	away     bool      // it has not said since that there is one again

	lock *os.File // the directory is this process's

	mu      sync.Mutex // protects all that follows
	queue   Queue
	pages   *pages
	journal *journal
	again   uint64 // events that had been taken already
	missing uint64 // events that pages numbered and that never came
	evicted uint64 // pages that were forgotten for want of room
}

// open reads what is known of pages, and then opens the queue. An empty one begins to count
// anew when it is opened, so how far it was is to be in the journal before that.
func (s *stream) open(dir string, dial func() (Queue, error)) error {
	position, known, err := emit.QueuePosition(dir)
	if err != nil {
		known = false // it is set aside when it is opened
	}
	if s.journal, err = openJournal(dir, journalLeast, s.pages, position, known); err != nil {
		return err
	}
	if s.queue, err = dial(); err != nil {
		return errors.Join(err, s.journal.close())
	}
	return nil
}

// lockDir has a directory for this process alone, until the file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// take brings a batch to the queue, as a whole. The error says more where the
// reason is Broken or OutOfRange.
func (s *stream) take(b *batch, now time.Time) (Reason, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name(b.names...)
	if b.page == 0 {
		return s.addAll(b.events)
	}
	before := page{id: b.page}
	if one := s.pages.find(b.page); one != nil {
		before = *one
	}
	if b.first > before.end+numbersAhead {
		return OutOfRange, fmt.Errorf("first %d is more than %d ahead of what the page numbered before, %d", b.first, numbersAhead, before.end)
	}
	fresh := b.fresh
	after := before
	after.last = now
	for i := range b.events {
		if n := b.first + uint64(i); after.fresh(n) {
			after.take(n)
			fresh = append(fresh, i)
		}
	}
	b.fresh = fresh
	s.again += uint64(len(b.events) - len(fresh))
	if len(fresh) == 0 {
		return Taken, nil
	}
	position, ok := s.queue.Position()
	if !ok {
		return Full, nil // it is closed
	}
	if err := s.journal.write(&record{page: after, added: len(fresh), position: position}, s.pages); err != nil {
		return Broken, err
	}
	for k, i := range fresh {
		if err := s.queue.Add(b.events[i]); err != nil {
			return s.takenInPart(&before, b.first, fresh[:k], now, err)
		}
	}
	s.pages.put(after)
	return Taken, s.forget(now)
}

// takenInPart puts right what the journal says, after some events of a batch found
// no room. They are in the queue: when the page sends all again, they count once.
func (s *stream) takenInPart(before *page, first uint64, added []int, now time.Time, why error) (Reason, error) {
	after := *before
	after.last = now
	for _, i := range added {
		after.take(first + uint64(i))
	}
	if err := s.journal.write(&record{page: after}, s.pages); err != nil {
		return Broken, err
	}
	s.pages.put(after)
	if errors.Is(why, emit.ErrFull) || errors.Is(why, emit.ErrClosed) {
		return Full, nil
	}
	return OutOfRange, why
}

// name says what contents are called: the queue sends each name once a day. One that no
// collector would take is left out, and so is one that finds no room, until it comes
// again.
func (s *stream) name(names ...string) {
	for _, text := range names {
		_ = s.queue.Name(text)
	}
}

// addAll adds events without numbers. Where not all find room, those in front stay:
// nobody can tell when they come again.
func (s *stream) addAll(events []emit.Event) (Reason, error) {
	for i := range events {
		switch err := s.queue.Add(events[i]); {
		case errors.Is(err, emit.ErrFull), errors.Is(err, emit.ErrClosed):
			return Full, nil
		case err != nil:
			return OutOfRange, err
		}
	}
	return Taken, nil
}

// forget gives up pages that were silent for too long, and those that have no room,
// and books as lost what they numbered and never came.
func (s *stream) forget(now time.Time) error {
	for one := s.pages.over(now); one != nil; one = s.pages.over(now) {
		r := record{page: *one, forget: true, skipped: one.missing()}
		var ok bool
		if r.position, ok = s.queue.Position(); !ok {
			return nil
		}
		if err := s.journal.write(&r, s.pages); err != nil {
			return err
		}
		if r.skipped > 0 {
			if err := s.queue.Skip(r.skipped); err != nil {
				return fmt.Errorf("number %d events of a page that never came: %w", r.skipped, err)
			}
		}
		s.missing += r.skipped
		if now.Sub(one.last) < s.pages.idle {
			s.evicted++
		}
		s.pages.forget(one.id)
	}
	return nil
}

// tick is called now and then.
func (s *stream) tick(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forget(now)
}

// tellAway says why there is no connection to the collector, each tellEvery at the
// most, and when there is one again.
func (s *stream) tellAway(now time.Time, logger *slog.Logger) {
	err := s.queue.Err()
	switch {
	case err == nil && s.away:
		logger.Info("the collector is there again", "stream", s.Name)
		s.away = false
	case err != nil && now.Sub(s.awayTold) >= tellEvery:
		logger.Warn("no connection to the collector: events are taken, and wait on disk; it is tried again", "stream", s.Name, "error", err)
		s.awayTold, s.away = now, true
	}
}

// close sends what waits, until ctx ends; the rest stays on disk.
func (s *stream) close(ctx context.Context) error {
	err := s.queue.Close(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.journal.close(), s.lock.Close())
}
