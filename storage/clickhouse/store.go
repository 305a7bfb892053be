package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lectern/lectern/storage"
)

// Store brings blocks to ClickHouse. It implements storage.Store.
type Store struct {
	o        Options
	server   server
	attempts map[uint64]*attempt // by block number; those of parked and unsure blocks stay
	shard    string              // that the collector belongs to; empty before anything was sent
	opened   time.Time
	meters   meters

	absentFor, endedFor time.Duration // tests make them short
}

// Open returns a Store. It does not connect: ClickHouse may be away. An error says
// that the options are wrong, or that the journal cannot be read.
func Open(o Options) (*Store, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	return open(o, newNative(o))
}

func open(o Options, n server) (*Store, error) {
	s := &Store{
		o: o, server: n, attempts: make(map[uint64]*attempt), opened: o.Clock(),
		meters: register(o.Metrics), absentFor: absentFor, endedFor: endedFor,
	}
	if err := s.remember(); err != nil {
		return nil, fmt.Errorf("clickhouse: to which shard the collector belongs: %w", err)
	}
	return s, nil
}

// LastNumber implements storage.Store. An error is storage.ErrAway, or it is
// storage.ErrBarred and says what is wrong with the tables or with the access to
// them, and what fixes it.
func (s *Store) LastNumber(ctx context.Context) (uint64, error) {
	err := s.prepare(ctx)
	var last uint64
	if err == nil {
		last, err = s.server.last(ctx)
	}
	if err == nil {
		return last, nil
	}
	if _, err = s.failed(err); errors.Is(err, storage.ErrBarred) {
		return 0, err
	}
	return 0, fmt.Errorf("%w: %w", storage.ErrAway, err)
}

// Store implements storage.Store. When ctx ends during an insert, the connection
// is closed as if the process had ended; the next one looks for the receipt.
func (s *Store) Store(ctx context.Context, b *storage.Block) (storage.Answer, error) {
	if err := ctx.Err(); err != nil {
		return storage.Retry, err
	}
	if err := check(b, s.o.Collector); err != nil {
		return storage.Never, fmt.Errorf("clickhouse: block %d is malformed: %w", b.Number, err)
	}
	if err := s.prepare(ctx); err != nil {
		return s.failed(err)
	}
	a := s.attempts[b.Number]
	if a == nil {
		a = new(attempt)
		if b.Number <= s.o.Tried {
			// By a process that has ended, in whatever way.
			*a = attempt{begun: true, tried: true, doubted: true, inherited: true, began: s.opened, given: s.opened}
		}
		s.attempts[b.Number] = a
	}
	answer, err := s.bring(ctx, b, a)
	if answer == storage.Stored {
		delete(s.attempts, b.Number)
		if err := s.settled(b.Number, a); err != nil {
			s.o.Logger.Warn("clickhouse: the wish to send a block again stays, though it is stored; it changes nothing", "block", b.Number, "error", err)
		}
	}
	return answer, err
}

// settled drops a wish to send the block again that was not needed.
func (s *Store) settled(number uint64, a *attempt) error {
	if !a.doubted {
		return nil
	}
	return s.o.Journal.Resent(number)
}

// Close closes the connection.
func (s *Store) Close() error {
	s.server.drop()
	return nil
}

// check says what is wrong with a block, before it could be in the table so.
func check(b *storage.Block, collector uint64) error {
	r, n := &b.Rows, b.Rows.Len()
	same := len(r.Minute) == n && len(r.Content) == n && len(r.User) == n && len(r.Opens) == n && len(r.Reads) == n &&
		len(r.Finishes) == n && len(r.Saves) == n && len(r.Shares) == n && len(r.Dwell) == n && len(r.Progress) == n &&
		len(r.First) == n && len(r.Last) == n && len(r.Coarse) == n && len(r.Skipped) == n &&
		len(r.Impressions) == n && len(r.Clicks) == n && len(r.Variant) == n && len(r.Resume) == n && len(r.ResumeLag) == n
	switch {
	case b.Number == 0:
		return errors.New("it has no number")
	case b.Collector != collector:
		return fmt.Errorf("it is of collector %016x, not %016x", b.Collector, collector)
	case !same:
		return errors.New("its columns are not of one length")
	case n > storage.BlockRowsMax:
		return fmt.Errorf("%d rows are more than one part takes for sure, %d", n, storage.BlockRowsMax)
	}
	from := b.Day * secondsPerDay
	for i, minute := range r.Minute {
		if minute-from >= secondsPerDay {
			return fmt.Errorf("row %d is not of its day", i)
		}
	}
	for i := 1; i < n; i++ {
		if r.Stream[i] < r.Stream[i-1] {
			return fmt.Errorf("row %d is not in order", i)
		}
	}
	if n > 0 && r.Stream[n-1] == streamReserved {
		return errors.New("it has a row of the stream of receipts")
	}
	return nil
}
