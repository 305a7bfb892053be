package clickhouse

import (
	"context"
	"fmt"
	"slices"
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
	where := fmt.Sprintf("t.stream != %d AND t.minute >= toDateTime(%d, 'UTC') AND t.coarse <= %d", streamReserved, q.Since, coarsest)
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
		stored, err := c.stored(ctx, &r.o, reads)
		if err == nil {
			books, err = c.books(ctx, &r.o, ledger, stored)
		}
		for stream, events := range stored {
			if !slices.ContainsFunc(books, func(b storage.BookTotal) bool { return b.Stream == stream }) {
				books = append(books, storage.BookTotal{Book: storage.Book{Stream: stream}, Stored: events})
			}
		}
		slices.SortFunc(books, func(a, b storage.BookTotal) int { return int(a.Stream) - int(b.Stream) })
		if err == nil {
			err = c.refused(ctx, &r.o, ledger, books)
		}
		if err == nil {
			err = c.settle(ctx, &r.o, books)
		}
		return err
	})
	return books, err
}

// stored is the number of events in the rows, by stream.
func (c *connection) stored(ctx context.Context, o *Options, reads string) (map[uint16]uint64, error) {
	var stream proto.ColUInt16
	var events proto.ColUInt64
	stored := make(map[uint16]uint64)
	query := fmt.Sprintf("SELECT stream, sum(opens) + sum(reads) + sum(finishes) + sum(saves) + sum(shares) FROM %s WHERE stream != %d GROUP BY stream", reads, streamReserved)
	err := c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&stream, &events), OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			stored[stream[i]] = events[i]
		}
		return nil
	}})
	return stored, err
}

// books adds up the ledger.
func (c *connection) books(ctx context.Context, o *Options, ledger string, stored map[uint16]uint64) (books []storage.BookTotal, err error) {
	var stream proto.ColUInt16
	var sent, accepted, damaged, shed, clamped, duplicate, stale, reordered proto.ColUInt64
	var lost proto.ColInt64
	results := resultsOf(&stream, &sent, &accepted, &lost, &damaged, &shed, &clamped, &duplicate, &stale, &reordered)
	query := "SELECT stream, sum(sent), sum(accepted), sum(lost), sum(damaged), sum(shed), sum(clamped), sum(duplicate), sum(stale), sum(reordered) FROM " + ledger + " FINAL GROUP BY stream ORDER BY stream"
	err = c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: results, OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			books = append(books, storage.BookTotal{Stored: stored[stream[i]], Book: storage.Book{
				Stream: stream[i], Sent: sent[i], Accepted: accepted[i], Lost: lost[i], Damaged: damaged[i], Shed: shed[i],
				Clamped: clamped[i], Duplicate: duplicate[i], Stale: stale[i], Reordered: reordered[i],
			}})
		}
		return nil
	}})
	return books, err
}

// refused adds what was refused by reason.
func (c *connection) refused(ctx context.Context, o *Options, ledger string, books []storage.BookTotal) error {
	var stream proto.ColUInt16
	var reason proto.ColStr
	var events, frames proto.ColUInt64
	query := "SELECT stream, reason, sum(events), sum(frames) FROM (SELECT stream, arrayJoin(mapKeys(refused_frames)) AS word, toString(word) AS reason, " +
		"refused_events[word] AS events, refused_frames[word] AS frames FROM " + ledger + " FINAL) GROUP BY stream, reason ORDER BY stream, reason"
	return c.do(ctx, o.AnswerMax, ch.Query{Body: query, Result: resultsOf(&stream, &reason, &events, &frames), OnResult: func(context.Context, proto.Block) error {
		for i := range stream {
			for k := range books {
				if books[k].Stream == stream[i] {
					books[k].Refused = append(books[k].Refused, storage.Refused{Reason: reason.Row(i), Events: events[i], Frames: frames[i]})
				}
			}
		}
		return nil
	}})
}
