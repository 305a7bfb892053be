package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
)

// Forgetter takes rows out of reads. It implements storage.Forgetter.
//
// A mutation takes all rows that it finds, and says of none how many events it was. So
// the rows are marked first, by a mutation that changes nothing else:
//
//	coarse = 255, first = the forgetting's number, last = when it was asked for
//
// No insert brings such a row, so that the marked ones stay the same when that mutation
// is done. They are counted, the counts are written to the table forgotten, and a second
// mutation takes the marked rows out. Wherever that is cut off, a later call goes on,
// for whomever: the rows say themselves that they are to go. A marked row counts as
// forgotten and not as stored from the first moment, so that the books add up in all of
// these states; views leave it out.
//
// Receipts are rows of the same table, and have the stream that no selection has.
type Forgetter struct{ reader Reader }

// OpenForgetter returns a Forgetter. It does not connect.
func OpenForgetter(o Options) (*Forgetter, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	return &Forgetter{Reader{o}}, nil
}

// coarseForgotten is in the column coarse of rows that are to go.
const coarseForgotten = 255

// numberMax bounds the numbers of forgettings, which stand in a column of times.
const numberMax = 1 << 41

// unhurried is the patience for a mutation: it goes over all parts that it concerns,
// and nothing is gained by giving it up.
const unhurried = 30 * 24 * time.Hour

// notReceipt is the condition that keeps receipts: their stream is no selection's.
var notReceipt = fmt.Sprintf("stream != %d", streamReserved)

// where is the condition for the rows that are meant and not marked yet.
func where(s *storage.Selection) string {
	conditions := []string{notReceipt, fmt.Sprintf("coarse != %d", coarseForgotten)}
	if s.User != nil {
		conditions = append(conditions, fmt.Sprintf("user = %d", *s.User), fmt.Sprintf("coarse = %d", storage.CoarseNot))
	}
	if s.Stream != nil {
		conditions = append(conditions, fmt.Sprintf("stream = %d", *s.Stream))
	}
	if s.Before > 0 {
		conditions = append(conditions, fmt.Sprintf("minute < toDateTime(%d, 'UTC')", s.Before))
	}
	return strings.Join(conditions, " AND ")
}

// marked is the condition for the rows that a forgetting has marked.
func marked(number uint64) string {
	return fmt.Sprintf("%s AND coarse = %d AND first = %s", notReceipt, coarseForgotten, millis(number))
}

// millis is a moment, or a number, as the columns of times have it.
func millis(n uint64) string { return fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d), 'UTC')", n) }

// Forget implements storage.Forgetter, on each shard. What an earlier call left is ended
// first. With an error a mutation may go on by itself: ClickHouse keeps it.
func (f *Forgetter) Forget(ctx context.Context, s storage.Selection, at int64) (all []storage.Forgetting, err error) {
	err = f.eachShard(ctx, func(c *connection) error {
		there, err := c.hasForgotten(ctx, &f.reader.o)
		if err != nil {
			return err
		}
		if !there {
			return &problem{barredTables, fmt.Sprintf("there is no table %s", f.reader.o.name("forgotten")), "run \"lectern schema --apply\""}
		}
		if err := f.end(ctx, c, nil); err != nil {
			return err
		}
		some, err := c.exists(ctx, &f.reader.o, where(&s))
		if err != nil || !some {
			return err
		}
		number := 1 + rand.Uint64N(numberMax-1)
		update := fmt.Sprintf("ALTER TABLE %s UPDATE coarse = %d, first = %s, last = %s WHERE %s", f.reader.o.name("reads"), coarseForgotten, millis(number), millis(uint64(at)), where(&s))
		if err := f.mutate(ctx, c, update); err != nil {
			return err
		}
		return f.end(ctx, c, func(n storage.Forgetting) { all = storage.AddForgetting(all, n) })
	})
	return all, err
}

// end counts and takes out what is marked, and calls counted with what is.
func (f *Forgetter) end(ctx context.Context, c *connection, counted func(storage.Forgetting)) error {
	o := &f.reader.o
	numbers, err := c.numbers(ctx, o)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if err := f.settled(ctx, c, number); err != nil {
			return err
		}
		done, err := c.count(ctx, o, number)
		if err != nil {
			return err
		}
		if err := c.note(ctx, o, number, done); err != nil {
			return err
		}
		if err := f.mutate(ctx, c, fmt.Sprintf("ALTER TABLE %s DELETE WHERE %s", o.name("reads"), marked(number))); err != nil {
			return err
		}
		if counted != nil {
			for _, n := range done {
				counted(n)
			}
		}
	}
	return nil
}

// mutate runs a mutation and waits for it, on all replicas.
func (f *Forgetter) mutate(ctx context.Context, c *connection, statement string) error {
	err := c.do(ctx, unhurried, ch.Query{Body: statement, Settings: []ch.Setting{
		{Key: "mutations_sync", Value: "2", Important: true},
		{Key: "max_execution_time", Value: "0", Important: true},
	}})
	if err != nil {
		return fmt.Errorf("%w; a mutation that the server has goes on by itself (system.mutations says how far it is): run the command again to end what was begun", err)
	}
	return nil
}

// mutationsPause is the time between two looks at a mutation of somebody else.
const mutationsPause = 200 * time.Millisecond

// settled waits until no mutation marks rows for a forgetting any more: another call
// may have begun it, and its process be gone.
func (f *Forgetter) settled(ctx context.Context, c *connection, number uint64) error {
	o := &f.reader.o
	query := fmt.Sprintf("SELECT latest_fail_reason FROM system.mutations WHERE database = %s AND table = 'reads' AND NOT is_done AND NOT is_killed AND position(command, %s) > 0 AND position(command, 'UPDATE') > 0",
		text(o.Database), text(fmt.Sprintf("toInt64(%d)", number)))
	for {
		rows, err := c.texts(ctx, o.AnswerMax, query, 1)
		if err != nil || len(rows) == 0 {
			return err
		}
		if why := rows[0][0]; why != "" {
			return fmt.Errorf("clickhouse: %s cannot go on with the mutation that marks what is to be forgotten: %s", c.address, why)
		}
		select {
		case <-time.After(mutationsPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// exists says whether reads has such rows.
func (c *connection) exists(ctx context.Context, o *Options, condition string) (bool, error) {
	var n uint64
	err := c.row(ctx, o.AnswerMax, fmt.Sprintf("SELECT count() FROM (SELECT 1 FROM %s WHERE %s LIMIT 1)", o.name("reads"), condition), &n)
	return n > 0, err
}

// numbers are those of the forgettings that have marked rows.
func (c *connection) numbers(ctx context.Context, o *Options) (numbers []uint64, err error) {
	var number proto.ColUInt64
	query := fmt.Sprintf("SELECT DISTINCT toUInt64(toUnixTimestamp64Milli(first)) AS number FROM %s WHERE %s AND coarse = %d ORDER BY number", o.name("reads"), notReceipt, coarseForgotten)
	err = c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&number), OnResult: func(context.Context, proto.Block) error {
		numbers = append(numbers, number...)
		return nil
	}})
	return numbers, err
}

// count adds up the rows that a forgetting has marked.
func (c *connection) count(ctx context.Context, o *Options, number uint64) (done []storage.Forgetting, err error) {
	var at, rows, events proto.ColUInt64
	var stream proto.ColUInt16
	query := fmt.Sprintf("SELECT stream, toUInt64(toUnixTimestamp64Milli(max(last))), count(), sum(%s) FROM %s WHERE %s GROUP BY stream ORDER BY stream", eventsOfRow, o.name("reads"), marked(number))
	err = c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&stream, &at, &rows, &events), OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			done = append(done, storage.Forgetting{At: int64(at[i]), Stream: stream[i], Rows: rows[i], Events: events[i]})
		}
		return nil
	}})
	return done, err
}

// eventsOfRow is how many events a row of reads adds up.
const eventsOfRow = "toUInt64(opens) + reads + finishes + saves + shares + impressions + clicks"

// note writes the counts of a forgetting. Of two by the same number that of more rows
// stays: what another call has begun to take out meanwhile is not missed.
func (c *connection) note(ctx context.Context, o *Options, number uint64, done []storage.Forgetting) error {
	if len(done) == 0 {
		return nil
	}
	var numbers, rows, events proto.ColUInt64
	var stream proto.ColUInt16
	at := datetimes()
	for _, n := range done {
		numbers.Append(number)
		at.AppendRaw(proto.DateTime64(n.At))
		stream.Append(n.Stream)
		rows.Append(n.Rows)
		events.Append(n.Events)
	}
	in := proto.Input{{Name: "number", Data: &numbers}, {Name: "at", Data: at}, {Name: "stream", Data: &stream}, {Name: "rows", Data: &rows}, {Name: "events", Data: &events}}
	return c.do(ctx, o.AnswerMax, ch.Query{Body: insertInto(o.name("forgotten"), in), Input: in, Settings: insertSettings})
}

// Rows implements storage.Forgetter.
func (f *Forgetter) Rows(ctx context.Context, s storage.Selection) (rows []storage.Row, err error) {
	err = f.reader.ask(ctx, func(c *connection) error {
		reads, err := f.reader.over(ctx, c, "reads")
		if err != nil {
			return err
		}
		rows, err = c.rows(ctx, &f.reader.o, reads, where(&s))
		return err
	})
	slices.SortFunc(rows, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	return rows, err
}

// rows returns rows of reads as they are.
func (c *connection) rows(ctx context.Context, o *Options, reads, condition string) (rows []storage.Row, err error) {
	var stream proto.ColUInt16
	var minute, opens, read, finishes, saves, shares, skipped, impressions, clicks proto.ColUInt32
	var content, user, dwell proto.ColUInt64
	var progress, coarse, variant, resume proto.ColUInt8
	var lag proto.ColUInt16
	var first, last proto.ColInt64
	query := fmt.Sprintf("SELECT stream, toUnixTimestamp(minute), content, user, opens, reads, finishes, saves, shares, dwell_ms, progress, toUnixTimestamp64Milli(first), toUnixTimestamp64Milli(last), coarse, skipped, impressions, clicks, variant, resume, resume_lag FROM %s WHERE %s", reads, condition)
	results := resultsOf(&stream, &minute, &content, &user, &opens, &read, &finishes, &saves, &shares, &dwell, &progress, &first, &last, &coarse, &skipped, &impressions, &clicks, &variant, &resume, &lag)
	err = c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: results, OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			rows = append(rows, storage.Row{
				Stream: stream[i], Minute: minute[i], Content: content[i], User: user[i], Opens: opens[i], Reads: read[i], Finishes: finishes[i], Saves: saves[i], Shares: shares[i],
				Dwell: dwell[i], Progress: progress[i], First: first[i], Last: last[i], Coarse: storage.Coarse(coarse[i]), Skipped: skipped[i],
				Impressions: impressions[i], Clicks: clicks[i], Variant: variant[i], Resume: resume[i] + 1, ResumeLag: lag[i],
			})
		}
		return nil
	}})
	return rows, err
}

// Collectors returns the collectors that have stored a block that was received since then.
func (f *Forgetter) Collectors(ctx context.Context, since time.Time) (all []uint64, err error) {
	err = f.reader.ask(ctx, func(c *connection) error {
		reads, err := f.reader.over(ctx, c, "reads")
		if err != nil {
			return err
		}
		var id proto.ColUInt64
		query := fmt.Sprintf("SELECT DISTINCT content FROM %s WHERE stream = %d AND last >= %s ORDER BY content", reads, streamReserved, millis(uint64(max(0, since.UnixMilli()))))
		return c.do(ctx, f.reader.o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&id), OnResult: func(context.Context, proto.Block) error {
			all = append(all, id...)
			return nil
		}})
	})
	return all, err
}

// Log implements storage.Forgetter.
func (f *Forgetter) Log(ctx context.Context) (all []storage.Forgetting, err error) {
	err = f.reader.ask(ctx, func(c *connection) error {
		reads, err := f.reader.over(ctx, c, "reads")
		if err != nil {
			return err
		}
		_, marked, err := c.stored(ctx, &f.reader.o, reads)
		if err == nil {
			err = f.reader.noted(ctx, c, marked)
		}
		for _, n := range marked {
			all = storage.AddForgetting(all, n)
		}
		return err
	})
	return all, err
}

// forgettings are the parts of forgettings, each that of one stream.
type forgettings map[forgettingKey]storage.Forgetting

type forgettingKey struct {
	number uint64
	stream uint16
}

// add takes what is known of one: of two numbers the larger, since what is noted is no
// less than what is left of it.
func (f forgettings) add(number uint64, n storage.Forgetting) {
	k := forgettingKey{number, n.Stream}
	had := f[k]
	f[k] = storage.Forgetting{At: max(had.At, n.At), Stream: n.Stream, Rows: max(had.Rows, n.Rows), Events: max(had.Events, n.Events)}
}

// events are those of each stream.
func (f forgettings) events() map[uint16]uint64 {
	events := make(map[uint16]uint64)
	for _, n := range f {
		events[n.Stream] += n.Events
	}
	return events
}

// hasForgotten says whether there is the table forgotten, which older schemas do not have.
func (c *connection) hasForgotten(ctx context.Context, o *Options) (bool, error) {
	rows, err := c.texts(ctx, o.AnswerMax, "SELECT name FROM system.tables WHERE database = "+text(o.Database)+" AND name = 'forgotten'", 1)
	return len(rows) > 0, err
}

// noted adds what is noted of forgettings to what is marked, which is to be asked for
// before: it is noted before it is taken out.
func (r *Reader) noted(ctx context.Context, c *connection, marked forgettings) error {
	if there, err := c.hasForgotten(ctx, &r.o); err != nil || !there {
		return err // nothing was ever forgotten
	}
	table, err := r.over(ctx, c, "forgotten")
	if err != nil {
		return err
	}
	var number, at, rows, events proto.ColUInt64
	var stream proto.ColUInt16
	query := "SELECT number, stream, toUInt64(toUnixTimestamp64Milli(at)), rows, events FROM " + table
	return c.do(ctx, r.o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&number, &stream, &at, &rows, &events), OnResult: func(context.Context, proto.Block) error {
		for i := range number {
			marked.add(number[i], storage.Forgetting{At: int64(at[i]), Stream: stream[i], Rows: rows[i], Events: events[i]})
		}
		return nil
	}})
}

var distributedOver = regexp.MustCompile(`^Distributed\('?([^',]+)'?,`)

// eachShard connects to one replica of each shard, and calls do. Where the tables are of
// a cluster that the options do not name, reads_all does.
func (f *Forgetter) eachShard(ctx context.Context, do func(c *connection) error) error {
	n := newNative(f.reader.o)
	if n.o.Cluster == "" {
		c, err := n.dialer.dial(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		rows, err := c.texts(ctx, n.o.AnswerMax, "SELECT engine_full FROM system.tables WHERE database = "+text(n.o.Database)+" AND name = 'reads_all'", 1)
		if err != nil {
			return err
		}
		over := []string(nil)
		if len(rows) > 0 {
			over = distributedOver.FindStringSubmatch(rows[0][0])
		}
		if over == nil {
			return do(c)
		}
		n.o.Cluster = over[1]
	}
	if err := n.ask(ctx); err != nil {
		return err
	}
	servers := ranked(n.servers, 0)
	slices.SortStableFunc(servers, func(a, b clusterServer) int { return cmp.Compare(a.shard, b.shard) })
	for len(servers) > 0 {
		shard := servers[0].shard
		of := slices.IndexFunc(servers, func(s clusterServer) bool { return s.shard != shard })
		if of < 0 {
			of = len(servers)
		}
		if err := f.onShard(ctx, n, servers[:of], do); err != nil {
			return fmt.Errorf("shard %d of %s: %w", shard, quote(n.o.Cluster), err)
		}
		servers = servers[of:]
	}
	return nil
}

// onShard connects to the first of the replicas that answers.
func (f *Forgetter) onShard(ctx context.Context, n *native, replicas []clusterServer, do func(c *connection) error) error {
	var failed []error
	for _, r := range replicas {
		c, err := n.dialer.dialOne(ctx, r.address)
		if err != nil {
			failed = append(failed, fmt.Errorf("clickhouse: connect to %s: %w", r.address, err))
			continue
		}
		defer c.close()
		return do(c)
	}
	return joined(failed)
}
