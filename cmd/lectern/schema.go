package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lectern/lectern/storage/clickhouse"
)

const schemaHelp = `Print the tables in ClickHouse, or make them.

Usage:

  lectern schema [--config FILE] [--cluster NAME] [--diff | --apply]

Without --apply it prints the statements, for reading or for clickhouse-client.

Flags:

  --apply          make the tables at clickhouse.address, or bring those of an
                   earlier version up to this one; each step is taken once, and
                   several may do this at the same time
  --diff           print what --apply would do to the tables at clickhouse.address,
                   and do nothing; prints nothing where all is as it should be
  --cluster NAME   tables for a cluster of remote_servers: replicated, and
                   Distributed ones beside them for reading (reads_all,
                   ledger_all, spans_all, contents_all, streams_all,
                   forgotten_all); by default that of
                   clickhouse.cluster. Each collector writes to one shard: with
                   clickhouse.cluster to one that it chooses, else
                   clickhouse.address names the replicas of one. The macros
                   {shard} and {replica} must be set on each server
  --config FILE    the configuration that says where ClickHouse is (default
                   ./config.toml, and where there is none the built-in defaults)

clickhouse.retention is how long rows are kept. With --apply, existing tables get
it too. What streams are called ([stream.NAME]) is written to the table streams, for
dashboards and queries: run it again when another stream has a name.

Projections of reads are new with step 4. Parts that were there before are answered
from their rows until they are merged, or until the statement is run that --apply
names then; it reads all rows once, in the background, and takes nothing out.

Exit status: 0 when it is done; 1 when it could not be; 2 when the arguments make
no sense.
`

// runSchema is `lectern schema`.
func (p *process) runSchema(ctx context.Context, args []string) int {
	flags := newFlags("schema")
	path := flags.String("config", "", "")
	cluster := flags.String("cluster", "", "")
	apply := flags.Bool("apply", false, "")
	diff := flags.Bool("diff", false, "")
	if code, done := p.parse(flags, args, schemaHelp); done {
		return code
	}
	if flags.Changed("cluster") && *cluster == "" {
		return p.usage("schema", errors.New("--cluster wants the name of a cluster"))
	}
	c, ok := p.load(flags, *path)
	if !ok {
		return 1
	}
	if *cluster == "" {
		*cluster = c.ClickHouse.Cluster
	}
	s := clickhouse.Schema{Database: c.ClickHouse.Database, Cluster: *cluster, Retention: c.ClickHouse.Retention, Streams: namesOf(&c)}
	switch {
	case *apply && *diff:
		return p.usage("schema", errors.New("--diff does nothing and --apply does it: one of them"))
	case *diff:
		statements, err := clickhouse.Diff(ctx, clickhouseOptions(&c), s)
		if err != nil {
			return p.fail("schema", err)
		}
		var text strings.Builder
		for _, statement := range statements {
			fmt.Fprintf(&text, "%s;\n\n", statement)
		}
		return p.print("schema", text.String())
	case !*apply:
		return p.print("schema", s.String())
	}
	taken, err := clickhouse.Apply(ctx, clickhouseOptions(&c), s)
	if err != nil {
		return p.fail("schema", err)
	}
	said := fmt.Sprintf("The tables in %s are as they should be.\n", c.ClickHouse.Database)
	if len(taken) > 0 {
		said = fmt.Sprintf("The tables in %s are made: steps %s.\n", c.ClickHouse.Database, strings.Trim(fmt.Sprint(taken), "[]"))
	}
	parts, rows, materialize, err := clickhouse.Unprojected(ctx, clickhouseOptions(&c), s)
	if err != nil {
		return p.fail("schema", err)
	}
	if parts > 0 {
		said += fmt.Sprintf("\n%d parts with %d rows have no projections yet, so that questions read these rows. To make them now, in the background:\n\n  %s\n", parts, rows, materialize)
	}
	return p.print("schema", said)
}
