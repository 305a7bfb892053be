package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// tables is what a server says of the tables that the promise rests on.
type tables struct {
	server     string // its UUID
	shard      string // what tells the tables of this shard from all others
	keeper     string // where replicated ones are in Keeper
	replicated bool
	lacks      []string                     // projections that reads has not
	engines    map[string]string            // engine, by table
	full       map[string]string            // engine_full, by table
	partition  map[string]string            // partition_key, by table
	sorting    map[string]string            // sorting_key, by table
	uuid       map[string]string            // by table
	columns    map[string]map[string]string // types, by table and column
	defaults   map[string]string            // of the settings of tokens, for tables that say nothing
}

// inspect asks for them.
func (n *native) inspect(ctx context.Context) (*tables, error) {
	t := &tables{
		engines: map[string]string{}, full: map[string]string{}, partition: map[string]string{}, sorting: map[string]string{},
		uuid: map[string]string{}, columns: map[string]map[string]string{}, defaults: map[string]string{},
	}
	where := " WHERE database = " + text(n.o.Database) + " AND "
	rows, err := n.c.texts(ctx, n.o.AnswerMax, "SELECT name, engine, engine_full, partition_key, sorting_key, toString(uuid), create_table_query FROM system.tables"+where+"name IN ('reads', 'ledger', 'spans', 'contents')", 7)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		t.engines[r[0]], t.full[r[0]], t.partition[r[0]], t.sorting[r[0]] = r[1], r[2], r[3], r[4]
		t.uuid[r[0]] = r[5]
		if r[0] == "reads" {
			t.lacks = lacking(r[6])
		}
		t.columns[r[0]] = map[string]string{}
	}
	if rows, err = n.c.texts(ctx, n.o.AnswerMax, "SELECT table, name, type FROM system.columns"+where+"table IN ('reads', 'ledger', 'spans', 'contents')", 3); err != nil {
		return nil, err
	}
	for _, r := range rows {
		if t.columns[r[0]] != nil {
			t.columns[r[0]][r[1]] = r[2]
		}
	}
	t.replicated = strings.HasPrefix(t.engines["reads"], "Replicated") || t.shared()
	settings := "system.merge_tree_settings"
	if t.replicated {
		settings = "system.replicated_merge_tree_settings"
	}
	if rows, err = n.c.texts(ctx, n.o.AnswerMax, "SELECT name, value, toString(serverUUID()) FROM "+settings+" WHERE name LIKE '%replicated_deduplication_window%'", 3); err != nil {
		return nil, err
	}
	for _, r := range rows {
		t.defaults[r[0]], t.server = r[1], r[2]
	}
	// What is asked only after an answer was lost must be allowed as well.
	if _, err = n.running(ctx, "lectern/"); err != nil {
		return nil, err
	}
	return t, n.identify(ctx, t)
}

// projections are those of reads from which questions over days are answered.
var projections = []string{"by_minute", "content_hours"}

// lacking are those that are not in the statement of a table.
func lacking(create string) (names []string) {
	for _, p := range projections {
		if !strings.Contains(create, "PROJECTION "+p+" ") {
			names = append(names, p)
		}
	}
	return names
}

// shared says that the tables are those of ClickHouse Cloud: one for all servers.
func (t *tables) shared() bool { return strings.HasPrefix(t.engines["reads"], "Shared") }

// identify finds out which shard the tables are of.
func (n *native) identify(ctx context.Context, t *tables) error {
	switch {
	case t.engines["reads"] == "":
		return nil // there is none: check says so
	case t.shared():
		t.shard = "table " + t.uuid["reads"]
		return nil
	case !t.replicated:
		t.shard = "table " + t.uuid["reads"] + " of server " + t.server
		return nil
	}
	of := " WHERE database = " + text(n.o.Database) + " AND table = 'reads'"
	rows, err := n.c.texts(ctx, n.o.AnswerMax, "SELECT zookeeper_name, zookeeper_path FROM system.replicas"+of, 2)
	if err != nil {
		return err
	}
	if len(rows) != 1 || rows[0][1] == "" {
		return fmt.Errorf("clickhouse: %s does not say where %s is in Keeper", n.c.address, n.o.name("reads"))
	}
	t.keeper = rows[0][1]
	t.shard = "replicas at " + t.keeper
	if keeper := rows[0][0]; keeper != "default" && keeper != "" {
		t.shard += " of the Keeper " + keeper
		return nil
	}
	// Two Keepers may have the same path.
	rows, err = n.c.texts(ctx, n.o.AnswerMax, "SELECT toString(czxid), toString(toUnixTimestamp(ctime)) FROM system.zookeeper WHERE path = "+text(t.keeper)+" AND name = 'metadata'", 2)
	if err != nil {
		return err
	}
	if len(rows) != 1 {
		return fmt.Errorf("clickhouse: %s: Keeper has no table at %s", n.c.address, t.keeper)
	}
	t.shard += " since transaction " + rows[0][0] + " at " + rows[0][1]
	// These, too, are asked only after an answer was lost.
	if _, err := n.c.texts(ctx, n.o.AnswerMax, "SELECT node_name FROM system.replication_queue"+of+" LIMIT 1", 1); err != nil {
		return err
	}
	return nil
}

// check says what keeps the tables from keeping the promise, and what fixes it.
func (t *tables) check(o *Options) error {
	const apply = "run \"lectern schema --apply\""
	again := func(table string) string {
		return fmt.Sprintf("RENAME TABLE %s TO %s; then %s", o.name(table), o.name(table+"_old"), apply)
	}
	for _, table := range []string{"reads", "ledger", "spans", "contents"} {
		if t.engines[table] == "" {
			return &problem{barredTables, fmt.Sprintf("there is no table %s, or the user %s may not see it", o.name(table), o.User), apply}
		}
	}
	reads, ledger := o.name("reads"), o.name("ledger")
	if family := familyOf(t.engines["reads"]); family != "MergeTree" {
		return &problem{barredTables, fmt.Sprintf("%s is a %s: only MergeTree, or ReplicatedMergeTree, keeps every row and receipt and makes one part of a block", reads, t.engines["reads"]), again("reads")}
	}
	if family := familyOf(t.engines["ledger"]); family != "ReplacingMergeTree" {
		return &problem{barredTables, fmt.Sprintf("%s is a %s: only ReplacingMergeTree lets the books of a block be written again", ledger, t.engines["ledger"]), again("ledger")}
	}
	if key := t.partition["reads"]; !daily[key] {
		return &problem{barredTables, fmt.Sprintf("%s is partitioned by %q: only by toDate(minute) is a block one part, and so there as a whole or not at all", reads, key), again("reads")}
	}
	if key := t.sorting["reads"]; !strings.HasPrefix(key, "stream, content") {
		return &problem{barredTables, fmt.Sprintf("%s is ordered by (%s): receipts are found by stream and content first", reads, key), again("reads")}
	}
	if !strings.Contains(t.full["ledger"], "attempt)") {
		return &problem{barredTables, fmt.Sprintf("%s is %s: of rows with one key the one of the last attempt must count", ledger, t.full["ledger"]), again("ledger")}
	}
	if key := t.sorting["ledger"]; key != "collector, block, stream, class" {
		return &problem{barredTables, fmt.Sprintf("%s is ordered by (%s): only rows of the same (collector, block, stream, class) may replace each other", ledger, key), again("ledger")}
	}
	if key := t.sorting["spans"]; familyOf(t.engines["spans"]) != "ReplacingMergeTree" || !strings.Contains(t.full["spans"], "seal)") || key != "stream, class, source, collector, met" {
		return &problem{barredTables, fmt.Sprintf("%s is a %s ordered by (%s): of the spans of one source, collector and meeting the one of the last seal must count", o.name("spans"), t.engines["spans"], key), again("spans")}
	}
	if err := t.checkColumns(o, "spans", spanColumns); err != nil {
		return err
	}
	if key := t.sorting["contents"]; familyOf(t.engines["contents"]) != "ReplacingMergeTree" || !strings.Contains(t.full["contents"], "at)") || key != "stream, content, class, attribute" {
		return &problem{barredTables, fmt.Sprintf("%s is a %s ordered by (%s): of the texts of one stream, content, class and attribute the last must count", o.name("contents"), t.engines["contents"], key), again("contents")}
	}
	if err := t.checkColumns(o, "contents", contentColumns); err != nil {
		return err
	}
	if err := t.checkColumns(o, "reads", readsColumns); err != nil {
		return err
	}
	if err := t.checkColumns(o, "ledger", ledgerColumns); err != nil {
		return err
	}
	if !t.replicated && o.Cluster == "" && len(o.Addresses) > 1 {
		return &problem{barredTables, fmt.Sprintf("clickhouse.address has %d addresses, and %s is not replicated: a block whose answer was lost could be stored on two servers", len(o.Addresses), reads),
			"give one address, or make the tables replicated with \"lectern schema --apply --cluster NAME\""}
	}
	if err := t.checkTokens(o); err != nil {
		return err
	}
	return t.checkTTL(o)
}

// The least that the table has to remember of the tokens of its inserts: what the
// inserts of all collectors are in the time in which one that was given up may still
// land. Seconds are for replicas alone.
const (
	tokensLeast       = 10_000
	tokenSecondsLeast = 3600
)

// checkTokens sees to it that a repetition cannot land beside the insert that it
// repeats.
func (t *tables) checkTokens(o *Options) error {
	wants := []struct {
		name        string
		least, sets int
	}{{"non_replicated_deduplication_window", tokensLeast, deduplicationWindow}}
	if t.replicated {
		wants[0].name = "replicated_deduplication_window"
		wants = append(wants, wants[0])
		wants[1].name, wants[1].least, wants[1].sets = "replicated_deduplication_window_seconds", tokenSecondsLeast, deduplicationSeconds
	}
	for _, w := range wants {
		text := t.setting(w.name, t.defaults[w.name])
		if n, err := strconv.ParseUint(text, 10, 64); err != nil || n < uint64(w.least) {
			return &problem{barredTables, fmt.Sprintf("%s does not know the tokens of its inserts for long enough, %s = %s: a repetition could land beside the insert that it repeats; at least %d are wanted",
				o.name("reads"), w.name, cmp.Or(text, "unknown"), w.least),
				fmt.Sprintf("ALTER TABLE %s MODIFY SETTING %s = %d", o.name("reads"), w.name, w.sets)}
		}
	}
	return nil
}

// daily are the partition keys that are as good as toDate(minute).
var daily = map[string]bool{"toDate(minute)": true, "toYYYYMMDD(minute)": true, "toStartOfDay(minute)": true}

// familyOf is an engine's name without what says where its parts are.
func familyOf(engine string) string {
	return strings.TrimPrefix(strings.TrimPrefix(engine, "Replicated"), "Shared")
}

func (t *tables) checkColumns(o *Options, table string, want []tableColumn) error {
	for _, c := range want {
		switch has := t.columns[table][c.name]; has {
		case c.kind:
		case "":
			return &problem{barredTables, fmt.Sprintf("%s has no column %s", o.name(table), c.name),
				fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", o.name(table), quote(c.name), c.kind)}
		default:
			return &problem{barredTables, fmt.Sprintf("the column %s of %s is %s, and %s is wanted", c.name, o.name(table), has, c.kind),
				fmt.Sprintf("ALTER TABLE %s MODIFY COLUMN %s %s", o.name(table), quote(c.name), c.kind)}
		}
	}
	return nil
}

// setting is what reads says of a setting of MergeTree.
func (t *tables) setting(name, otherwise string) string {
	m := regexp.MustCompile(`\b` + name + ` = (\d+)`).FindStringSubmatch(t.full["reads"])
	if m == nil {
		return otherwise
	}
	return m[1]
}

var intervals = map[string]time.Duration{
	"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour, "Day": 24 * time.Hour, "Week": 7 * 24 * time.Hour,
	"Month": 28 * 24 * time.Hour, "Quarter": 90 * 24 * time.Hour, "Year": 365 * 24 * time.Hour, // the shortest
}

var simpleTTL = regexp.MustCompile(`^(?:minute|toDate\(minute\)) \+ toInterval([A-Z][a-z]+)\((\d+)\)$`)

// checkTTL sees to it that no receipt goes before its block is surely released.
func (t *tables) checkTTL(o *Options) error {
	ttl := ttlOf(t.full["reads"])
	if ttl == "" {
		return nil
	}
	reads := o.name("reads")
	m := simpleTTL.FindStringSubmatch(ttl)
	if m == nil {
		return &problem{barredTables, fmt.Sprintf("%s has the TTL %q: how long it keeps receipts is not clear", reads, ttl),
			fmt.Sprintf("ALTER TABLE %s REMOVE TTL, or one of the form minute + toIntervalDay(N)", reads)}
	}
	count, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil {
		return &problem{barredTables, fmt.Sprintf("%s has the TTL %q, which cannot be read: %v", reads, ttl, err), fmt.Sprintf("ALTER TABLE %s REMOVE TTL", reads)}
	}
	keeps := time.Duration(count) * intervals[m[1]]
	if o.LateMax == 0 || keeps < o.LateMax+24*time.Hour {
		late := "without a limit (window.late_max)"
		if o.LateMax > 0 {
			late = fmt.Sprintf("up to %v late (window.late_max), and a day's partition", o.LateMax)
		}
		return &problem{barredTables, fmt.Sprintf("%s keeps rows for %v, and events are taken %s: a receipt could expire before its block leaves the spool, and the block be stored again", reads, keeps, late),
			fmt.Sprintf("ALTER TABLE %s MODIFY TTL minute + toIntervalDay(%d), or a shorter window.late_max", reads, int(o.LateMax/(24*time.Hour))+2)}
	}
	return nil
}
