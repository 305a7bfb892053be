package clickhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
)

// native is a server behind ch-go.
type native struct {
	o      Options
	dialer dialer
	c      *connection // nil where there is none
	tables tables      // what prepare found
	next   int         // the address that is tried first

	// Of a cluster:
	servers []clusterServer // as they were last told
	asked   time.Time       // when that was
}

func newNative(o Options) *native {
	n := &native{o: o}
	n.dialer.o = &n.o
	return n
}

func (n *native) prepare(ctx context.Context, want string) error {
	if n.c != nil {
		if moves, err := n.moves(ctx, want); !moves || err != nil {
			return err
		}
		n.drop()
	}
	addresses, err := n.addresses(ctx, want)
	if err != nil {
		return err
	}
	return n.connect(ctx, addresses, want)
}

// connect connects to the first of the addresses that answers and is of the shard
// that is wanted. Where all are of other shards, it stays at the last of them: the
// caller says what that means.
func (n *native) connect(ctx context.Context, addresses []string, want string) error {
	var failed []error
	for range addresses {
		address := addresses[n.next%len(addresses)]
		c, err := n.dialer.dialOne(ctx, address)
		if err != nil {
			failed = append(failed, fmt.Errorf("clickhouse: connect to %s: %w", address, err))
			n.next++
			continue
		}
		if n.c != nil {
			n.c.close()
		}
		n.c = c
		found, err := n.inspect(ctx)
		if err == nil {
			err = found.check(&n.o)
		}
		if err != nil {
			return err
		}
		if len(found.lacks) > 0 && !slices.Equal(found.lacks, n.tables.lacks) {
			n.o.Logger.Warn("clickhouse: reads has not all projections: every row is stored, and questions over a day are slow; run \"lectern schema --apply\"",
				"table", n.o.name("reads"), "missing", found.lacks)
		}
		n.tables = *found
		if want == "" || found.shard == want {
			return nil
		}
		n.next++
	}
	if n.c != nil && len(failed) == 0 {
		return nil
	}
	if n.c != nil {
		// One that is away may be of the shard that is wanted.
		failed = append(failed, fmt.Errorf("clickhouse: %s is of another shard, %s", n.c.address, n.tables.shard))
	}
	return joined(failed)
}

// drop closes the connection; the next one is to another address.
func (n *native) drop() {
	if n.c == nil {
		return
	}
	n.c.close()
	n.c = nil
	n.next++
}

func (n *native) shard() string { return n.tables.shard }

func (n *native) replicated() bool { return n.tables.replicated }

// insertSettings make one part of one block, at once, without a limit of time.
// A server that does not know one of them says so.
var insertSettings = []ch.Setting{
	{Key: "async_insert", Value: "0", Important: true}, // on by default since 26.2
	{Key: "max_execution_time", Value: "0", Important: true},
	{Key: "max_insert_threads", Value: "1", Important: true},
	{Key: "optimize_on_insert", Value: "0", Important: true},
	{Key: "insert_deduplicate", Value: "1", Important: true},
	{Key: "deduplicate_insert", Value: "enable"},        // stronger than insert_deduplicate since 26.2
	{Key: "use_strict_insert_block_limits", Value: "0"}, // or max_insert_block_size would make several parts
}

func (n *native) insert(ctx context.Context, b *storage.Block, token string) error {
	in := inputOf(b)
	settings := append(insertSettings[:len(insertSettings):len(insertSettings)],
		ch.Setting{Key: "insert_deduplication_token", Value: token, Important: true})
	return n.c.do(ctx, n.o.AnswerMax, ch.Query{
		Body: insertInto(n.o.name("reads"), in), Input: in, Settings: settings,
		QueryID: token, // a second one is refused while the first is running
	})
}

// insertInto is the statement for all columns of the input.
func insertInto(table string, in proto.Input) string {
	names := make([]string, len(in))
	for i := range in {
		names[i] = quote(in[i].Name)
	}
	return "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES"
}

func (n *native) receipts(ctx context.Context, b *storage.Block) (mine, others uint64, err error) {
	// Of the days around the block's own: partitions that are surely few.
	minute := receiptMinute(b)
	query := fmt.Sprintf("SELECT sumIf(toUInt64(opens), dwell_ms = %d), sumIf(toUInt64(opens), dwell_ms != %d) FROM %s "+
		"WHERE stream = %d AND content = %d AND user = %d AND minute IN (toDateTime(%d, 'UTC'), toDateTime(%d, 'UTC'), toDateTime(%d, 'UTC'))",
		b.Checksum, b.Checksum, n.o.name("reads"), streamReserved, b.Collector, b.Number,
		max(minute, secondsPerDay)-secondsPerDay, minute, minute+secondsPerDay)
	err = n.c.row(ctx, n.o.AnswerMax, query, &mine, &others)
	return mine, others, err
}

func (n *native) last(ctx context.Context) (last uint64, err error) {
	query := fmt.Sprintf("SELECT max(user) FROM %s WHERE stream = %d AND content = %d", n.o.name("reads"), streamReserved, n.o.Collector)
	err = n.c.row(ctx, n.o.AnswerMax, query, &last)
	return last, err
}

func (n *native) hidden(ctx context.Context) (bool, error) {
	var receipts, rows uint64
	some := func(is string) string {
		return fmt.Sprintf("assumeNotNull((SELECT count() FROM (SELECT 1 FROM %s WHERE stream %s %d LIMIT 1)))", n.o.name("reads"), is, streamReserved)
	}
	err := n.c.row(ctx, n.o.AnswerMax, "SELECT "+some("=")+", "+some("!="), &receipts, &rows)
	return rows > 0 && receipts == 0, err
}

func (n *native) running(ctx context.Context, prefix string) (bool, error) {
	var count uint64
	err := n.c.row(ctx, n.o.AnswerMax, "SELECT count() FROM system.processes WHERE startsWith(query_id, "+text(prefix)+")", &count)
	return count > 0, err
}

func (n *native) up(ctx context.Context) (time.Duration, error) {
	var seconds uint64
	err := n.c.row(ctx, n.o.AnswerMax, "SELECT toUInt64(uptime())", &seconds)
	return time.Duration(seconds) * time.Second, err
}
