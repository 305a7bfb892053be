package clickhouse

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage"
)

// Schema says which form of the tables is wanted.
type Schema struct {
	Database  string
	Cluster   string            // of remote_servers; empty for one server
	Retention time.Duration     // 0: for ever
	Streams   map[uint16]string // what streams are called
}

// The steps of the schema. Once it is released, the text of a step never changes; what comes
// after is another step. What a step makes may still change: the columns of ledger follow
// storage.LedgerCounters and storage.Families. So tables that are there need a step of their
// own for a new counter.
//
//go:embed schema/*.sql
var steps embed.FS

// Step is one step of the schema: statements that change nothing when they are
// run again.
type Step struct {
	Version    int
	Statements []string // with their comments
}

// Steps returns all steps in order, written for this form.
func (s Schema) Steps() ([]Step, error) {
	if s.Database == "" {
		s.Database = "default"
	}
	files, err := steps.ReadDir("schema")
	if err != nil {
		return nil, err
	}
	var all []Step
	for _, f := range files {
		version, err := strconv.Atoi(strings.TrimSuffix(f.Name(), ".sql"))
		if err != nil {
			return nil, fmt.Errorf("clickhouse: the step %s has no number: %w", f.Name(), err)
		}
		t, err := template.ParseFS(steps, path.Join("schema", f.Name()))
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, s); err != nil {
			return nil, err
		}
		step := Step{Version: version}
		for statement := range strings.SplitSeq(b.String(), ";\n") {
			if statement = strings.TrimSpace(statement); statement != "" {
				step.Statements = append(step.Statements, statement)
			}
		}
		all = append(all, step)
	}
	return all, nil
}

// Name quotes a table.
func (s Schema) Name(table string) string { return quote(s.Database) + "." + quote(table) }

// Local is a table that collectors write to: that of their own shard.
func (s Schema) Local(table string) string { return s.Name(table) }

// Reads is where reading is asked for.
func (s Schema) Reads() string { return s.overAll("reads") }

// Ledger is where the books are asked for.
func (s Schema) Ledger() string { return s.overAll("ledger") }

// Spans is where spans are asked for.
func (s Schema) Spans() string { return s.overAll("spans") }

// Contents is where it is asked for what contents are called.
func (s Schema) Contents() string { return s.overAll("contents") }

// Counters are the columns of ledger that are a counter of an account each.
func (s Schema) Counters() (words []string) {
	for _, c := range storage.LedgerCounters {
		words = append(words, c.String())
	}
	return words
}

// Families are the columns of ledger that have numbers by reason.
func (s Schema) Families() (words []string) {
	for f := range storage.Families {
		words = append(words, f.String())
	}
	return words
}

// SpanOpenSeconds is storage.SpanOpenFor.
func (s Schema) SpanOpenSeconds() int64 { return int64(storage.SpanOpenFor / time.Second) }

func (s Schema) overAll(table string) string {
	if s.Cluster != "" {
		table += "_all"
	}
	return s.Name(table)
}

// OnCluster makes a statement one for all servers.
func (s Schema) OnCluster() string {
	if s.Cluster == "" {
		return ""
	}
	return " ON CLUSTER " + quote(s.Cluster)
}

// ClusterText and DatabaseText are for the engine Distributed.
func (s Schema) ClusterText() string { return text(s.Cluster) }

// DatabaseText is the name of the database as a string.
func (s Schema) DatabaseText() string { return text(s.Database) }

// Engine is an engine of the family, replicated in a cluster.
func (s Schema) Engine(engine, table string, parameters ...string) string {
	if s.Cluster != "" {
		engine = "Replicated" + engine
		parameters = append([]string{fmt.Sprintf("'/clickhouse/tables/{shard}/%s/%s'", s.Database, table), "'{replica}'"}, parameters...)
	}
	if len(parameters) == 0 {
		return engine
	}
	return engine + "(" + strings.Join(parameters, ", ") + ")"
}

// DeduplicationWindow is the setting of reads for its tokens.
func (s Schema) DeduplicationWindow() string {
	if s.Cluster == "" {
		return fmt.Sprintf("non_replicated_deduplication_window = %d", deduplicationWindow)
	}
	return fmt.Sprintf("replicated_deduplication_window = %d,\n    replicated_deduplication_window_seconds = %d", deduplicationWindow, deduplicationSeconds)
}

// deduplicationWindow is for the inserts of all collectors together: at one in
// ten seconds each, 100 collectors are remembered for an hour and more.
const (
	deduplicationWindow  = 100_000
	deduplicationSeconds = 604_800
)

// TTL is the clause for retention, nothing without one.
func (s Schema) TTL(column string) string {
	if s.Retention <= 0 {
		return ""
	}
	if column != "minute" {
		column = "toDateTime(" + column + ")"
	}
	return fmt.Sprintf("\nTTL %s + toIntervalSecond(%d)", column, int64(s.Retention/time.Second))
}

// String is the whole schema, as a script for clickhouse-client.
func (s Schema) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s;\n", s.createDatabase())
	fmt.Fprintf(&b, "\n%s;\n", s.createVersions())
	all, err := s.Steps()
	if err != nil {
		return err.Error() // the files are in the binary, and a test runs them all
	}
	for _, step := range all {
		fmt.Fprintf(&b, "\n-- Step %d.\n", step.Version)
		for _, statement := range step.Statements {
			fmt.Fprintf(&b, "\n%s;\n", statement)
		}
		fmt.Fprintf(&b, "\n%s;\n", s.recordVersion(step.Version))
	}
	if named := s.nameStreams(s.Streams); named != "" {
		fmt.Fprintf(&b, "\n-- What streams are called.\n%s;\n", named)
	}
	return b.String()
}

func (s Schema) createDatabase() string {
	return "CREATE DATABASE IF NOT EXISTS " + quote(s.Database) + s.OnCluster()
}

func (s Schema) createVersions() string {
	return "-- Which steps of the schema were taken.\nCREATE TABLE IF NOT EXISTS " + s.Name("schema_versions") + s.OnCluster() +
		"\n(\n    version UInt32,\n    applied DateTime('UTC') DEFAULT now('UTC')\n)\nENGINE = " + s.Engine("ReplacingMergeTree", "schema_versions") + "\nORDER BY version"
}

func (s Schema) recordVersion(version int) string {
	return fmt.Sprintf("INSERT INTO %s (version) SELECT %d", s.Name("schema_versions"), version)
}

// raced are the errors by which one of several that make the same tables at once is
// told that another is ahead: what it wanted is there in a moment.
var raced = []proto.Error{
	proto.ErrTableAlreadyExists, proto.ErrDatabaseAlreadyExists, proto.ErrReplicaIsAlreadyExist, proto.ErrCannotAssignAlter,
	proto.ErrDuplicateColumn, proto.ErrQueryWithSameIDIsAlreadyRunning, proto.ErrUnknownTable, proto.ErrUnknownDatabase,
}

// applyTries and applyPause are how long such a race may last.
const (
	applyTries = 10
	applyPause = 300 * time.Millisecond
)

// Apply creates the tables, or brings those of an earlier version up to this
// one, writes down what streams are called, and returns the versions of the steps that it took. Several may do so at
// once: a step that is taken twice changes nothing the second time.
func Apply(ctx context.Context, o Options, s Schema) (taken []int, err error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	s.Database = o.Database
	for range applyTries {
		var more []int
		more, err = apply(ctx, &o, s)
		taken = append(taken, more...)
		e, ok := ch.AsException(err)
		if !ok || !slices.Contains(raced, e.Code) {
			return taken, err
		}
		select {
		case <-time.After(applyPause/2 + rand.N(applyPause)):
		case <-ctx.Done():
			return taken, ctx.Err()
		}
	}
	return taken, err
}

// apply tries it once.
func apply(ctx context.Context, o *Options, s Schema) (taken []int, err error) {
	c, err := (&dialer{o: o}).dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	for _, statement := range []string{s.createDatabase(), s.createVersions()} {
		if err := c.run(ctx, o, statement); err != nil {
			return nil, err
		}
	}
	steps, err := c.missing(ctx, o, s)
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		for _, statement := range step.Statements {
			if err := c.take(ctx, o, statement); err != nil {
				return taken, fmt.Errorf("step %d of the schema: %w; the statement was:\n%s", step.Version, err, statement)
			}
		}
		taken = append(taken, step.Version)
	}
	alters, err := c.retention(ctx, o, s)
	if err != nil {
		return taken, err
	}
	for _, alter := range alters {
		if err := c.run(ctx, o, alter); err != nil {
			return taken, fmt.Errorf("the retention: %w; the statement was: %s", err, alter)
		}
	}
	names, err := c.renamed(ctx, o, s)
	if err != nil || len(names) == 0 {
		return taken, err
	}
	if err := c.run(ctx, o, s.nameStreams(names)); err != nil {
		return taken, fmt.Errorf("what streams are called: %w", err)
	}
	return taken, nil
}

// Diff returns the statements that Apply would run, with their comments, and runs none.
func Diff(ctx context.Context, o Options, s Schema) (statements []string, err error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	s.Database = o.Database
	c, err := (&dialer{o: &o}).dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	there, err := c.tables(ctx, &o, s, "schema_versions")
	if err != nil {
		return nil, err
	}
	if there == 0 {
		statements = append(statements, s.createDatabase(), s.createVersions())
	}
	steps, err := c.missing(ctx, &o, s)
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		statements = append(statements, step.Statements...)
	}
	alters, err := c.retention(ctx, &o, s)
	if err != nil {
		return nil, err
	}
	statements = append(statements, alters...)
	names, err := c.renamed(ctx, &o, s)
	if named := s.nameStreams(names); named != "" {
		statements = append(statements, named)
	}
	return statements, err
}

// Unprojected is how many parts of reads were merged before the projections were there,
// and their rows: until they are merged again, or until materialize is run, questions
// read the rows of these. Parts that were never merged have none, and need none.
func Unprojected(ctx context.Context, o Options, s Schema) (parts, rows uint64, materialize string, err error) {
	if err := o.fill(); err != nil {
		return 0, 0, "", err
	}
	s.Database = o.Database
	c, err := (&dialer{o: &o}).dial(ctx)
	if err != nil {
		return 0, 0, "", err
	}
	defer c.close()
	has := make([]string, len(projections))
	materialize = "ALTER TABLE " + s.Local("reads") + s.OnCluster() + " MATERIALIZE INDEX minutes"
	for i, p := range projections {
		has[i] = text(p)
		materialize += ", MATERIALIZE PROJECTION " + p
	}
	query := "SELECT count(), sum(rows) FROM system.parts WHERE active AND level > 0 AND database = " + s.DatabaseText() +
		" AND table = 'reads' AND NOT hasAll(projections, [" + strings.Join(has, ", ") + "])"
	err = c.row(ctx, o.AnswerMax, query, &parts, &rows)
	return parts, rows, materialize, err
}

// take runs a statement of a step, or as much of it as the server knows.
func (c *connection) take(ctx context.Context, o *Options, statement string) error {
	err := c.run(ctx, o, statement)
	switch older, known := withoutSettings(statement); {
	case strings.Contains(statement, "materialize_projections_on_insert") && ch.IsErr(err, proto.ErrUnknownSetting):
		return nil // projections are made with inserts
	case known && ch.IsErr(err, proto.ErrSyntaxError):
		return c.run(ctx, o, older)
	}
	return err
}

// withoutSettings is a statement for a projection without the projection's settings, which
// servers before 25.12 do not know: then it has granules of as many rows as the table.
func withoutSettings(statement string) (older string, had bool) {
	older, _, had = strings.Cut(statement, "\nWITH SETTINGS ")
	return older, had
}

// run runs a statement without an answer.
func (c *connection) run(ctx context.Context, o *Options, statement string) error {
	return c.do(ctx, o.AnswerMax, ch.Query{Body: statement, Settings: []ch.Setting{
		{Key: "max_execution_time", Value: "0", Important: true},
		{Key: "async_insert", Value: "0", Important: true},
	}})
}

// tables is how many of these tables are there.
func (c *connection) tables(ctx context.Context, o *Options, s Schema, names ...string) (n uint64, err error) {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = text(name)
	}
	err = c.row(ctx, o.AnswerMax, "SELECT count() FROM system.tables WHERE database = "+s.DatabaseText()+" AND name IN ("+strings.Join(list, ", ")+")", &n)
	return n, err
}

// missing are the steps that were not taken, each with the statement by which it is
// known as taken: all of them, where a table is gone that they had made.
func (c *connection) missing(ctx context.Context, o *Options, s Schema) (steps []Step, err error) {
	steps, err = s.Steps()
	if err != nil {
		return nil, err
	}
	made := []string{"reads", "ledger", "spans", "contents", "schema_versions"}
	there, err := c.tables(ctx, o, s, made...)
	if err != nil {
		return nil, err
	}
	var done [][]string
	if there == uint64(len(made)) {
		if done, err = c.texts(ctx, o.AnswerMax, "SELECT DISTINCT toString(version) FROM "+s.Name("schema_versions"), 1); err != nil {
			return nil, err
		}
	}
	steps = slices.DeleteFunc(steps, func(step Step) bool {
		return slices.ContainsFunc(done, func(row []string) bool { return row[0] == strconv.Itoa(step.Version) })
	})
	for i := range steps {
		steps[i].Statements = append(steps[i].Statements, s.recordVersion(steps[i].Version))
	}
	return steps, nil
}

// retention are the statements that give tables that are there the retention that is
// wanted.
func (c *connection) retention(ctx context.Context, o *Options, s Schema) (alters []string, err error) {
	for _, t := range []struct{ table, column string }{{"reads", "minute"}, {"ledger", "window_end"}, {"spans", "at"}, {"contents", "at"}} {
		rows, err := c.texts(ctx, o.AnswerMax, "SELECT engine_full FROM system.tables WHERE database = "+s.DatabaseText()+" AND name = "+text(t.table), 1)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			continue
		}
		has, want := ttlOf(rows[0][0]), strings.TrimPrefix(s.TTL(t.column), "\nTTL ")
		alter := "ALTER TABLE " + s.Local(t.table) + s.OnCluster()
		switch {
		case want == has:
			continue
		case want == "":
			alter += " REMOVE TTL"
		default:
			alter += " MODIFY TTL " + want
		}
		alters = append(alters, alter)
	}
	return alters, nil
}

// ttlOf is the expression behind TTL in a table's engine_full.
func ttlOf(engine string) string {
	_, after, found := strings.Cut(engine, " TTL ")
	if !found {
		return ""
	}
	ttl, _, _ := strings.Cut(after, " SETTINGS ")
	return ttl
}
