package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/lectern/lectern/storage"
)

// server is what bringing a block to ClickHouse needs of it. Tests put one in
// that loses answers, and worse. An error that is no clean answer says nothing
// of what happened.
type server interface {
	// prepare connects where there is no connection, and looks whether the
	// tables can keep the promise. Of several servers it takes one of the shard
	// that is wanted, if it finds one; of any where that is empty.
	prepare(ctx context.Context, want string) error
	// shard is what the connected server says of the shard that it is of: the
	// same for all replicas, and for no table elsewhere.
	shard() string
	// receipts counts a block's receipts, and those of other blocks by its name.
	receipts(ctx context.Context, b *storage.Block) (mine, others uint64, err error)
	// book writes a block's books, and the generation of the token that the
	// block is sent under next; doing it again replaces them.
	book(ctx context.Context, b *storage.Block, generation uint64) error
	// generation is the largest that was booked for a block, 0 for none.
	generation(ctx context.Context, b *storage.Block) (uint64, error)
	// insert sends a block with its receipt. No error means that the server
	// answered with success.
	insert(ctx context.Context, b *storage.Block, token string) error
	// running says whether an insert is running whose token begins so.
	running(ctx context.Context, prefix string) (bool, error)
	// up is how long the server has been running, rounded down to seconds.
	up(ctx context.Context) (time.Duration, error)
	// hidden says that the table has rows, and no receipt of any block among
	// those that this user may see.
	hidden(ctx context.Context) (bool, error)
	// replicated says that the table is one of several replicas.
	replicated() bool
	// progress is how far the connected replica has followed the others, of what
	// concerns the day of a block.
	progress(ctx context.Context, b *storage.Block) (progress, error)
	// last is the largest number of a receipt of this collector.
	last(ctx context.Context) (uint64, error)
	// drop closes the connection.
	drop()
}

// attempt is what is known of the inserts of one block that is not stored yet.
type attempt struct {
	begun      bool      // something of it may be on the server, if only its books
	tried      bool      // an insert may have been sent
	doubted    bool      // it was answered that nobody knows whether it is there
	inherited  bool      // by an earlier process, under a token of a generation that is not known yet
	booked     bool      // for this generation
	generation uint64    // of the token
	began      time.Time // when the last insert began that got no clean answer; zero for none
	given      time.Time // when it was given up
	denied     bool      // the token was answered with success, and left no receipt
	absent     time.Time // since when no receipt has been read, after that
	mark       mark      // what the replica has to have done until an absent receipt is a proof
	proved     bool      // it has
}

// Before a block gets another token, so that a server takes it that says it has
// it already: the receipt is absent twice, absentFor apart; no insert of the
// block is running; and what was ever sent without an answer is surely at its
// end, since the server has been restarted or so much time has passed. A token
// is spent for nothing only when ClickHouse was killed between writing its log
// and renaming the part, or when the replica that had the part is gone for good,
// so this waits in none but these rare cases. Among replicas the server may not be
// the one at which the insert is still under way: time alone tells.
const (
	absentFor       = 2 * time.Second
	endedFor        = time.Minute
	endedOnReplicas = 10 * time.Minute
)

func (a *attempt) token(b *storage.Block) string {
	return fmt.Sprintf("%s%08x/%d", tokenPrefix(b), b.Checksum, a.generation)
}

// tokenPrefix begins every token of a block.
func tokenPrefix(b *storage.Block) string {
	return fmt.Sprintf("lectern/%016x/%d/", b.Collector, b.Number)
}

// bring does the next thing for a block: it looks for its receipt, and sends it
// where that is surely absent. It is called until it says Stored or Never.
func (s *Store) bring(ctx context.Context, b *storage.Block, a *attempt) (storage.Answer, error) {
	if a.tried {
		// Both are asked before the receipt: what ends between the questions is
		// seen by the last one.
		running, err := s.server.running(ctx, tokenPrefix(b))
		if err != nil {
			return s.failed(err)
		}
		if running {
			return a.doubt(fmt.Errorf("clickhouse: an earlier insert of block %d is still running: it is left to its end", b.Number))
		}
		if err := s.follow(ctx, b, a); err != nil {
			return s.failed(err)
		}
	}
	if found, answer, err := s.look(ctx, b); found || err != nil {
		return answer, err
	}
	why, err := s.wait(ctx, b, a)
	if err != nil {
		return s.failed(err)
	}
	again := false
	if why != nil {
		if again, err = s.o.Journal.Resend(b.Number); err != nil {
			return storage.Retry, err
		}
		if !again {
			return a.doubt(why)
		}
		s.o.Logger.Warn("clickhouse: a person has a block sent again, of which it is not known whether it is there", "block", b.Number, "because", why)
	}
	if again || a.denied {
		if err := s.renew(ctx, b, a); err != nil {
			return s.failed(err)
		}
	}
	if answer, err := s.book(ctx, b, a); err != nil {
		return answer, err
	}
	if again {
		// Once: before it is sent, and when its new token is booked.
		if err := s.o.Journal.Resent(b.Number); err != nil {
			return storage.Retry, err
		}
	}
	return s.send(ctx, b, a)
}

// doubt is the answer while it is not known whether the block is there.
func (a *attempt) doubt(why error) (storage.Answer, error) {
	a.doubted = true
	return storage.Unsure, why
}

// wait says why a block may not be sent yet, nil where it may: its receipt has
// just been read as absent, and that is a proof, or may not be one.
func (s *Store) wait(ctx context.Context, b *storage.Block, a *attempt) (why, err error) {
	if a.denied {
		ready, err := s.mayRenew(ctx, a)
		if ready || err != nil {
			return nil, err
		}
		return fmt.Errorf("clickhouse: block %d was answered with success and has no receipt: its token may be spent, or a replica that is away may have it; "+
			"it gets another token when it is sure that it is nowhere, and no insert of it under way", b.Number), nil
	}
	if a.tried && !a.proved {
		return fmt.Errorf("clickhouse: block %d may be on another replica, which this one has not followed so far: it is looked for again", b.Number), nil
	}
	return nil, nil
}

// renew gives the block another token.
func (s *Store) renew(ctx context.Context, b *storage.Block, a *attempt) error {
	// Or every block would be sent again and again.
	hidden, err := s.server.hidden(ctx)
	if err != nil {
		return err
	}
	if hidden {
		return &problem{barredTables, fmt.Sprintf("block %d was answered with success, and no receipt of any block can be read", b.Number),
			fmt.Sprintf("let the user see the rows of stream %d, which a row policy may hide", streamReserved)}
	}
	if a.inherited {
		if a.generation, err = s.server.generation(ctx, b); err != nil {
			return err
		}
	}
	*a = attempt{begun: true, tried: true, doubted: true, generation: a.generation + 1, began: a.began, given: a.given}
	s.meters.renewed.Inc()
	s.o.Logger.Warn("clickhouse: a block that was answered with success, or may have been, is not there: it is sent under another token", "block", b.Number, "token", a.token(b))
	return nil
}

// book writes the block's books. A generation behind the first is booked before
// it is used, and read back: another process must not go on under an older token
// while an insert under this one is under way.
func (s *Store) book(ctx context.Context, b *storage.Block, a *attempt) (storage.Answer, error) {
	if a.inherited {
		generation, err := s.server.generation(ctx, b)
		if err != nil {
			return s.failed(err)
		}
		a.generation, a.inherited = generation, false
	}
	if a.booked {
		return storage.Stored, nil
	}
	a.begun = true
	if err := s.server.book(ctx, b, a.generation); err != nil {
		return s.refused(ctx, err)
	}
	if a.generation > 0 {
		booked, err := s.server.generation(ctx, b)
		if err != nil {
			return s.failed(err)
		}
		if booked != a.generation {
			return storage.Retry, fmt.Errorf("clickhouse: the books of block %d do not show after they were written: they are written again", b.Number)
		}
	}
	a.booked = true
	return storage.Stored, nil
}

// send inserts the block and looks for its receipt.
func (s *Store) send(ctx context.Context, b *storage.Block, a *attempt) (storage.Answer, error) {
	a.tried, a.mark, a.proved = true, mark{}, false
	began := s.o.Clock()
	err := s.server.insert(ctx, b, a.token(b))
	s.meters.inserts.Inc()
	if err != nil {
		a.began, a.given = began, s.o.Clock()
		s.meters.unsure.Inc()
		answer, err := s.refused(ctx, err)
		if is, _ := classify(err); is == unsure && answer == storage.Retry && ctx.Err() == nil {
			return a.doubt(fmt.Errorf("%w: %w", storage.ErrAway, err))
		}
		return answer, err
	}
	if found, answer, err := s.look(ctx, b); found || err != nil {
		return answer, err
	}
	a.denied, a.absent = true, s.o.Clock()
	s.meters.denied.Inc()
	return a.doubt(fmt.Errorf("clickhouse: block %d was answered with success and has no receipt: it is looked for again", b.Number))
}

// look looks for the block's receipt. Found says that this decides it.
func (s *Store) look(ctx context.Context, b *storage.Block) (found bool, answer storage.Answer, err error) {
	mine, others, err := s.server.receipts(ctx, b)
	if err != nil {
		answer, err = s.failed(err)
		return false, answer, err
	}
	if others > 0 {
		s.meters.foreign.Inc()
		s.o.Logger.Error("clickhouse: the table has another block by this one's name: two daemons work with copies of one spool", "collector", fmt.Sprintf("%016x", b.Collector), "block", b.Number)
		if mine == 0 {
			return true, storage.Never, fmt.Errorf("clickhouse: block %d of collector %016x is in the table with other rows: another daemon uses a copy of this spool. "+
				"Stop one of them, move its spool away and start it again; \"lectern spool export\" writes what the table does not have", b.Number, b.Collector)
		}
	}
	if mine > 1 {
		s.meters.duplicates.Inc()
		s.o.Logger.Error("clickhouse: a block is in the table more than once; docs/QUERIES.md says how to find its rows", "collector", fmt.Sprintf("%016x", b.Collector), "block", b.Number, "times", mine)
	}
	return mine > 0, storage.Stored, nil
}

// mayRenew says whether the block may get another token. Its receipt has just
// been read as absent.
func (s *Store) mayRenew(ctx context.Context, a *attempt) (bool, error) {
	now := s.o.Clock()
	if !a.proved || now.Sub(a.absent) < s.absentFor {
		return false, nil
	}
	if s.server.replicated() {
		return a.began.IsZero() || now.Sub(a.given) >= endedOnReplicas, nil
	}
	if a.began.IsZero() || now.Sub(a.given) >= s.endedFor {
		return true, nil
	}
	up, err := s.server.up(ctx)
	if err != nil {
		return false, err
	}
	started := now.Add(-up - time.Second) // at the earliest
	return started.After(a.began), nil
}

// failed is the answer to an error of a connection or of a question, after which
// the connection is closed. None of these is about the block.
func (s *Store) failed(err error) (storage.Answer, error) {
	s.server.drop()
	if is, reason := classify(err); is == barred {
		s.meters.barred[reason].Inc()
		err = fmt.Errorf("%w: %w", storage.ErrBarred, err)
	}
	return storage.Retry, err
}

// refused is the answer to an error of an insert. The block is the cause only
// where the tables are still such as they were when the connection was made.
func (s *Store) refused(ctx context.Context, err error) (storage.Answer, error) {
	if is, _ := classify(err); is != faulty {
		return s.failed(err)
	}
	s.server.drop()
	if why := s.prepare(ctx); why != nil {
		return s.failed(why)
	}
	return storage.Never, err
}
