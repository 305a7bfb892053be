package clickhouse

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// Every pod may apply the schema at once, and again; what is printed makes the
// same tables.
func TestApplyFromEveryPodAtOnce(t *testing.T) {
	server := clickhousetest.Start(t, clickhousetest.Options{})
	o := optionsOf(server)
	emptied(t, server)
	var pods sync.WaitGroup
	for range 8 {
		pods.Go(func() {
			if _, err := Apply(t.Context(), o, Schema{}); err != nil {
				t.Error(err)
			}
		})
	}
	pods.Wait()
	if taken, err := Apply(t.Context(), o, Schema{}); len(taken) != 0 || err != nil {
		t.Errorf("applied again: steps %v, %v", taken, err)
	}
	if _, err := opened(t, o).LastNumber(t.Context()); err != nil {
		t.Error(err)
	}
	const tables = "SELECT name, replaceRegexpAll(create_table_query, 'UUID \\'[^\\']*\\'', '') FROM system.tables WHERE database = 'lectern' ORDER BY name"
	applied := server.Query(tables)

	if err := server.Exec("DROP DATABASE lectern"); err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(Schema{Database: "lectern"}.String(), ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if err := server.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	printed := server.Query(tables)
	if len(applied) != len(printed) || len(applied) < 9 {
		t.Fatalf("%d tables are applied, %d printed", len(applied), len(printed))
	}
	for i := range applied {
		if strings.Join(applied[i], " ") != strings.Join(printed[i], " ") {
			t.Errorf("applied\n%s\nprinted\n%s", applied[i], printed[i])
		}
	}
	if taken, err := Apply(t.Context(), o, Schema{}); len(taken) != 0 || err != nil {
		t.Errorf("applied over what was printed: steps %v, %v", taken, err)
	}
}

// One that is told that another is ahead goes on behind it.
func TestApplyBehindAnother(t *testing.T) {
	server := clickhousetest.Start(t, clickhousetest.Options{})
	o := optionsOf(server)
	emptied(t, server)
	for _, code := range raced {
		server.Fault(clickhousetest.Fault{Kind: clickhousetest.Fail, Table: clickhousetest.AnyQuery, Times: 2, Code: int32(code)})
		if _, err := Apply(t.Context(), o, Schema{}); err != nil {
			t.Errorf("%v: %v", code, err)
		}
	}
	server.Fault(clickhousetest.Fault{Kind: clickhousetest.Fail, Table: clickhousetest.AnyQuery, Times: 1, Code: int32(proto.ErrAccessDenied)})
	if _, err := Apply(t.Context(), o, Schema{}); err == nil {
		t.Error("a right that is missing was passed over")
	}
}

// Retention is given to tables that are there, changed, and taken away again. A
// day goes as a whole, its receipts with the last of its rows.
func TestRetention(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 8))
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	stored(t, s, randomBlock(r, 1, 100)) // of 2024
	ttl := func() string {
		return ttlOf(server.Query("SELECT engine_full FROM system.tables WHERE database = 'lectern' AND name = 'reads'")[0][0])
	}
	for _, c := range []struct {
		retention time.Duration
		want      string
	}{{365 * 100 * 24 * time.Hour, "minute + toIntervalSecond(3153600000)"}, {72 * time.Hour, "minute + toIntervalSecond(259200)"}, {0, ""}, {72 * time.Hour, "minute + toIntervalSecond(259200)"}} {
		if _, err := Apply(t.Context(), o, Schema{Retention: c.retention}); err != nil {
			t.Fatal(err)
		}
		if got := ttl(); got != c.want {
			t.Errorf("retention %v: the TTL is %q, want %q", c.retention, got, c.want)
		}
	}
	late := o
	late.LateMax = 48 * time.Hour
	if _, err := opened(t, late).LastNumber(t.Context()); err != nil {
		t.Errorf("refused: %v", err)
	}
	if err := server.Exec("OPTIMIZE TABLE lectern.reads FINAL"); err != nil {
		t.Fatal(err)
	}
	if n := server.Query("SELECT count() FROM lectern.reads")[0][0]; n != "0" {
		t.Errorf("%s rows of 2024 are left after three days", n)
	}
}

// What streams are called is written down when it is new or has changed, and stays where
// the configuration has it no more.
func TestStreamNames(t *testing.T) {
	server := clickhousetest.Start(t, clickhousetest.Options{})
	o := optionsOf(server)
	emptied(t, server)
	stored := func() (names []string) {
		for _, row := range server.Query("SELECT stream, name FROM lectern.stream_names ORDER BY stream") {
			names = append(names, strings.Join(row, " "))
		}
		return names
	}
	for i, c := range []struct {
		streams map[uint16]string
		want    []string
		written int // names that Diff says it would write
	}{
		{map[uint16]string{7: "news", 0: "site"}, []string{"0 site", "7 news"}, 2},
		{map[uint16]string{7: "news", 0: "site"}, []string{"0 site", "7 news"}, 0},
		{map[uint16]string{7: "it's \\ another", 65534: "last"}, []string{"0 site", "7 it's \\ another", "65534 last"}, 2},
		{nil, []string{"0 site", "7 it's \\ another", "65534 last"}, 0},
	} {
		s := Schema{Streams: c.streams}
		diff, err := Diff(t.Context(), o, s)
		if err != nil {
			t.Fatal(err)
		}
		written := 0
		for _, statement := range diff {
			if strings.Contains(statement, "`streams` (stream, name)") {
				written += strings.Count(statement, ", '")
			}
		}
		if written != c.written || i > 0 && c.written == 0 && len(diff) > 0 {
			t.Errorf("%v: %d names would be written, want %d: %q", c.streams, written, c.written, diff)
		}
		if _, err := Apply(t.Context(), o, s); err != nil {
			t.Fatal(err)
		}
		if got := stored(); !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, want %q", c.streams, got, c.want)
		}
	}
	if err := server.Exec("DROP DATABASE lectern"); err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(Schema{Database: "lectern", Streams: map[uint16]string{3: "printed"}}.String(), ";\n") {
		if strings.TrimSpace(statement) != "" && server.Exec(statement) != nil {
			t.Fatalf("it is refused: %s", statement)
		}
	}
	if got := stored(); !slices.Equal(got, []string{"3 printed"}) {
		t.Errorf("printed: %q", got)
	}
}

// The form for a cluster: replicated tables, Distributed ones beside them, and
// views over these; each statement is one that ClickHouse understands.
func TestClusterForm(t *testing.T) {
	server := clickhousetest.Start(t, clickhousetest.Options{})
	s := Schema{Database: "lectern", Cluster: "main", Retention: 96 * time.Hour}
	script := s.String()
	for _, want := range []string{
		"ReplicatedMergeTree('/clickhouse/tables/{shard}/lectern/reads', '{replica}')",
		"ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/lectern/ledger', '{replica}', attempt)",
		"ENGINE = Distributed('main', 'lectern', 'reads')", "ENGINE = Distributed('main', 'lectern', 'ledger')",
		"FROM `lectern`.`reads_all`", "FROM `lectern`.`ledger_all` AS k FINAL",
		"ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/lectern/spans', '{replica}', seal)", "ENGINE = Distributed('main', 'lectern', 'spans')",
		"ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/lectern/contents', '{replica}', at)", "FROM `lectern`.`contents_all` AS c",
		"ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/lectern/streams', '{replica}', at)", "FROM `lectern`.`streams_all` AS s GROUP BY",
		"FROM `lectern`.`spans_all` AS s FINAL", "TTL toDateTime(at) + toIntervalSecond(345600)",
		"replicated_deduplication_window = 100000", "TTL minute + toIntervalSecond(345600)", "TTL toDateTime(window_end) + toIntervalSecond(345600)",
	} {
		if !strings.Contains(script, want) {
			t.Errorf("it has no %s", want)
		}
	}
	for statement := range strings.SplitSeq(script, ";\n") {
		if statement = strings.TrimSpace(statement); statement == "" {
			continue
		}
		if !strings.Contains(statement, " ON CLUSTER `main`") && !strings.Contains(statement, "INSERT INTO") {
			t.Errorf("it is for one server alone: %s", statement)
		}
		server.Query("SELECT formatQuery(" + text(statement) + ")") // fails where it cannot be parsed
	}
}
