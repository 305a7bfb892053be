package clickhouse

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// Tables that cannot keep the promise are refused, with what fixes them; where
// that is a statement, it does.
func TestTablesThatCannotKeepThePromise(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	// Of themselves these tables do as well, and most engines would refuse projections.
	if err := server.Exec("ALTER TABLE lectern.reads DROP PROJECTION by_minute, DROP PROJECTION content_hours"); err != nil {
		t.Fatal(err)
	}
	const create = "SELECT formatQuery(create_table_query) FROM system.tables WHERE database = 'lectern' AND name = "
	created, ledger := server.Query(create + "'reads'")[0][0], server.Query(create + "'ledger'")[0][0]
	for _, c := range []struct {
		name     string
		table    string
		old, new string // in its statement
		late     time.Duration
		says     string
		fixes    string // empty where what it says is no single statement
	}{
		{name: "as it should be", table: "reads"},
		{name: "no table", table: "reads", old: "CREATE TABLE lectern.reads", new: "CREATE TABLE lectern.elsewhere", says: "there is no table", fixes: "lectern schema --apply"},
		{name: "sums rows", table: "reads", old: "ENGINE = MergeTree", new: "ENGINE = SummingMergeTree", says: "is a SummingMergeTree", fixes: "RENAME TABLE"},
		{name: "keeps nothing", table: "reads", old: "ENGINE = MergeTree", new: "ENGINE = ReplacingMergeTree", says: "is a ReplacingMergeTree", fixes: "RENAME TABLE"},
		{name: "months", table: "reads", old: "toDate(minute)\nORDER", new: "toYYYYMM(minute)\nORDER", says: "is partitioned by", fixes: "RENAME TABLE"},
		{name: "no partitions", table: "reads", old: "PARTITION BY toDate(minute)\n", new: "", says: "is partitioned by", fixes: "RENAME TABLE"},
		{name: "another order", table: "reads", old: "ORDER BY (stream, content, minute, user)", new: "ORDER BY (minute, stream, content, user)", says: "is ordered by", fixes: "RENAME TABLE"},
		{name: "a narrow column", table: "reads", old: "`opens` UInt32", new: "`opens` UInt16", says: "the column opens", fixes: "ALTER TABLE `lectern`.`reads` MODIFY COLUMN `opens` UInt32"},
		{name: "a column less", table: "reads", old: "`shares` UInt32 CODEC(T64, ZSTD(1)),", new: "", says: "no column shares", fixes: "ALTER TABLE `lectern`.`reads` ADD COLUMN `shares` UInt32"},
		{name: "tokens forgotten", table: "reads", old: "non_replicated_deduplication_window = 100000", new: "non_replicated_deduplication_window = 0", says: "does not know the tokens", fixes: "ALTER TABLE `lectern`.`reads` MODIFY SETTING non_replicated_deduplication_window = 100000"},
		{name: "few tokens", table: "reads", old: "non_replicated_deduplication_window = 100000", new: "non_replicated_deduplication_window = 9999", says: "does not know the tokens", fixes: "ALTER TABLE `lectern`.`reads` MODIFY SETTING non_replicated_deduplication_window = 100000"},
		{name: "tokens of the server's default", table: "reads", old: "non_replicated_deduplication_window = 100000, ", new: "", says: "does not know the tokens", fixes: "ALTER TABLE `lectern`.`reads` MODIFY SETTING non_replicated_deduplication_window = 100000"},
		{name: "a short retention", table: "reads", old: "\nSETTINGS", new: "\nTTL minute + toIntervalDay(2)\nSETTINGS", late: 48 * time.Hour, says: "keeps rows for 48h", fixes: "ALTER TABLE `lectern`.`reads` MODIFY TTL minute + toIntervalDay(4)"},
		{name: "a retention without a limit on late events", table: "reads", old: "\nSETTINGS", new: "\nTTL minute + toIntervalYear(2)\nSETTINGS", says: "without a limit", fixes: "MODIFY TTL"},
		{name: "a long retention", table: "reads", old: "\nSETTINGS", new: "\nTTL minute + toIntervalDay(3)\nSETTINGS", late: 48 * time.Hour},
		{name: "books that add up twice", table: "ledger", old: "ENGINE = ReplacingMergeTree(attempt)", new: "ENGINE = MergeTree", says: "is a MergeTree", fixes: "RENAME TABLE"},
		{name: "books of any attempt", table: "ledger", old: "ReplacingMergeTree(attempt)", new: "ReplacingMergeTree", says: "of the last attempt", fixes: "RENAME TABLE"},
		{name: "books that replace others", table: "ledger", old: "ORDER BY (collector, block, stream, class)", new: "ORDER BY (collector, block)", says: "may replace each other", fixes: "RENAME TABLE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for table, statement := range map[string]string{"reads": created, "ledger": ledger} {
				if table == c.table && !strings.Contains(statement, c.old) {
					t.Fatalf("%q is not in\n%s", c.old, statement)
				}
				if table == c.table && c.old != "" {
					statement = strings.Replace(statement, c.old, c.new, 1)
				}
				for _, s := range []string{"DROP TABLE IF EXISTS lectern." + table, "DROP TABLE IF EXISTS lectern.elsewhere", statement} {
					if err := server.Exec(s); err != nil {
						t.Fatalf("%s: %v", s, err)
					}
				}
			}
			o.LateMax = c.late
			_, err := opened(t, o).LastNumber(t.Context())
			if c.says == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || errors.Is(err, storage.ErrAway) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.fixes) {
				t.Fatalf("said %v, want %q and %q", err, c.says, c.fixes)
			}
			if !strings.HasPrefix(c.fixes, "ALTER") {
				return
			}
			_, fix, _ := strings.Cut(err.Error(), "To fix it: ")
			fix, _, _ = strings.Cut(fix, ", or a shorter")
			if err := server.Exec(fix); err != nil {
				t.Errorf("%s: %v", fix, err)
			}
			if _, err := opened(t, o).LastNumber(t.Context()); err != nil {
				t.Errorf("after %s it is refused: %v", fix, err)
			}
		})
	}
}

// A table has to know its tokens for long enough, replicated or not, by its own
// settings or by the server's.
func TestWindowsOfTokens(t *testing.T) {
	for _, c := range []struct {
		engine, settings string
		count, seconds   string // the server's
		says             string // empty: it is good
	}{
		{"ReplicatedMergeTree", "replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800", "0", "0", ""},
		{"ReplicatedMergeTree", "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 3600", "0", "0", ""},
		{"ReplicatedMergeTree", "replicated_deduplication_window = 0", "10000", "3600", "replicated_deduplication_window = 0:"},
		{"ReplicatedMergeTree", "replicated_deduplication_window = 9999", "10000", "3600", "replicated_deduplication_window = 9999:"},
		{"ReplicatedMergeTree", "replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 1", "10000", "3600", "replicated_deduplication_window_seconds = 1:"},
		{"ReplicatedMergeTree", "replicated_deduplication_window_seconds = 0", "10000", "3600", "replicated_deduplication_window_seconds = 0:"},
		{"ReplicatedMergeTree", "", "10000", "3600", ""}, // of 25.10 and later
		{"ReplicatedMergeTree", "", "10000", "1", "replicated_deduplication_window_seconds = 1:"},
		{"ReplicatedMergeTree", "", "1000", "604800", "replicated_deduplication_window = 1000:"}, // of 25.8 and before
		{"ReplicatedMergeTree", "", "", "", "replicated_deduplication_window = unknown:"},
		{"ReplicatedMergeTree", "non_replicated_deduplication_window = 100000", "", "", "replicated_deduplication_window = unknown:"},
		{"SharedMergeTree", "replicated_deduplication_window = 0", "10000", "3600", "replicated_deduplication_window = 0:"},
		{"MergeTree", "non_replicated_deduplication_window = 100000", "0", "0", ""},
		{"MergeTree", "", "10000", "3600", "non_replicated_deduplication_window = 0:"},
		{"MergeTree", "replicated_deduplication_window = 100000", "0", "0", "non_replicated_deduplication_window = 0:"},
	} {
		o := Options{Addresses: []string{"a:9000"}, Database: "lectern"}
		if err := o.fill(); err != nil {
			t.Fatal(err)
		}
		x := &tables{replicated: c.engine != "MergeTree",
			engines:   map[string]string{"reads": c.engine, "ledger": "ReplicatedReplacingMergeTree", "spans": "ReplicatedReplacingMergeTree", "contents": "ReplicatedReplacingMergeTree"},
			full:      map[string]string{"reads": c.engine + "('/p', '{replica}') PARTITION BY toDate(minute) ORDER BY (stream, content, minute, user) SETTINGS " + c.settings, "ledger": "ReplicatedReplacingMergeTree('/q', '{replica}', attempt)", "spans": "ReplicatedReplacingMergeTree('/s', '{replica}', seal)", "contents": "ReplicatedReplacingMergeTree('/n', '{replica}', at)"},
			partition: map[string]string{"reads": "toDate(minute)"},
			sorting:   map[string]string{"reads": "stream, content, minute, user", "ledger": "collector, block, stream, class", "spans": "stream, class, source, collector, met", "contents": "stream, content, class, attribute"},
			columns:   map[string]map[string]string{"reads": {}, "ledger": {}, "spans": {}, "contents": {}},
			defaults:  map[string]string{"non_replicated_deduplication_window": "0", "replicated_deduplication_window": c.count, "replicated_deduplication_window_seconds": c.seconds},
		}
		for _, column := range readsColumns {
			x.columns["reads"][column.name] = column.kind
		}
		for _, column := range ledgerColumns {
			x.columns["ledger"][column.name] = column.kind
		}
		for _, column := range spanColumns {
			x.columns["spans"][column.name] = column.kind
		}
		for _, column := range contentColumns {
			x.columns["contents"][column.name] = column.kind
		}
		err := x.check(&o)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), "does not know the tokens") || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s with %q, of a server with %q and %q: %v, want %q", c.engine, c.settings, c.count, c.seconds, err, c.says)
		}
	}
}

// What is asked of system tables that the engine here has nothing in is there, by
// these names.
func TestSystemTables(t *testing.T) {
	server := clickhousetest.Start(t, clickhousetest.Options{})
	for table, columns := range map[string]string{
		"replicas":                       "database, table, replica_name, zookeeper_name, zookeeper_path, log_max_index, log_pointer, is_readonly, is_session_expired, zookeeper_exception",
		"replication_queue":              "database, table, type, node_name, new_part_name",
		"clusters":                       "cluster, shard_num, replica_num, host_name, port, errors_count, slowdowns_count",
		"replicated_merge_tree_settings": "name, value",
	} {
		for name := range strings.SplitSeq(columns, ", ") {
			if n := server.Query("SELECT count() FROM system.columns WHERE database = 'system' AND table = '" + table + "' AND name = '" + name + "'")[0][0]; n != "1" {
				t.Errorf("system.%s has no column %s", table, name)
			}
		}
	}
}

// The queue of a replica that has none of its parts to fetch is empty, by a question
// that the engine understands.
func TestQueueOfAReplica(t *testing.T) {
	_, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	if err := s.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := s.server.(*native)
	b := randomBlock(rand.New(rand.NewPCG(1, 1)), 1, 1)
	if oldest, newest, err := n.queue(t.Context(), b); oldest != math.MaxUint64 || newest != 0 || err != nil {
		t.Errorf("%d to %d, %v", oldest, newest, err)
	}
	// A table that is none of its replicas is not taken for one that has followed.
	n.tables.replicated = true
	if p, err := n.progress(t.Context(), b); err == nil || !strings.Contains(err.Error(), "does not say how far") {
		t.Errorf("%+v, %v", p, err)
	}
	n.tables.engines["reads"] = "SharedMergeTree"
	if p, err := n.progress(t.Context(), b); err != nil || p.late != sharedLate || p.oldest != math.MaxUint64 {
		t.Errorf("%+v, %v", p, err)
	}
}

// A table that is another than the one a block may be in is refused while that is
// so, by a word of its own, and taken when a person says so.
func TestAnotherTable(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	n := newNotes()
	o.Journal = n
	s := opened(t, o)
	r := rand.New(rand.NewPCG(seed(t), 30))
	first, second := randomBlock(r, 1, 10), randomBlock(r, 2, 10)
	stored(t, s, first)
	if !strings.HasPrefix(n.shard, "table ") || !strings.Contains(n.shard, " of server ") {
		t.Errorf("kept is %q", n.shard)
	}
	server.Fault(clickhousetest.Fault{Kind: clickhousetest.CutCommitted, Table: "reads", Times: 1})
	if answer, err := s.Store(t.Context(), second); answer != storage.Unsure {
		t.Fatalf("answer %d, %v", answer, err)
	}
	n.waiting[2] = true
	if err := server.Exec("RENAME TABLE lectern.reads TO lectern.elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := server.Exec("CREATE TABLE lectern.reads AS lectern.elsewhere"); err != nil {
		t.Fatal(err)
	}
	o.Tried = 2
	for _, s := range []*Store{s, opened(t, o)} {
		before := s.meters.barred[barredShard].Get()
		if answer, err := s.Store(t.Context(), second); answer != storage.Retry || !errors.Is(err, storage.ErrBarred) || !strings.Contains(err.Error(), "of another shard, table ") {
			t.Errorf("answer %d, %v", answer, err)
		}
		if s.meters.barred[barredShard].Get() != before+1 {
			t.Error("it was not counted")
		}
	}
	n.resend[2] = true
	stored(t, s, second)
	if n := server.Query("SELECT count() FROM lectern.reads WHERE stream = 65535")[0][0]; n != "1" || n == "" {
		t.Errorf("%s blocks are in the new table", n)
	}
}

// One address of a table that is not replicated, or a block could be on two.
func TestSeveralAddressesNeedReplicas(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	o.Addresses = []string{server.Address(), server.Address()}
	_, err := opened(t, o).LastNumber(t.Context())
	if err == nil || errors.Is(err, storage.ErrAway) || !strings.Contains(err.Error(), "is not replicated") {
		t.Errorf("two addresses: %v", err)
	}
	// After a failure the next one is tried first; one that does not answer is
	// passed over, and tried again in its turn.
	o.Addresses = []string{"127.0.0.1:1", server.Address(), "127.0.0.1:2"}
	d := dialer{o: &o}
	for range 2 {
		c, err := d.dial(t.Context())
		if err != nil || c.address != server.Address() || d.next != 1 {
			t.Fatalf("%v, at address %d", err, d.next)
		}
		c.close()
		d.rotate()
	}
	o.Addresses = []string{"127.0.0.1:1", "127.0.0.1:2"}
	if _, err := d.dial(t.Context()); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "127.0.0.1:2") {
		t.Errorf("nobody answers: %v", err)
	}
	// Readers take whoever answers.
	o.Addresses = []string{"127.0.0.1:1", server.Address()}
	reader, err := OpenReader(o)
	if err == nil {
		_, err = reader.Books(t.Context())
	}
	if err != nil {
		t.Errorf("the second address was not asked: %v", err)
	}
}

// A user and a password in the address are refused, and not shown.
func TestPasswordInAddress(t *testing.T) {
	for _, address := range []string{"u:s3cret@127.0.0.1:1", "u:s3cret@127.0.0.1", "clickhouse://u:s3cret@127.0.0.1:1/lectern", "127.0.0.1:1?password=s3cret"} {
		o := Options{Addresses: []string{"127.0.0.1:1", address}}
		_, open := Open(o)
		_, reader := OpenReader(o)
		_, apply := Apply(t.Context(), o, Schema{})
		for _, err := range []error{open, reader, apply} {
			if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "clickhouse.password_file") {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
}

// Wrong credentials need a person; the password is in no message. TLS is checked
// against the given authority, and a server without it is not taken.
func TestCredentialsAndTLS(t *testing.T) {
	const password = "a-s3cret"
	_, o := started(t, clickhousetest.Options{User: "writer", Password: password, TLS: true})
	if _, err := opened(t, o).LastNumber(t.Context()); err != nil {
		t.Fatal(err)
	}
	// From a file, which may change and end in a line feed.
	fromFile := o
	fromFile.Password, fromFile.PasswordFile = "", filepath.Join(t.TempDir(), "password")
	for content, ok := range map[string]bool{password + "\n": true, "old": false} {
		if err := os.WriteFile(fromFile.PasswordFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := opened(t, fromFile).LastNumber(t.Context()); (err == nil) != ok {
			t.Errorf("with %q in the file: %v", content, err)
		}
	}
	wrong := o
	wrong.Password = "wrong-" + password
	_, err := opened(t, wrong).LastNumber(t.Context())
	if err == nil || errors.Is(err, storage.ErrAway) || strings.Contains(err.Error(), password) {
		t.Errorf("a wrong password: %v", err)
	}
	wrong = o
	wrong.TLSCA = "" // the system's authorities do not know it
	if _, err = opened(t, wrong).LastNumber(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	wrong.TLS = false
	if _, err = opened(t, wrong).LastNumber(t.Context()); err == nil {
		t.Error("plain text was taken by a server with TLS")
	}
}
