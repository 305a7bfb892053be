package clickhouse

import (
	"context"
	"fmt"
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
}

func newNative(o Options) *native {
	n := &native{o: o}
	n.dialer.o = &n.o
	return n
}

func (n *native) prepare(ctx context.Context) error {
	if n.c != nil {
		return nil
	}
	c, err := n.dialer.dial(ctx)
	if err != nil {
		return err
	}
	n.c = c
	found, err := n.inspect(ctx)
	if err == nil {
		err = found.check(&n.o)
	}
	if err == nil && n.tables.server != "" && !found.replicated && found.server != n.tables.server {
		err = &problem{fmt.Sprintf("%s is another server than the one that had %s before, with a table of its own: a block could be in both", c.address, n.o.name("reads")),
			"give the address of one server, or make the tables replicated with \"lectern schema --apply --cluster NAME\""}
	}
	if err != nil {
		return err
	}
	n.tables = *found
	return nil
}

// drop closes the connection; the next one is to another address.
func (n *native) drop() {
	if n.c == nil {
		return
	}
	n.c.close()
	n.c = nil
	n.dialer.rotate()
}

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
