package clickhouse

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
)

// Reader answers questions from the tables. It implements storage.Reader, and
// connects for each question.
type Reader struct {
	o Options
}

// OpenReader returns a Reader. It does not connect.
func OpenReader(o Options) (*Reader, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	return &Reader{o}, nil
}

// ask connects and asks.
func (r *Reader) ask(ctx context.Context, questions func(c *connection) error) error {
	d := dialer{o: &r.o}
	c, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return questions(c)
}

// over is a table over all shards, where there is more than this one.
func (r *Reader) over(ctx context.Context, c *connection, table string) (string, error) {
	all := table + "_all"
	rows, err := c.texts(ctx, r.o.AnswerMax, "SELECT name FROM system.tables WHERE database = "+text(r.o.Database)+" AND name = "+text(all), 1)
	if err == nil && len(rows) > 0 {
		table = all
	}
	return r.o.name(table), err
}

// Top implements storage.Reader. Readers, or contents, are counted for those rows
// alone that are the answer.
func (r *Reader) Top(ctx context.Context, q storage.TopQuery) (top []storage.TopRow, err error) {
	if q.Limit <= 0 {
		return nil, nil
	}
	err = r.ask(ctx, func(c *connection) error {
		reads, err := r.over(ctx, c, "reads")
		if err != nil {
			return err
		}
		top, err = c.top(ctx, &r.o, topQuery(reads, &q))
		return err
	})
	return top, err
}

func topQuery(reads string, q *storage.TopQuery) string {
	id, other, coarsest := "content", "user", storage.CoarseUsers
	if q.By == storage.ByUser {
		id, other, coarsest = other, id, storage.CoarseNot
	}
	where := fmt.Sprintf("t.stream != %d AND t.minute >= toDateTime(%d, 'UTC') AND t.coarse <= %d AND t.variant = 0", streamReserved, q.Since, coarsest)
	if len(q.Streams) > 0 {
		streams := make([]string, len(q.Streams))
		for i, s := range q.Streams {
			streams[i] = fmt.Sprint(s)
		}
		where += " AND t.stream IN (" + strings.Join(streams, ", ") + ")"
	}
	sums := fmt.Sprintf("SELECT t.stream AS stream, t.%s AS id, sum(t.opens * (1 + t.skipped)) AS opens, sum(t.reads * (1 + t.skipped)) AS reads, sum(t.finishes * (1 + t.skipped)) AS finishes, "+
		"sum(t.saves * (1 + t.skipped)) AS saves, sum(t.shares * (1 + t.skipped)) AS shares, sum(t.dwell_ms * (1 + t.skipped)) AS dwell FROM %s AS t WHERE %s GROUP BY stream, id "+
		"ORDER BY stream, %s DESC, opens DESC, reads DESC, dwell DESC, id LIMIT %d BY stream", id, reads, where, storage.Sorts[q.Sort], q.Limit)
	return fmt.Sprintf("SELECT a.stream, a.id, a.opens, a.reads, a.finishes, a.saves, a.shares, a.dwell, b.others FROM (%s) AS a "+
		"INNER JOIN (SELECT t.stream AS stream, t.%s AS id, uniqExactIf(t.%s, t.coarse = 0) AS others FROM %s AS t WHERE %s AND (t.stream, t.%s) IN (SELECT stream, id FROM (%s)) GROUP BY stream, id) AS b "+
		"ON a.stream = b.stream AND a.id = b.id ORDER BY a.stream, a.%s DESC, a.opens DESC, a.reads DESC, a.dwell DESC, a.id",
		sums, id, other, reads, where, id, sums, storage.Sorts[q.Sort])
}

func (c *connection) top(ctx context.Context, o *Options, query string) (top []storage.TopRow, err error) {
	var stream proto.ColUInt16
	var id, opens, reads, finishes, saves, shares, dwell, others proto.ColUInt64
	results := resultsOf(&stream, &id, &opens, &reads, &finishes, &saves, &shares, &dwell, &others)
	err = c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: results, OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			top = append(top, storage.TopRow{
				Stream: stream[i], ID: id[i], Opens: opens[i], Reads: reads[i], Finishes: finishes[i],
				Saves: saves[i], Shares: shares[i], Dwell: dwell[i], Others: others[i],
			})
		}
		return nil
	}})
	return top, err
}

func resultsOf(columns ...proto.ColResult) proto.Results {
	results := make(proto.Results, len(columns))
	for i, c := range columns {
		results[i].Data = c
	}
	return results
}

// Books implements storage.Reader. The rows are looked at before the books, so
// that what is stored meanwhile is accepted and not yet stored, never the other
// way round.
func (r *Reader) Books(ctx context.Context) (books []storage.BookTotal, err error) {
	err = r.ask(ctx, func(c *connection) error {
		reads, err := r.over(ctx, c, "reads")
		if err != nil {
			return err
		}
		ledger, err := r.over(ctx, c, "ledger")
		if err != nil {
			return err
		}
		stored, marked, err := c.stored(ctx, &r.o, reads)
		totals := make(storage.BookTotals)
		if err == nil {
			err = c.books(ctx, &r.o, ledger, totals)
		}
		if err == nil {
			err = c.reasons(ctx, &r.o, ledger, totals)
		}
		if err == nil {
			err = c.settle(ctx, &r.o, totals)
		}
		if err == nil {
			err = r.noted(ctx, c, marked)
		}
		books = totals.List(stored, marked.events())
		return err
	})
	return books, err
}

// stored is the number of events in the rows, by stream, and beside them what of the
// rows is to be forgotten.
func (c *connection) stored(ctx context.Context, o *Options, reads string) (map[uint16]uint64, forgettings, error) {
	var stream proto.ColUInt16
	var gone proto.ColUInt8
	var number, at, rows, events proto.ColUInt64
	stored, marked := make(map[uint16]uint64), make(forgettings)
	query := fmt.Sprintf("SELECT stream, coarse = %d AS gone, toUInt64(if(gone, toUnixTimestamp64Milli(first), 0)) AS number, toUInt64(if(gone, toUnixTimestamp64Milli(last), 0)) AS at, count(), sum(%s) "+
		"FROM %s WHERE stream != %d GROUP BY stream, gone, number, at", coarseForgotten, eventsOfRow, reads, streamReserved)
	err := c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&stream, &gone, &number, &at, &rows, &events), OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			if gone[i] == 0 {
				stored[stream[i]] = events[i]
				continue
			}
			marked.add(number[i], storage.Forgetting{At: int64(at[i]), Stream: stream[i], Rows: rows[i], Events: events[i]})
		}
		return nil
	}})
	return stored, marked, err
}

// books adds up the ledger's columns.
func (c *connection) books(ctx context.Context, o *Options, ledger string, totals storage.BookTotals) error {
	var stream proto.ColUInt16
	var class proto.ColStr
	sums := make([]proto.ColInt64, len(storage.LedgerCounters))
	results, query := resultsOf(&stream, &class), "SELECT stream, CAST(class, 'String') AS word"
	for i, counter := range storage.LedgerCounters {
		results = append(results, proto.ResultColumn{Data: &sums[i]})
		query += ", toInt64(sum(k." + counter.String() + "))"
	}
	query += " FROM " + ledger + " AS k FINAL GROUP BY stream, word"
	return c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: results, OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			total, err := totalOf(totals, stream[i], class.Row(i))
			if err != nil {
				return err
			}
			for n, counter := range storage.LedgerCounters {
				total.AddNet(counter, sums[n][i])
			}
		}
		return nil
	}})
}

// totalOf is the total of an account whose class has this word.
func totalOf(totals storage.BookTotals, stream uint16, word string) (*storage.BookTotal, error) {
	class, ok := storage.ClassNamed(word)
	if !ok {
		return nil, fmt.Errorf("the ledger has books of the class %.40q, which this version does not know: read it with the version that wrote it", word)
	}
	return totals.Of(storage.Account{Stream: stream, Class: class}), nil
}

// reasons adds what the ledger has by reason.
func (c *connection) reasons(ctx context.Context, o *Options, ledger string, totals storage.BookTotals) error {
	for f := range storage.Families {
		var stream proto.ColUInt16
		var class, reason proto.ColStr
		var sum proto.ColUInt64
		query := fmt.Sprintf("SELECT stream, word, reason, sum(number) FROM (SELECT stream, CAST(class, 'String') AS word, toString(arrayJoin(mapKeys(k.%[1]s)) AS key) AS reason, "+
			"k.%[1]s[key] AS number FROM %[2]s AS k FINAL) GROUP BY stream, word, reason", f, ledger)
		err := c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&stream, &class, &reason, &sum), OnResult: func(context.Context, proto.Block) error {
			for i := range stream {
				total, err := totalOf(totals, stream[i], class.Row(i))
				if err != nil {
					return err
				}
				total.Counts[f.Of(storage.ReasonNamed(reason.Row(i)))] += sum[i]
			}
			return nil
		}})
		if err != nil {
			return err
		}
	}
	return nil
}
