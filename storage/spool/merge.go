package spool

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/lectern/lectern/storage"
)

// mergeBytesMax is the size above which runs are not merged any more. Rows of
// the same minute are near each other in time, so that merging gains little
// after the first times; and each time is a copy.
const mergeBytesMax = 256 << 20

// Merge adds up waiting runs that no store has seen, as long as there are eight
// of about the same size, so that an outage costs disk by distinct keys. It may
// run beside everything else, and meanwhile Oldest passes over the runs in
// question. It takes memory for a few thousand rows. When ctx ends it gives up
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
		if size > s.quota.free()-s.o.LogSize-s.snapshot-int64(rowsWaiting(s.waiting))*rowSize {
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
	var through uint64
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
		through = max(through, r.name.through)
		window = addWindow(window, r.window)
	}
	for i := range books {
		books[i].Spans = storage.CompactSpans(books[i].Spans)
	}
	w, err := s.newRun(books, size+booksSize(books))
	if err != nil {
		return err
	}
	return w.publish(m.write(ctx, w), window, through, runs)
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
		if n%chunkRows == 0 && ctx.Err() != nil {
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

// cursor reads the rows of a run one after the other.
type cursor struct {
	f     File
	run   *run
	block int // of chunks, when there are any
	in    *chunks
	rows  []byte
	row   storage.Row
}

// readBooks adds the run's books to sums. The checksum is seen to when the rows
// before them have been read.
func (c *cursor) readBooks(sums *[]storage.Book) error {
	e := &c.run.blocks[0]
	at := e.at + int64(e.rows)*rowSize
	b := make([]byte, e.at+e.length-at)
	if _, err := c.f.ReadAt(b, at); err != nil && len(b) > 0 {
		return readError("the books", err)
	}
	books, ok := getBooks(b, e.books)
	if !ok {
		return damage("the books do not fit")
	}
	*sums = addBooks(*sums, books)
	return nil
}

// next reads the next row into c.row, false at the end.
func (c *cursor) next() (bool, error) {
	for len(c.rows) == 0 {
		if c.in != nil && c.in.left == 0 {
			if _, err := c.in.books(); err != nil {
				return false, err
			}
			c.in = nil
			c.block++
		}
		if c.block == len(c.run.blocks) {
			return false, nil
		}
		if c.in == nil {
			c.in = newChunks(c.f, &c.run.blocks[c.block])
		}
		var err error
		if c.rows, err = c.in.next(); err != nil {
			return false, err
		}
	}
	c.row = getRow(c.rows)
	c.rows = c.rows[rowSize:]
	return true, nil
}
