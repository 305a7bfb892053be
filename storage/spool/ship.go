package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/internal/format"
)

// Oldest is Next without a block that is passed over, and with memory of its own.
func (s *Spool) Oldest() (*storage.Block, bool, error) { return s.Next(nil, storage.Columns{}) }

// Next returns the oldest block that is neither stored nor parked nor passed over
// by pass, which may be nil; false where there is none. The block is the caller's,
// with its rows in memory that may have others. It is the same one again until
// Stored or Park, with the same bytes for ever. One that is damaged is reported and
// passed over; its file stays. One that the disk does not give now is passed over
// until the next call, and where there is no other, that is the error.
func (s *Spool) Next(pass func(number uint64) bool, memory storage.Columns) (*storage.Block, bool, error) {
	unread := s.skipped()
	most := len(unread) + unreadMax
	var failed error
	for {
		if err := s.settleNames(); err != nil {
			return nil, false, err
		}
		r, i := s.pick(unread, pass)
		if r == nil {
			if s.skip(nil) && failed == nil {
				failed = fmt.Errorf("spool: all blocks of %s that wait %w", s.o.Dir, format.ErrRead)
			}
			return nil, false, failed
		}
		number := r.Name.First + uint64(i)
		b, err := s.load(r, i, memory)
		if err == nil {
			return b, true, nil
		}
		if !errors.Is(err, format.ErrDamaged) {
			err = fmt.Errorf("spool: block %d in %s: %w", number, s.place.Path(r.Name.String()), err)
			failed = cmp.Or(failed, err)
			if unread = append(unread, r); len(unread) == most {
				s.skip(unread)
				return nil, false, failed
			}
			s.warn("a block cannot be read now; those behind it go on, and it will be tried again", err)
			continue
		}
		s.o.Logger.Error("spool: a block cannot be read and is passed over; its file is kept as .bad when the others of it are stored",
			"block", number, "file", s.place.Path(r.Name.String()), "rows", r.Blocks[i].Rows, "error", err)
		s.mu.Lock()
		first := !r.damaged()
		r.set(i, blockDamaged)
		done := r.done()
		s.mu.Unlock()
		if first {
			s.meters.damage.setAside.Inc()
		}
		if done {
			s.Tidy()
		}
	}
}

// unreadMax bounds the reads that fail in one call: each may take a dying disk
// some seconds. The next calls go on behind them, for unreadFor or until there is
// nothing behind.
const (
	unreadMax = 4
	unreadFor = time.Minute
)

// skipped returns the segments that are not tried now.
func (s *Spool) skipped() []*queued {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.Clock().Sub(s.skippedAt).Abs() >= unreadFor { // or the clock was set back
		s.unread = nil
	}
	return slices.Clone(s.unread)
}

// skip sets which segments are not tried for some time, and says whether there were any.
func (s *Spool) skip(unread []*queued) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := len(s.unread) > 0
	if !had {
		s.skippedAt = s.o.Clock()
	}
	s.unread = unread
	return had
}

// settleNames makes the names of segments durable where an earlier attempt failed, and
// sees that they are those of this spool.
func (s *Spool) settleNames() error {
	s.place.Lock()
	defer s.place.Unlock()
	if err := s.place.Present(); err != nil { // what is not there is not damaged
		return fmt.Errorf("spool: %w", err)
	}
	s.mu.Lock()
	durable := true
	for _, r := range s.queue {
		durable = durable && r.durable
	}
	s.mu.Unlock()
	if durable {
		return nil
	}
	if err := s.place.Sync(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// pick finds the oldest block that may be stored, is not in unread and not passed
// over, and marks its segment as tried.
func (s *Spool) pick(unread []*queued, pass func(number uint64) bool) (*queued, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.queue {
		if !r.durable || r.compacting || len(r.replaced) > 0 || slices.Contains(unread, r) {
			continue
		}
		for i, state := range r.states {
			if state == blockWaits && (pass == nil || !pass(r.Name.First+uint64(i))) {
				r.tried = true
				return r, i
			}
		}
	}
	return nil, 0
}

// load reads block i of a segment.
func (s *Spool) load(r *queued, i int, memory storage.Columns) (*storage.Block, error) {
	f, err := s.files.Open(s.place.Path(r.Name.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, format.Damage("the file is gone")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return r.Load(f, i, memory)
}

// Stored says that the store has a block for good. The error says that there is
// no such block. What cannot be removed now is removed later.
func (s *Spool) Stored(number uint64) error {
	s.mu.Lock()
	r, i := s.find(number)
	if r == nil {
		s.mu.Unlock()
		return fmt.Errorf("spool: there is no block %d to be stored", number)
	}
	r.set(i, blockStored)
	done := r.done()
	s.mu.Unlock()
	if done {
		s.Tidy()
	}
	return nil
}

// Park makes Next pass over a block that the store will not take, until Unpark
// or the next Open.
func (s *Spool) Park(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, i := s.find(number); r != nil && r.states[i] == blockWaits {
		r.set(i, blockParked)
	}
}

// Unpark gives parked blocks another try and returns how many there are.
func (s *Spool) Unpark() (n int) {
	s.eachLeft(func(q *queued, i int) {
		if q.states[i] == blockParked {
			q.set(i, blockWaits)
			n++
		}
	})
	if n > 0 {
		s.token()
	}
	return n
}

// Waiting returns the numbers up to through of blocks that are not stored, parked
// ones included.
func (s *Spool) Waiting(through uint64) (numbers []uint64) {
	s.eachLeft(func(q *queued, i int) {
		if number := q.Name.First + uint64(i); number <= through {
			numbers = append(numbers, number)
		}
	})
	return numbers
}

// find returns the segment of a block. The caller has mu.
func (s *Spool) find(number uint64) (*queued, int) {
	for _, r := range s.queue {
		if number >= r.Name.First && number <= r.Name.Last {
			return r, int(number - r.Name.First)
		}
	}
	return nil, 0
}
