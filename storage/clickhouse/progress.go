package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/lectern/lectern/storage"
)

// A part that one replica has, the others fetch: its entry in the log of the shard
// was written in the same transaction as the part. So an absent receipt proves that
// a block is nowhere where the replica that was asked has done all that the log had
// before. While the replica that has the part is away, its entry cannot be done, and
// stays; when that replica is dropped from Keeper, the others give the part up, and
// the entry goes.

// progress is how far a replica has followed the log of its shard.
type progress struct {
	replica string        // its name in Keeper
	logged  uint64        // entries of the log, done or not
	copied  uint64        // of these, from the first on: those that it has put in its queue
	oldest  uint64        // number of the oldest part in its queue that it has to fetch; none: the largest there is
	newest  uint64        // and of the newest; none: 0
	late    time.Duration // how long a part may be unseen, though nothing here says so
}

// mark is how far a replica has to come.
type mark struct {
	replica string
	at      time.Time
	logged  uint64 // entries of the log that have to be copied
	copied  bool   // they are
	queued  uint64 // parts below this number have to be fetched then
}

// passed says whether the replica has done all that the log had when the mark was
// made. Another replica begins anew. So does a mark that is old, unless what was
// given up was at its end when it was made: an insert may have landed since, and its
// token be forgotten.
func (m *mark) passed(p progress, now, given time.Time) bool {
	stale := since(m.at, now) > endedOnReplicas && m.at.Sub(given) < endedOnReplicas
	if m.at.IsZero() || m.replica != p.replica || stale {
		*m = mark{replica: p.replica, at: now, logged: p.logged}
	}
	if !m.copied && p.copied >= m.logged {
		m.copied, m.queued = true, p.newest+1
	}
	return m.copied && p.oldest >= m.queued && now.Sub(m.at) >= p.late
}

// since is how much time has passed at least for others: a machine that sleeps may
// stop the one clock, and somebody may set the other one back.
func since(then, now time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

// follow finds out whether an absent receipt is a proof. On a table that is not
// replicated it always is one.
func (s *Store) follow(ctx context.Context, b *storage.Block, a *attempt) error {
	a.proved = !s.server.replicated()
	if a.proved {
		return nil
	}
	p, err := s.server.progress(ctx, b)
	if err != nil {
		return err
	}
	a.proved = a.mark.passed(p, s.o.Clock(), a.given)
	return nil
}

// sharedLate is how long a part may be unseen by a server of ClickHouse Cloud, whose
// tables have one set of parts for all servers and no log.
const sharedLate = time.Minute

func (n *native) progress(ctx context.Context, b *storage.Block) (p progress, err error) {
	if n.tables.shared() {
		return progress{replica: n.tables.server, oldest: math.MaxUint64, late: sharedLate}, nil
	}
	of := " WHERE database = " + text(n.o.Database) + " AND table = 'reads'"
	rows, err := n.c.texts(ctx, n.o.AnswerMax, "SELECT replica_name, toString(log_max_index), toString(log_pointer), "+
		"if(is_readonly OR is_session_expired, 'it has no session with Keeper', zookeeper_exception) FROM system.replicas"+of, 4)
	if err != nil {
		return p, err
	}
	if len(rows) != 1 || rows[0][3] != "" {
		return p, fmt.Errorf("clickhouse: %s does not say how far it has followed the other replicas: %q", n.c.address, rows)
	}
	largest, failed := strconv.ParseUint(rows[0][1], 10, 64)
	copied, also := strconv.ParseUint(rows[0][2], 10, 64)
	if err := errors.Join(failed, also); err != nil {
		return p, fmt.Errorf("clickhouse: %s: %w", n.c.address, err)
	}
	p = progress{replica: rows[0][0], logged: largest + 1, copied: copied}
	if largest == 0 && copied == 0 {
		// The log has one entry or none.
		if p.logged, err = n.entries(ctx); err != nil {
			return p, err
		}
	}
	// Asked for behind the log: what has been copied by then is among it.
	p.oldest, p.newest, err = n.queue(ctx, b)
	return p, err
}

// queue returns the numbers of the oldest and the newest part of a block's day that
// the replica has to fetch yet.
func (n *native) queue(ctx context.Context, b *storage.Block) (oldest, newest uint64, err error) {
	number := "toUInt64OrZero(extract(node_name, '[0-9]+$'))"
	day := time.Unix(int64(dayOf(b))*secondsPerDay, 0).UTC().Format("20060102")
	query := fmt.Sprintf("SELECT minOrDefault(%s), maxOrDefault(%s), count() FROM system.replication_queue WHERE database = %s AND table = 'reads' "+
		"AND type IN ('GET_PART', 'ATTACH_PART') AND startsWith(new_part_name, %s)", number, number, text(n.o.Database), text(day))
	var waiting uint64
	err = n.c.row(ctx, n.o.AnswerMax, query, &oldest, &newest, &waiting)
	if waiting == 0 {
		oldest = math.MaxUint64
	}
	return oldest, newest, err
}

// entries is how many entries the log of the shard has.
func (n *native) entries(ctx context.Context) (count uint64, err error) {
	err = n.c.row(ctx, n.o.AnswerMax, "SELECT toUInt64(sum(numChildren)) FROM system.zookeeper WHERE path = "+text(n.tables.keeper)+" AND name = 'log'", &count)
	return count, err
}
