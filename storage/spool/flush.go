package spool

import (
	"fmt"
	"math"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/codec"
	"github.com/lectern/lectern/storage/place"
	"github.com/lectern/lectern/storage/segment"
)

// Flush writes rows as numbered blocks, of one day and at most
// storage.BlockRowsMax rows each, which wait for the store from then on. Together
// with books and w they are what the mark says and no earlier Flush had. With an
// error nothing was flushed. The rows stay the caller's. Without rows and books no
// block is made.
func (s *Spool) Flush(rows *storage.Minutes, books []storage.Book, w storage.Window, m storage.Mark) error {
	if err := s.checkMark(m); err != nil {
		return err
	}
	if rows.Len() == 0 && len(books) == 0 {
		if err := s.flushNothing(m); err != nil {
			return err
		}
		s.Tidy()
		return nil
	}
	o, err := s.newSegment(books, s.segmentSize(rows.Len())+codec.BooksSize(books))
	if err == nil {
		err = o.publish(rows.Each(o.Row), w, func() segment.Applied { return s.after(m) }, nil)
	}
	if err != nil {
		return fmt.Errorf("spool: flush %d rows of the seals up to %d: %w", rows.Len(), m.Through, err)
	}
	s.Tidy()
	s.token()
	return nil
}

// segmentSize is about what rows take in a segment: no more than in their seals,
// but that the period and the content may be in front of each, and the counters and
// the last moment of those that were added up.
func (s *Spool) segmentSize(rows int) int64 {
	const more = codec.PeriodSize + 8 + 5 + 4
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(int64(rows)*codec.RowSizeMax, waitingBytes(s.waiting)+int64(rows)*more)
}

// checkMark says whether a mark can be flushed.
func (s *Spool) checkMark(m storage.Mark) error {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if s.closed {
		return errClosed
	}
	if m.Through > s.sealed {
		return fmt.Errorf("spool: seal %d cannot be flushed, the last one is %d", m.Through, s.sealed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if parted := m.Before != storage.All && s.applied.Divides(s.applied.Part); m.Through < s.applied.Part || m.Before > math.MaxUint32 && m.Before != storage.All || parted && m.Before < uint64(s.applied.Before) {
		return fmt.Errorf("spool: seal %d before minute %d cannot be flushed behind seal %d before minute %d", m.Through, m.Before, s.applied.Part, s.applied.Before)
	}
	return nil
}

// flushNothing notes that nothing is to be stored of what a mark says.
func (s *Spool) flushNothing(m storage.Mark) error {
	s.place.Lock()
	defer s.place.Unlock()
	if err := s.place.Sync(); err != nil { // what was flushed before is covered then
		return fmt.Errorf("spool: %w", err)
	}
	s.mu.Lock()
	s.cover(s.after(m))
	s.mu.Unlock()
	return nil
}

// segmentFile is a segment that is being written.
type segmentFile struct {
	*segment.Writer
	s     *Spool
	draft *place.Draft
}

// newSegment begins a segment of about that many bytes, with these books.
func (s *Spool) newSegment(books []storage.Book, size int64) (*segmentFile, error) {
	s.place.Lock()
	defer s.place.Unlock()
	draft, err := s.place.Draft(size + segment.Overhead)
	if err != nil {
		return nil, err
	}
	return &segmentFile{segment.NewWriter(draft, books, s.o.blockRows, size), s, draft}, nil
}

// publish ends the segment, or gives it up where failed is not nil: it numbers the
// blocks and gives the file its name. covers is asked, with mu held, what segments
// cover with this one. The compacted segments are not in the list afterwards.
func (w *segmentFile) publish(failed error, window storage.Window, covers func() segment.Applied, compacted []*queued) error {
	if err := w.finish(failed, window, covers, compacted); err != nil {
		w.draft.Discard()
		return err
	}
	_ = w.draft.Close() // Sync said what there is to say
	return nil
}

func (w *segmentFile) finish(failed error, window storage.Window, covers func() segment.Applied, compacted []*queued) error {
	if failed != nil {
		return failed
	}
	blocks, err := w.End() // it syncs the bulk, before anybody is kept waiting
	if err != nil {
		return err
	}
	s := w.s
	s.place.Lock()
	defer s.place.Unlock()
	if err := s.noteUnchecked(); err != nil {
		return err
	}
	s.mu.Lock()
	first, all := s.last+1, covers()
	s.mu.Unlock()
	names := make([]segment.Name, len(compacted))
	for i, m := range compacted {
		names[i] = m.Name
	}
	written, err := w.Name(segment.Header{
		Collector: s.collector, Name: segment.Name{First: first, Last: first + uint64(blocks) - 1, Applied: all},
		Window: window, Created: s.o.Clock().UnixMilli(),
	}, names)
	if err != nil {
		return err
	}
	r := newQueued(written)
	for i, m := range compacted {
		r.replaced[i].size = m.Size
	}
	if err := w.draft.Publish(r.Name.String(), r.Size); err != nil {
		return err
	}
	s.mu.Lock()
	s.last = r.Name.Last
	for _, m := range compacted {
		s.drop(m)
	}
	r.oldest = r.Name.First
	for _, m := range compacted {
		r.oldest = min(r.oldest, m.oldest)
	}
	s.queue = append(s.queue, r)
	s.mu.Unlock()
	if err := s.place.Sync(); err != nil {
		// It is there; nothing is built on it before a later sync succeeds.
		s.warn("the name of a segment is not durable yet", err)
	}
	return nil
}
