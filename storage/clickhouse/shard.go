package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lectern/lectern/storage"
)

// Journal is what a Store keeps on disk: the spool is one. Its methods are called
// by the goroutine that calls the Store.
type Journal interface {
	// Shard is what SetShard last kept, also by an earlier process, and empty
	// for nothing. Where it cannot be believed, that is storage.ErrShardDamaged.
	Shard() (string, error)
	// SetShard keeps it for good before it returns without an error.
	SetShard(string) error
	// Waiting returns the numbers up to through of blocks that are not stored.
	Waiting(through uint64) []uint64
	// Resend says whether a person wants a block to be sent again, whatever is
	// not known of it.
	Resend(number uint64) (bool, error)
	// Resent drops that wish, for good.
	Resent(number uint64) error
}

// A receipt and a token mean nothing on another shard: the block would be absent
// there, and its token new. So while it is not known of some block whether the
// shard has it, the collector belongs to that shard. Which one that is was written
// down before the first block was sent to it, and is told by what the server says
// of itself.

// shardUnknown is what no server says of itself: the collector has belonged to a
// shard, and nobody knows which.
const shardUnknown = "?"

// remember reads to which shard the collector belongs.
func (s *Store) remember() error {
	shard, err := s.o.Journal.Shard()
	if errors.Is(err, storage.ErrShardDamaged) {
		s.o.Logger.Error("clickhouse: to which shard this collector belongs is not known any more: blocks that may have been sent are not sent to any", "error", err)
		s.shard = shardUnknown
		return nil
	}
	s.shard = shard
	return err
}

// prepare connects, to the shard that the collector may not leave where there is
// one.
func (s *Store) prepare(ctx context.Context) error {
	want := ""
	if len(s.begun()) > 0 {
		want = s.shard
	}
	if err := s.server.prepare(ctx, want); err != nil {
		return err
	}
	return s.belong()
}

// begun returns the numbers of blocks of which something may be on the
// collector's shard and that are not known to be stored.
func (s *Store) begun() []uint64 {
	if s.shard == "" {
		return nil // nothing was ever sent anywhere
	}
	numbers := s.o.Journal.Waiting(s.o.Tried)
	for number, a := range s.attempts {
		if a.begun && number > s.o.Tried {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// belong sees to it that the connection is to the shard that the collector belongs
// to. Where it belongs to none any more, that is the one it has come to.
func (s *Store) belong() error {
	shard := s.server.shard()
	if shard == s.shard {
		return nil
	}
	var there []uint64
	for _, number := range s.begun() {
		wanted, err := s.o.Journal.Resend(number)
		if err != nil {
			return err
		}
		if !wanted {
			there = append(there, number)
		}
	}
	if len(there) > 0 {
		return s.strange(shard, there)
	}
	if err := s.o.Journal.SetShard(shard); err != nil {
		return err
	}
	if s.shard == "" {
		s.o.Logger.Info("clickhouse: the collector belongs to a shard from now on", "shard", shard)
	} else {
		s.o.Logger.Warn("clickhouse: blocks go to another shard from now on", "shard", shard, "before", s.shard)
	}
	s.shard = shard
	for _, a := range s.attempts { // those that a person released
		*a = attempt{begun: a.begun, tried: a.tried, doubted: true, inherited: true, began: a.began, given: a.given}
	}
	return nil
}

// strange is the refusal of another shard.
func (s *Store) strange(shard string, there []uint64) error {
	slices.Sort(there)
	belongs := "belongs to " + s.shard
	if s.shard == shardUnknown {
		belongs = "belongs to one that is not known any more"
	}
	return &problem{barredShard,
		fmt.Sprintf("this server is of another shard, %s: the collector %s, and %d blocks may be there already, from block %d on", shard, belongs, len(there), there[0]),
		"let clickhouse.address name the replicas of that one shard, or set clickhouse.cluster; where the shard is gone for good, \"lectern spool resend\" says what it risks"}
}

// noJournal is kept by this process alone.
type noJournal struct{ shard string }

func (j *noJournal) Shard() (string, error)      { return j.shard, nil }
func (j *noJournal) SetShard(shard string) error { j.shard = shard; return nil }
func (*noJournal) Waiting(uint64) []uint64       { return nil }
func (*noJournal) Resend(uint64) (bool, error)   { return false, nil }
func (*noJournal) Resent(uint64) error           { return nil }
