package spool

import (
	"context"
	"errors"
	"fmt"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/internal/format"
	"github.com/lectern/lectern/storage/segment"
)

// compactBytesMax is the size above which segments are not compacted any more. Rows of
// the same minute are near each other in time, so that compacting gains little
// after the first times; and each time is a copy.
const compactBytesMax = 256 << 20

// compactNamesMax is how many bytes of names a segment may have to be compacted: they
// are in memory together, and go to the store with one block.
const compactNamesMax = 4 << 20

var errManyNames = errors.New("a segment has many names")

// Compact adds up waiting segments that no store has seen, as long as there are eight
// of about the same size, so that an outage costs disk by distinct keys. It may
// run beside everything else, and meanwhile Next passes over the segments in
// question. It reads a piece of each at a time, so that its memory does not depend on
// their size. When ctx ends it gives up what it has not finished and returns nil.
func (s *Spool) Compact(ctx context.Context) error {
	for {
		runs := s.pickCompact()
		if runs == nil {
			return nil
		}
		err := s.compact(ctx, runs)
		unread := errors.Is(err, format.ErrDamaged) || errors.Is(err, format.ErrRead)
		s.mu.Lock()
		for _, r := range runs {
			r.compacting = false
			r.tried = r.tried || unread // not again: Next will find it out and report it
		}
		s.mu.Unlock()
		s.token()
		if unread || errors.Is(err, errManyNames) {
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("spool: compact %d segments: %w", len(runs), err)
		}
		s.meters.compactions.Inc()
		s.Tidy()
	}
}

// pickCompact chooses segments of one class and marks them.
func (s *Spool) pickCompact() []*queued {
	s.mu.Lock()
	defer s.mu.Unlock()
	classes := map[int][]*queued{}
	for _, r := range s.queue {
		if !r.durable || r.tried || r.compacting || len(r.replaced) > 0 || r.Size > compactBytesMax {
			continue
		}
		class := append(classes[r.class()], r)
		classes[r.class()] = class
		if len(class) < s.o.compactAt {
			continue
		}
		var size int64
		for _, m := range class {
			size += m.Size
		}
		if size > s.place.Free()-s.o.LogSize-s.snapshot-waitingBytes(s.waiting) {
			return nil // there is no room for both
		}
		for _, m := range class {
			m.compacting = true
		}
		return class
	}
	return nil
}

// compact writes one segment of several.
func (s *Spool) compact(ctx context.Context, from []*queued) error {
	var cursors []*segment.Cursor
	var size int64
	var applied segment.Applied
	var window storage.Window
	var books []storage.Book
	for _, q := range from {
		f, err := s.files.Open(s.place.Path(q.Name.String()))
		if err != nil {
			return err
		}
		defer f.Close() // it is only read
		c, more, err := segment.NewCursor(f, q.Segment)
		if err != nil {
			return err
		}
		if storage.NamesCost(more) > compactNamesMax {
			s.mu.Lock()
			q.tried = true // not again
			s.mu.Unlock()
			return errManyNames
		}
		cursors, books = append(cursors, c), storage.AddBooks(books, more)
		size += q.Size
		applied = applied.With(q.Name.Applied)
		window = window.With(q.Window)
	}
	for i := range books {
		books[i].Compact()
	}
	w, err := s.newSegment(books, size+codec.BooksSize(books))
	if err != nil {
		return err
	}
	return w.publish(segment.Compact(ctx, cursors, w.Writer), window, func() segment.Applied { return applied }, from)
}
