package spool

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/vfs"
)

// mergeBytesMax is the size above which runs are not merged any more. Rows of
// the same minute are near each other in time, so that merging gains little
// after the first times; and each time is a copy.
const mergeBytesMax = 256 << 20

// Merge adds up waiting runs that no store has seen, as long as there are eight
// of about the same size, so that an outage costs disk by distinct keys. It may
// run beside everything else, and meanwhile Oldest passes over the runs in
// question. It takes the memory of a block of each. When ctx ends it gives up
// what it has not finished and returns nil.
func (s *Spool) Merge(ctx context.Context) error {
	for {
		runs := s.pickMerge()
		if runs == nil {
			return nil
		}
		err := s.mergeRuns(ctx, runs)
		unread := errors.Is(err, errDamaged) || errors.Is(err, errRead)
		s.mu.Lock()
		for _, r := range runs {
			r.merging = false
			r.tried = r.tried || unread // not again: Oldest will find it out and report it
		}
		s.mu.Unlock()
		s.token()
		if unread {
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("spool: merge %d runs: %w", len(runs), err)
		}
		s.meters.merges.Inc()
		s.tidy()
	}
}

// pickMerge chooses runs of one class and marks them.
func (s *Spool) pickMerge() []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	classes := map[int][]*run{}
	for _, r := range s.runs {
		if !r.durable || r.tried || r.merging || len(r.replaced) > 0 || r.size > mergeBytesMax {
			continue
		}
		class := append(classes[r.class()], r)
		classes[r.class()] = class
		if len(class) < s.o.mergeAt {
			continue
		}
		var size int64
		for _, m := range class {
			size += m.size
		}
		if size > s.quota.free()-s.o.LogSize-s.snapshot-waitingBytes(s.waiting) {
			return nil // there is no room for both
		}
		for _, m := range class {
			m.merging = true
		}
		return class
	}
	return nil
}

// mergeRuns writes one run of several.
func (s *Spool) mergeRuns(ctx context.Context, runs []*run) error {
	m := merger{cursors: make([]*cursor, 0, len(runs))}
	defer m.close()
	var size int64
	var covers coverage
	var window storage.Window
	var books []storage.Book
	for _, r := range runs {
		f, err := s.files.Open(s.path(r.name.String()))
		if err != nil {
			return err
		}
		c := &cursor{f: f, run: r}
		m.cursors = append(m.cursors, c)
		if err := c.readBooks(&books); err != nil {
			return err
		}
		size += r.size
		covers = covers.with(r.name.coverage)
		window = addWindow(window, r.window)
	}
	for i := range books {
		books[i].Spans = storage.CompactSpans(books[i].Spans)
	}
	w, err := s.newRun(books, size+booksSize(books))
	if err != nil {
		return err
	}
	return w.publish(m.write(ctx, w), window, func() coverage { return covers }, runs)
}

// merger reads several runs in the order of their keys.
type merger struct {
	cursors []*cursor
	row     storage.Row // added up, not written yet
	any     bool
}

func (m *merger) close() {
	for _, c := range m.cursors {
		_ = c.f.Close() // it was only read
	}
}

// write writes the rows of all cursors, those of the same key added up.
func (m *merger) write(ctx context.Context, w *runWriter) error {
	live := make([]*cursor, 0, len(m.cursors))
	for _, c := range m.cursors {
		more, err := c.next()
		if err != nil {
			return err
		}
		if more {
			live = append(live, c)
		}
	}
	for n := 0; len(live) > 0; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		least := 0
		for i := 1; i < len(live); i++ {
			if storage.CompareKeys(&live[i].row, &live[least].row) < 0 {
				least = i
			}
		}
		c := live[least]
		if err := m.add(&c.row, w); err != nil {
			return err
		}
		more, err := c.next()
		if err != nil {
			return err
		}
		if !more {
			live = append(live[:least], live[least+1:]...)
		}
	}
	if !m.any {
		return nil
	}
	return w.row(&m.row)
}

// add adds a row to the one that waits where it has the same key.
func (m *merger) add(r *storage.Row, w *runWriter) error {
	if m.any && storage.CompareKeys(&m.row, r) == 0 && m.row.Events()+r.Events() <= math.MaxUint32 {
		m.row.Add(r)
		return nil
	}
	if m.any {
		if err := w.row(&m.row); err != nil {
			return err
		}
	}
	m.row, m.any = *r, true
	return nil
}

// cursor reads the rows of a run one after the other, and has one block of it in
// memory.
type cursor struct {
	f     vfs.File
	run   *run
	block int // the next one
	in    *blockBody
	left  uint32 // rows of in
	row   storage.Row
}

// readBooks adds the run's books, which are behind the rows of its first block, to
// sums.
func (c *cursor) readBooks(sums *[]storage.Book) error {
	if err := c.begin(); err != nil {
		return err
	}
	ahead, row := *c.in, storage.Row{}
	for range c.left {
		if err := ahead.next(&row); err != nil {
			return err
		}
	}
	books, err := ahead.books()
	*sums = addBooks(*sums, books)
	return err
}

// begin reads the block that is next.
func (c *cursor) begin() (err error) {
	c.in, err = readBody(c.f, &c.run.blocks[c.block])
	c.left = c.run.blocks[c.block].rows
	c.block++
	return err
}

// next reads the next row into c.row, false at the end.
func (c *cursor) next() (bool, error) {
	for c.left == 0 {
		if c.block == len(c.run.blocks) {
			return false, nil
		}
		if err := c.begin(); err != nil {
			return false, err
		}
	}
	c.left--
	return true, c.in.next(&c.row)
}
