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
	// tables can keep the promise.
	prepare(ctx context.Context) error
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
	// last is the largest number of a receipt of this collector.
	last(ctx context.Context) (uint64, error)
	// drop closes the connection.
	drop()
}

// attempt is what is known of the inserts of one block that is not stored yet.
type attempt struct {
	tried      bool      // an insert may have been sent
	inherited  bool      // by an earlier process, under a token of a generation that is not known yet
	booked     bool      // for this generation
	generation uint64    // of the token
	began      time.Time // when the last insert began that got no clean answer; zero for none
	given      time.Time // when it was given up
	denied     bool      // the token was answered with success, and left no receipt
	absent     time.Time // since when no receipt has been read, after that
}

// Before a block gets another token, so that a server takes it that says it has
// it already: the receipt is absent twice, absentFor apart; no insert of the
// block is running; and what was ever sent without an answer is surely at its
// end, since the server has been restarted or so much time has passed. A token
// is spent for nothing only when ClickHouse was killed between writing its log
// and renaming the part, so this waits in none but that rare case.
const (
	absentFor = 2 * time.Second
	endedFor  = time.Minute
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
		// Asked before the receipt: what ends between the two questions is seen
		// by the second.
		running, err := s.server.running(ctx, tokenPrefix(b))
		if err != nil {
			return s.failed(err)
		}
		if running {
			return storage.Retry, fmt.Errorf("clickhouse: an earlier insert of block %d is still running: it is left to its end", b.Number)
		}
	}
	if found, answer, err := s.look(ctx, b); found || err != nil {
		return answer, err
	}
	if a.denied {
		ready, err := s.mayRenew(ctx, b, a)
		if err != nil {
			return s.failed(err)
		}
		if ready {
			// Or every block would be sent again and again.
			hidden, err := s.server.hidden(ctx)
			if err != nil {
				return s.failed(err)
			}
			if hidden {
				return s.failed(&problem{fmt.Sprintf("block %d was answered with success, and no receipt of any block can be read", b.Number),
					fmt.Sprintf("let the user see the rows of stream %d, which a row policy may hide", streamReserved)})
			}
		}
		if !ready {
			return storage.Retry, fmt.Errorf("clickhouse: block %d was answered with success and has no receipt: its token may be spent; it gets another when it is sure that no insert of it is under way", b.Number)
		}
		*a = attempt{tried: true, generation: a.generation + 1, began: a.began, given: a.given}
		s.meters.renewed.Inc()
		s.o.Logger.Warn("clickhouse: a block that was answered with success is not there: it is sent under another token", "block", b.Number, "token", a.token(b))
	}
	if answer, err := s.book(ctx, b, a); err != nil {
		return answer, err
	}
	return s.send(ctx, b, a)
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
	a.tried = true
	began := s.o.Clock()
	err := s.server.insert(ctx, b, a.token(b))
	s.meters.inserts.Inc()
	if err != nil {
		a.began, a.given = began, s.o.Clock()
		s.meters.unsure.Inc()
		return s.refused(ctx, err)
	}
	if found, answer, err := s.look(ctx, b); found || err != nil {
		return answer, err
	}
	a.denied, a.absent = true, s.o.Clock()
	s.meters.denied.Inc()
	return storage.Retry, fmt.Errorf("clickhouse: block %d was answered with success and has no receipt: it is looked for again", b.Number)
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
func (s *Store) mayRenew(ctx context.Context, b *storage.Block, a *attempt) (bool, error) {
	now := s.o.Clock()
	if s.server.replicated() || now.Sub(a.absent) < s.absentFor {
		// On a replica the receipt may only be late, and the tokens are kept in
		// the same transaction as the part: none is spent for nothing.
		return false, nil
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
	if why := s.server.prepare(ctx); why != nil {
		return s.failed(why)
	}
	return storage.Never, err
}
