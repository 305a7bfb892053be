package clickhouse

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// A form is the table of the schema with something changed.
type form struct {
	name       string
	order      string            // in place of its own
	settings   string            // of the table
	codecs     map[string]string // by column
	statements []string          // over %s
}

const (
	withoutProjections = "ALTER TABLE %[1]s DROP PROJECTION IF EXISTS by_minute, DROP PROJECTION IF EXISTS content_hours"
	counters           = "opens reads finishes saves shares impressions clicks"
	everyColumn        = "stream minute content user dwell_ms progress first last coarse skipped variant resume resume_lag " + counters
)

// codec is one codec for several columns.
func codec(columns, codec string) map[string]string {
	all := map[string]string{}
	for column := range strings.FieldsSeq(columns) {
		all[column] = codec
	}
	return all
}

// tableForms are what was thought of; each leaves the projections out, which the next
// list is about.
var tableForms = []form{
	{name: "the schema's"},
	{name: "all LZ4", codecs: codec(everyColumn, "LZ4")},
	{name: "all ZSTD(1), no T64", codecs: codec(everyColumn, "ZSTD(1)")},
	{name: "all ZSTD(3), no T64", codecs: codec(everyColumn, "ZSTD(3)")},
	{name: "user: none", codecs: codec("user", "NONE")},
	{name: "user: Delta, ZSTD(1)", codecs: codec("user", "Delta, ZSTD(1)")},
	{name: "content: Delta, ZSTD(1)", codecs: codec("content", "Delta, ZSTD(1)")},
	{name: "minute: DoubleDelta, ZSTD(1)", codecs: codec("minute", "DoubleDelta, ZSTD(1)")},
	{name: "first, last: Delta, ZSTD(1)", codecs: codec("first last", "Delta, ZSTD(1)")},
	{name: "first, last: DoubleDelta, ZSTD(1)", codecs: codec("first last", "DoubleDelta, ZSTD(1)")},
	{name: "first, last, dwell_ms: T64, ZSTD(3)", codecs: codec("first last dwell_ms", "T64, ZSTD(3)")},
	{name: "first, last, dwell_ms: T64('bit'), ZSTD(1)", codecs: codec("first last dwell_ms", "T64('bit'), ZSTD(1)")},
	{name: "by stream, content, user, minute", order: "stream, content, user, minute"},
	{name: "by stream, minute, content, user", order: "stream, minute, content, user"},
	{name: "by minute, stream, content, user", order: "minute, stream, content, user"},
	{name: "granules of 2,048 rows", settings: "index_granularity = 2048"},
	{name: "granules of 32,768 rows", settings: "index_granularity = 32768"},
	{name: "the schema's, once more"},
}

// bench is what `make bench-forms` does: some hours of a day of 500 million rows, around noon,
// in each of the forms.
func TestBenchForms(t *testing.T) {
	rows, err := strconv.ParseUint(os.Getenv("LECTERN_BENCH_FORMS"), 10, 64)
	if err != nil {
		t.Skip("LECTERN_BENCH_FORMS is not a number of rows: make bench-forms sets it")
	}
	server, o := started(t, clickhousetest.Options{})
	o.AnswerMax = time.Hour
	s := Sample{Rows: 500_000_000, Contents: 20_000, Readers: 25_000_000, Streams: 3, Days: 1, LastDay: testDay, Block: 4_000_000}
	minutes, _ := s.blocks()
	noon := 12 * 60 / minutes
	var blocks []uint64
	for n := range max(1, rows*minutesPerDay/s.Rows/minutes) {
		blocks = append(blocks, noon+n+1)
	}
	b := &questionBench{t: t, server: server, limit: time.Minute}
	b.exec("SYSTEM STOP MERGES lectern.reads")
	if err := s.bring(t.Context(), &o, 2, blocks, func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s rows in %d blocks of %d minutes", server.Query("SELECT count() FROM lectern.reads")[0][0], len(blocks), minutes)
	b.forms(blocks, &s, tableForms, withoutProjections)
}

// formQuestions are asked of each form.
var formQuestions = []question{
	{"a column", "SELECT sum(dwell_ms) FROM %s"},
	{"a page's hour", "SELECT minute, uniqExact(user), sum(opens) FROM %s WHERE stream = 1 AND content = xxHash64('/content/300') AND minute < '2024-10-04 13:00:00' GROUP BY minute"},
	{"all, five minutes", "SELECT uniqExact(user) FROM %s WHERE stream IN (1, 2, 3) AND minute >= '2024-10-04 12:20:00' AND minute < '2024-10-04 12:25:00'"},
	{"a stream's readers of contents", "SELECT content, uniqExact(user) FROM %s WHERE stream = 2 GROUP BY content"},
}

// forms fills each form and prints what that took, and what questions take.
func (b *questionBench) forms(blocks []uint64, s *Sample, all []form, before string) {
	b.t.Helper()
	parts := make([]string, len(blocks))
	for i, n := range blocks {
		from := s.begin() + s.block(n).from*60
		parts[i] = fmt.Sprintf("SELECT * FROM lectern.reads WHERE stream != 65535 AND minute >= toDateTime(%d, 'UTC') AND minute < toDateTime(%d, 'UTC') ORDER BY stream, content, minute, user", from, s.begin()+s.block(n).to*60)
	}
	var reading time.Duration // without a table to write to
	for _, part := range parts {
		reading += b.cpuOf("INSERT INTO FUNCTION null('" + b.structure() + "') " + part)
	}
	table := "| form | bytes a row | an insert's CPU, µs a row | a merge's |"
	for _, q := range formQuestions {
		table += " " + q.title + ", CPU ms |"
	}
	table += "\n|---|---|---|---|" + strings.Repeat("---|", len(formQuestions)) + "\n"
	for i, f := range all {
		name := fmt.Sprintf("lectern.form_%d", i)
		b.create(name, before, f)
		var inserts time.Duration
		for _, part := range parts {
			inserts += b.cpuOf("INSERT INTO " + name + " " + part + " SETTINGS min_insert_block_size_rows = 0, min_insert_block_size_bytes = 1000000000000, max_threads = 2")
		}
		b.exec("SYSTEM START MERGES " + name)
		merge := b.cpuOf("OPTIMIZE TABLE " + name + " FINAL")
		rows, err := strconv.ParseFloat(b.server.Query("SELECT count() FROM " + name)[0][0], 64)
		if err != nil {
			b.t.Fatal(err)
		}
		bytes := b.server.Query("SELECT round(sum(bytes_on_disk) / sum(rows), 2) FROM system.parts WHERE active AND database || '.' || table = '" + name + "'")[0][0]
		micros := func(d time.Duration) float64 { return float64(d.Microseconds()) / rows }
		line := fmt.Sprintf("| %s | %s | %.2f | %.2f |", f.name, bytes, micros(inserts-reading), micros(merge))
		for _, q := range formQuestions {
			line += fmt.Sprintf(" %d |", b.leastCPU(fmt.Sprintf(q.statement, name)).Milliseconds())
		}
		b.t.Log(line)
		table += line + "\n"
		b.exec("DROP TABLE " + name + " SYNC")
	}
	b.t.Logf("reading alone is %v; all of them:\n%s", reading, table)
}

// structure are the columns of the table, for functions of tables.
func (b *questionBench) structure() string {
	var columns []string
	for _, c := range readsColumns {
		columns = append(columns, c.name+" "+strings.ReplaceAll(c.kind, "'", "\\'"))
	}
	return strings.Join(columns, ", ")
}

// create makes the table of a form, empty.
func (b *questionBench) create(name, before string, f form) {
	b.t.Helper()
	create := "CREATE TABLE " + name + " AS lectern.reads ENGINE = MergeTree PARTITION BY toDate(minute) ORDER BY (" +
		cmp.Or(f.order, "stream, content, minute, user") + ")"
	if f.settings != "" {
		create += " SETTINGS " + f.settings
	}
	b.exec(create)
	for _, statement := range append([]string{before}, f.statements...) {
		b.exec(fmt.Sprintf(statement, name))
	}
	for _, c := range readsColumns {
		if codec := f.codecs[c.name]; codec != "" {
			b.exec(fmt.Sprintf("ALTER TABLE %s MODIFY COLUMN %s %s CODEC(%s)", name, c.name, c.kind, codec))
		}
	}
	b.exec("SYSTEM STOP MERGES " + name)
}

// cpuOf is the CPU time of the engine for a statement.
func (b *questionBench) cpuOf(statement string) time.Duration {
	b.t.Helper()
	used := usedBy(b.t, b.server.PID())
	b.exec(statement)
	return usedBy(b.t, b.server.PID()) - used
}

// leastCPU is that of a question, of the least of some tries.
func (b *questionBench) leastCPU(statement string) time.Duration {
	b.t.Helper()
	var all []time.Duration
	for range 2 * tries {
		a := b.once(statement, "")
		if a.err != nil {
			b.t.Fatal(a.err)
		}
		all = append(all, a.cpu)
	}
	return slices.Min(all)
}
