package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

const topHelp = `Show what is read most: of each stream the contents, or the users, with the most
opens.

Usage:

  lectern top [flags]
  lectern top --live [--ops URL] [--stream N] [-n N] [--json]

With --live it shows what is read at this moment, from a daemon's memory
(docs/NOW.md): readers of the last minute and of five, opens a second, how many
times as many as in the hour before, and the last hour. On a terminal it goes on
until q or Ctrl-C; elsewhere, or with --json, it answers once.

  --live           what is read now
  --ops URL        the operations server of the daemon that is asked (default
                   ops.address of the configuration)

Where from, without --live:

  --config FILE    the configuration that names the store (default ./config.toml,
                   and where there is none the built-in defaults)
  --dir DIR        read the Parquet store in this directory instead

What:

  --by content     contents, with the number of their readers (the default)
  --by user        users, with the number of contents they read
  --sort WORD      by the most opens (the default), reads, finishes, saves, shares
                   or dwell
  --since DURATION only the minutes since so long ago, as 90m or 7d (default 24h)
  --all            of all time
  --stream N       only this stream, by its number or by the name that the
                   configuration has for it; may be given more than once
  -n N             at most N of each stream, 1 to 100000 (default 10)

How:

  --json           a JSON object a line. Ids and streams are strings, since many
                   readers of JSON have no 64-bit integers.

Contents are shown by their names, which emitters send, or by their titles, and
where neither is known by their ids. Users have no names.

Coarse rows (docs/QUERIES.md, "Whole streams") belong to no single user: they count
for their content, or, if they have none, not at all.

The daemon may be running. What it has not stored yet does not show: it stores a
minute when it is over (window.flush_interval). If there is nothing to show, top
says what waits in the spool. On a terminal it shows its progress.

Exit status: 0, also when nothing was found; 1 when the store cannot be read; 2
when the arguments make no sense.

Examples:

  lectern top --since 1h
  lectern top --all --by user --stream 7 -n 100 --json
`

// topMax bounds -n.
const topMax = 100_000

// topOptions are the arguments of `lectern top`, checked.
type topOptions struct {
	store *storeFlags
	query storage.TopQuery
	named []string      // streams that were asked for by their names
	since time.Duration // 0 for all
}

// runTop is `lectern top`.
func (p *process) runTop(ctx context.Context, args []string) int {
	o := topOptions{store: newStoreFlags("top")}
	flags := o.store.flags
	by := flags.String("by", "content", "")
	o.since = 24 * time.Hour
	flags.Var((*duration)(&o.since), "since", "")
	all := flags.Bool("all", false, "")
	n := flags.IntP("n", "n", 10, "")
	sort := flags.String("sort", storage.Sorts[0], "")
	flags.Func("stream", "", func(text string) error {
		if _, err := strconv.ParseUint(text, 10, 64); err != nil && text != "" {
			o.named = append(o.named, text)
			return nil
		}
		stream, err := parseStream(text)
		o.query.Streams = append(o.query.Streams, stream)
		return err
	})
	var live topLive
	flags.BoolVar(&live.on, "live", false, "")
	flags.StringVar(&live.ops, "ops", "", "")
	if code, done := p.parse(flags, args, topHelp); done {
		return code
	}
	if live.on || live.ops != "" {
		live.streams, live.named, live.limit = o.query.Streams, o.named, *n
		return p.runTopLive(ctx, o.store, live)
	}
	switch {
	case *by != "content" && *by != "user":
		return p.usage("top", fmt.Errorf("--by %q is neither content nor user", *by))
	case *all && flags.Changed("since"):
		return p.usage("top", errors.New("--all and --since exclude each other"))
	case o.since <= 0:
		return p.usage("top", fmt.Errorf("--since %s is not longer than nothing", config.FormatDuration(o.since)))
	case *n < 1 || *n > topMax:
		return p.usage("top", fmt.Errorf("-n %d is outside of 1 to %d", *n, topMax))
	}
	at := slices.Index(storage.Sorts, *sort)
	if at < 0 {
		return p.usage("top", fmt.Errorf("--sort %q is not one of %s%s", *sort, strings.Join(storage.Sorts, ", "), didYouMean(*sort, storage.Sorts...)))
	}
	o.query.Sort = storage.Sort(at)
	if *by == "user" {
		o.query.By = storage.ByUser
	}
	o.query.Limit = *n
	if *all {
		o.since = 0
	} else if from := p.now().Add(-o.since).Unix() / 60 * 60; from > 0 { // the minute that the span begins in belongs to it
		o.query.Since = uint32(from)
	}
	return p.top(ctx, &o)
}

func parseStream(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n >= wire.StreamReserved {
		return 0, fmt.Errorf("it is not a stream, 0 to %d", wire.StreamReserved-1)
	}
	return uint16(n), nil
}

// top asks the store and prints the answer.
func (p *process) top(ctx context.Context, o *topOptions) int {
	reader, ok := p.openStore(o.store)
	if !ok {
		return 1
	}
	named, err := o.store.numbers(o.named)
	if err != nil {
		return p.usage("top", err)
	}
	o.query.Streams = append(o.query.Streams, named...)
	stop := p.watch(reader)
	rows, err := reader.Top(ctx, o.query)
	stop()
	var called map[storage.ContentKey]string
	if err == nil && o.query.By == storage.ByContent {
		called, err = reader.Called(ctx, contentsOf(rows))
	}
	if err != nil {
		return p.fail("top", fmt.Errorf("cannot read the store in %q: %w", o.store.dir, err))
	}
	if len(rows) == 0 {
		fmt.Fprintf(p.stderr, "lectern top: %s\n", o.nothing(p.now())+inMemory(ctx, o.store.loaded))
		return 0
	}
	if o.store.json {
		return p.print("top", topJSON(rows, o.query.By, called, o.store.streams()))
	}
	return p.print("top", topTable(rows, o.query.By, called, o.store.streams()))
}

// contentsOf are the contents that rows are of.
func contentsOf(rows []storage.TopRow) []storage.ContentKey {
	all := make([]storage.ContentKey, len(rows))
	for i := range rows {
		all[i] = storage.ContentKey{Stream: rows[i].Stream, Content: rows[i].ID}
	}
	return all
}

// nothing says what to do when nothing was found.
func (o *topOptions) nothing(now time.Time) string {
	if w := waiting(o.store.loaded); w.rows+w.frozen > 0 {
		return "nothing that was asked for is stored yet; " + w.say(now, o.store.loaded)
	}
	of := ""
	if len(o.query.Streams) > 0 {
		of = " of these streams"
	}
	if o.since > 0 {
		return fmt.Sprintf("nothing%s was read in the last %s; try --all, or a longer --since", of, config.FormatDuration(o.since))
	}
	return fmt.Sprintf("nothing%s is stored in %q; what arrives is stored after window.flush_interval, by default when its minute is over", of, o.store.dir)
}

func topTable(rows []storage.TopRow, by storage.By, called map[storage.ContentKey]string, streams streamNames) string {
	t := table{left: 2}
	who, others := "CONTENT", "USERS"
	if by == storage.ByUser {
		who, others = "USER", "CONTENTS"
	}
	t.add("STREAM", who, "OPENS", "READS", "FINISHES", "SAVES", "SHARES", "DWELL", others)
	for i := range rows {
		r := &rows[i]
		id, ok := called[storage.ContentKey{Stream: r.Stream, Content: r.ID}]
		if !ok {
			id = number(r.ID)
		}
		t.add(streams.word(r.Stream), printable(id), number(r.Opens), number(r.Reads), number(r.Finishes),
			number(r.Saves), number(r.Shares), dwellWord(r.Dwell), number(r.Others))
	}
	return t.String()
}

// dwellWord shows milliseconds, rounded to seconds.
func dwellWord(ms uint64) string {
	s := (ms + 500) / 1000
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh%02dm%02ds", s/3600, s/60%60, s%60)
}

// topLine is one line of --json.
type topLine struct {
	Stream     string  `json:"stream"`
	StreamName string  `json:"stream_name,omitempty"`
	ID         string  `json:"id"`
	Name       string  `json:"name,omitempty"`
	Opens      uint64  `json:"opens"`
	Reads      uint64  `json:"reads"`
	Finishes   uint64  `json:"finishes"`
	Saves      uint64  `json:"saves"`
	Shares     uint64  `json:"shares"`
	Dwell      uint64  `json:"dwell_ms"`
	Users      *uint64 `json:"users,omitempty"`    // of a content
	Contents   *uint64 `json:"contents,omitempty"` // of a user
}

func topJSON(rows []storage.TopRow, by storage.By, called map[storage.ContentKey]string, streams streamNames) string {
	var b strings.Builder
	for i := range rows {
		r := &rows[i]
		line := topLine{
			Stream: streamWord(r.Stream), StreamName: streams[r.Stream], ID: number(r.ID),
			Opens: r.Opens, Reads: r.Reads, Finishes: r.Finishes, Saves: r.Saves, Shares: r.Shares, Dwell: r.Dwell,
		}
		line.Name = called[storage.ContentKey{Stream: r.Stream, Content: r.ID}]
		if by == storage.ByUser {
			line.Contents = &r.Others
		} else {
			line.Users = &r.Others
		}
		text, _ := json.Marshal(line) // numbers and strings always marshal
		b.Write(text)
		b.WriteByte('\n')
	}
	return b.String()
}
