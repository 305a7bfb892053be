package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/lectern/lectern/cmd/lectern/internal/progress"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse"
)

// benchTable are the arguments of `lectern bench --table`.
type benchTable struct {
	wanted   bool
	database string
	day      string
	jobs     int
	sample   clickhouse.Sample
}

// flags adds those of --table.
func (o *benchTable) flags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.wanted, "table", false, "")
	flags.StringVar(&o.database, "database", "lectern_bench", "")
	flags.StringVar(&o.day, "day", "", "")
	flags.IntVar(&o.jobs, "jobs", 2, "")
	flags.Uint64Var(&o.sample.Rows, "rows", 500_000_000, "")
	flags.IntVar(&o.sample.Days, "days", 1, "")
	flags.Uint64Var(&o.sample.Contents, "contents", 20_000, "")
	flags.Uint64Var(&o.sample.Readers, "readers", 0, "")
	flags.IntVar(&o.sample.Streams, "streams", 3, "")
	flags.Uint64Var(&o.sample.Block, "block", storage.BlockRowsMax, "")
}

// complete fills in what was not said, and checks the rest.
func (o *benchTable) complete(now time.Time) error {
	o.sample.LastDay = uint32(now.Add(-24*time.Hour).Unix() / 86400)
	if o.day != "" {
		day, err := time.Parse(time.DateOnly, o.day)
		if err != nil || day.Year() < 2000 || day.Year() > 2100 {
			return fmt.Errorf("--day %q is not a day of this century, such as 2026-11-28", o.day)
		}
		o.sample.LastDay = uint32(day.Unix() / 86400)
	}
	if o.sample.Readers == 0 {
		o.sample.Readers = max(1, o.sample.Rows/20)
	}
	if s := &o.sample; s.Rows < 1 || s.Rows > math.MaxInt64/1000 || s.Contents < 1 || s.Contents > 1_000_000 || s.Readers > 1<<40 ||
		s.Days < 1 || s.Days > 1000 || s.Streams < 1 || s.Streams > 1000 || s.Block < 1 || s.Block > 1<<30 || o.jobs < 1 || o.jobs > 64 || o.database == "" {
		return errors.New("--rows and --block are at least 1, --contents 1 to 1000000, --days and --streams 1 to 1000, --jobs 1 to 64, --database a name")
	}
	return nil
}

// tableResult is what a run came to.
type tableResult struct {
	Database  string  `json:"database"`
	LastDay   string  `json:"last_day"`
	Blocks    uint64  `json:"blocks"` // of the sample
	Made      uint64  `json:"made"`   // of them by this run
	Rows      uint64  `json:"rows"`   // in the table
	Bytes     uint64  `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	Collector uint64  `json:"collector"`
}

// benchTable is `lectern bench --table`.
func (p *process) benchTable(ctx context.Context, flags *pflag.FlagSet, config string, o *benchTable, asJSON bool) int {
	if err := o.complete(time.Now()); err != nil {
		return p.usage("bench", err)
	}
	c, ok := p.load(flags, config)
	if !ok {
		return 1
	}
	c.ClickHouse.Database = o.database
	options := clickhouseOptions(&c)
	if _, err := clickhouse.Apply(ctx, options, clickhouse.Schema{Database: o.database, Cluster: options.Cluster}); err != nil {
		return p.fail("bench", err)
	}
	began, blocks := time.Now(), o.sample.Blocks()
	var done, made atomic.Uint64
	stop := func() {}
	if progress.IsTerminal(p.stderr) {
		stop = progress.Start(p.stderr, func() progress.State {
			return progress.State{Events: made.Load() * o.sample.Rows / blocks, Unit: "rows", Done: float64(done.Load()) / float64(blocks)}
		})
	}
	err := clickhouse.Fill(ctx, options, &o.sample, o.jobs, func(n uint64) {
		done.Store(n)
		made.Add(1)
	})
	stop()
	if err != nil {
		return p.fail("bench", fmt.Errorf("%w; what is there stays, and the same command goes on from it", err))
	}
	size, err := clickhouse.SizeOf(ctx, options)
	if err != nil {
		return p.fail("bench", err)
	}
	r := tableResult{
		Database: o.database, LastDay: time.Unix(int64(o.sample.LastDay)*86400, 0).UTC().Format(time.DateOnly), Blocks: blocks, Made: made.Load(),
		Rows: size.Rows, Bytes: size.Bytes, Seconds: time.Since(began).Seconds(), Collector: o.sample.Collector(),
	}
	if asJSON {
		line, _ := json.Marshal(r) // plain numbers and texts always marshal
		return p.print("bench", string(line)+"\n")
	}
	return p.print("bench", r.table())
}

func (r *tableResult) table() string {
	t := table{left: 1}
	t.add("database", r.Database)
	t.add("last day", r.LastDay)
	t.add("blocks", number(r.Blocks))
	t.add("made now", number(r.Made))
	t.add("rows", number(r.Rows))
	t.add("bytes a row", fmt.Sprintf("%.1f", float64(r.Bytes)/float64(max(1, r.Rows))))
	t.add("seconds", fmt.Sprintf("%.1f", r.Seconds))
	return t.String()
}
