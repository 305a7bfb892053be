package clickhouse

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// projected merges what is there, so that every part has its projections.
func projected(t testing.TB, server *clickhousetest.Server) {
	t.Helper()
	if err := server.Exec("OPTIMIZE TABLE lectern.reads FINAL"); err != nil {
		t.Fatal(err)
	}
	without := server.Query("SELECT name, projections FROM system.parts WHERE active AND database = 'lectern' AND table = 'reads' AND level > 0 AND length(projections) < 2")
	if len(without) > 0 {
		t.Fatalf("parts without their projections: %q", without)
	}
}

// largeGranules makes the granules of content_hours as large as the table's. Of as few rows
// as most tests have the table has fewer granules otherwise, and is what ClickHouse reads.
func largeGranules(t *testing.T, server *clickhousetest.Server) {
	t.Helper()
	steps, err := Schema{Database: "lectern"}.Steps()
	if err != nil {
		t.Fatal(err)
	}
	add, had := withoutSettings(steps[3].Statements[1])
	if !had {
		t.Fatalf("it has no settings: %s", add)
	}
	for _, statement := range []string{"ALTER TABLE lectern.reads DROP PROJECTION content_hours", add} {
		if err := server.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// answeredFrom sees that a question reads a projection and no rows of the table.
func answeredFrom(t *testing.T, server *clickhousetest.Server, what, statement, projection string) {
	t.Helper()
	plan := fmt.Sprint(server.Query("EXPLAIN " + statement))
	if !strings.Contains(plan, "("+projection+")") || strings.Contains(plan, "(lectern.reads)") {
		t.Errorf("%s is not answered from %s alone:\n%s\n%s", what, projection, statement, strings.ReplaceAll(plan, "] [", "\n"))
	}
}

// fewReaders are blocks of a few readers and contents, of two days, with all that is coarse.
func fewReaders(r *rand.Rand, blocks int) (all []*storage.Block) {
	for number := range uint64(blocks) {
		b := randomBlock(r, number+1, 500)
		later := uint32(number % 2)
		b.Day += later
		for i := range b.Rows.Len() {
			b.Rows.Minute[i] += later * secondsPerDay
			b.Rows.Content[i], b.Rows.User[i] = r.Uint64N(8), r.Uint64N(25)
			if b.Rows.Coarse[i] > 0 {
				b.Rows.User[i] = 0
			}
		}
		all = append(all, b)
	}
	return all
}

// Every panel of the editors' dashboard that is not about this moment is answered from a
// projection, whatever time is shown, and with what the rows say.
func TestEditorsReadProjections(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	for _, b := range fewReaders(rand.New(rand.NewPCG(seed(t), 41)), 6) {
		stored(t, s, b)
	}
	from := map[string]string{
		"stat Readers": "by_minute", "stat Finish rate": "by_minute", "timeseries Readers": "by_minute", "timeseries Dwell": "by_minute",
		"timeseries Opens, finishes, saves, shares": "by_minute", "timeseries Finish rate": "by_minute",
		"table Most read": "content_hours", "table Longest read": "content_hours",
		"variable stream": "by_minute", "stat Readers now": "by_minute",
		"table Read now": "", "stat Complete": "",
	}
	largeGranules(t, server)
	panels := editorsPanels(t, "2024-10-04 03:20:00", "2024-10-05 19:07:00")
	rows := map[string]string{}
	for title, statement := range panels {
		panels[title] = strings.ReplaceAll(statement, ">= 100", ">= 10") // no content has a hundred readers here
		statement = panels[title]
		rows[title] = fmt.Sprint(server.Query(statement + " SETTINGS optimize_use_projections = 0"))
	}
	projected(t, server)
	for title, statement := range panels {
		projection, known := from[title]
		if !known {
			t.Errorf("nobody knows what %q is answered from", title)
		}
		if projection != "" {
			answeredFrom(t, server, title, statement, projection)
		}
		if got := fmt.Sprint(server.Query(statement)); got != rows[title] {
			t.Errorf("%s:\nfrom the projection %s\nfrom the rows       %s", title, got, rows[title])
		}
	}
}

// What takes rows out takes them out of the projections, and leaves the receipts: a
// mutation, a lightweight delete, and a forgetting.
func TestProjectionsFollowDeletes(t *testing.T) {
	for name, delete := range map[string]string{
		"mutation":    "ALTER TABLE lectern.reads DELETE WHERE user = 3 AND stream != 65535 SETTINGS mutations_sync = 2",
		"lightweight": "DELETE FROM lectern.reads WHERE user = 3 AND stream != 65535",
		"mark":        "ALTER TABLE lectern.reads UPDATE coarse = 255 WHERE user = 3 AND stream != 65535 SETTINGS mutations_sync = 2",
	} {
		t.Run(name, func(t *testing.T) {
			server, o := started(t, clickhousetest.Options{})
			s := opened(t, o)
			blocks := fewReaders(rand.New(rand.NewPCG(seed(t), 42)), 4)
			for _, b := range blocks[:3] {
				stored(t, s, b)
			}
			projected(t, server)
			stored(t, s, blocks[3]) // a part that has none
			var want [2]uint64
			for _, b := range blocks {
				for i := range b.Rows.Len() {
					if row := b.Rows.Row(i); row.User != 3 && row.Coarse == storage.CoarseNot {
						want[0] += uint64(row.Opens) * row.Weight()
						want[1] += row.Dwell * row.Weight()
					}
				}
			}
			if err := server.Exec(delete); err != nil {
				t.Fatal(err)
			}
			const question = "SELECT sum(opens * (1 + skipped)), sum(dwell_ms * (1 + skipped)) FROM lectern.reads WHERE stream != 65535 AND coarse = 0"
			for _, by := range []string{"", " AND minute > toDateTime(0)", " AND toStartOfHour(minute) > toDateTime(0)"} {
				if got := fmt.Sprint(server.Query(question + by)); got != fmt.Sprintf("[[%d %d]]", want[0], want[1]) {
					t.Errorf("with%s: %s, want %d", by, got, want)
				}
			}
			projected(t, server)
			if got := fmt.Sprint(server.Query(question)); got != fmt.Sprintf("[[%d %d]]", want[0], want[1]) {
				t.Errorf("merged: %s, want %d", got, want)
			}
			if n := server.Query("SELECT count() FROM lectern.receipts WHERE copies = 1")[0][0]; n != "4" {
				t.Errorf("%s receipts of 4 blocks", n)
			}
		})
	}
}

// An insert makes no projection, and the first merge does; a block that is sent again is
// there once, before and after.
func TestInsertsMakeNoProjection(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	if err := server.Exec("SYSTEM STOP MERGES lectern.reads"); err != nil {
		t.Fatal(err)
	}
	blocks := fewReaders(rand.New(rand.NewPCG(seed(t), 43)), 4)
	for _, b := range blocks {
		stored(t, s, b)
	}
	const parts = "SELECT DISTINCT arrayStringConcat(arraySort(projections), ' ') FROM system.parts WHERE active AND database = 'lectern' AND table = 'reads' AND rows > 1"
	if got := fmt.Sprint(server.Query(parts)); got != "[[]]" {
		t.Errorf("parts of inserts have the projections %s", got)
	}
	if err := server.Exec("SYSTEM START MERGES lectern.reads"); err != nil {
		t.Fatal(err)
	}
	projected(t, server)
	for _, b := range blocks {
		stored(t, s, b)
	}
	if got := fmt.Sprint(server.Query(parts)); got != "[[by_minute content_hours]]" {
		t.Errorf("merged parts have the projections %s", got)
	}
	expect(t, server, blocks...)
}

// Of contents that are looked at little more is read of content_hours than their own rows, and
// it is read where the table has more granules.
func TestContentsReadTheirHours(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	s := Sample{Rows: 300_000, Contents: 30, Readers: 2000, Streams: 1, Days: 1, LastDay: testDay, Seed: seed(t), Block: 100_000}
	if err := Fill(t.Context(), o, &s, 2, func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	projected(t, server)
	panels := editorsPanels(t, "2024-10-04 00:00:00", "2024-10-05 00:00:00")
	answeredFrom(t, server, "Most read", panels["table Most read"], "content_hours")
	content := server.Query("SELECT content FROM lectern.reads WHERE stream = 1 GROUP BY content ORDER BY count() DESC LIMIT 1")[0][0]
	one := "SELECT sum(opens * (1 + skipped)), uniqCombinedIf(12)(user, coarse = 0 AND variant = 0) FROM lectern.reads WHERE stream = 1 AND coarse = 0 AND variant = 0 AND content = " + content
	plan := fmt.Sprint(server.Query("EXPLAIN indexes = 1 " + one))
	granules := regexp.MustCompile(`Granules: (\d+)/(\d+)`).FindStringSubmatch(plan)
	if len(granules) == 0 || granules[1] != "1" && granules[1] != "2" || len(granules[2]) < 2 {
		t.Errorf("it reads %q granules:\n%s", granules, strings.ReplaceAll(plan, "] [", "\n"))
	}
	if got, rows := server.Query(one), server.Query(one+" SETTINGS optimize_use_projections = 0"); fmt.Sprint(got) != fmt.Sprint(rows) {
		t.Errorf("from the projection %q, from rows %q", got, rows)
	}
}

// Of a question about the last minutes the parts of other hours are left out, although
// each has a receipt of the day's last minute.
func TestLastMinutesReadTheirParts(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	if err := server.Exec("SYSTEM STOP MERGES lectern.reads"); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed(t), 44))
	for number := range uint64(4) {
		b := randomBlock(r, number+1, 30_000) // several granules: the receipt is in the last one
		for i := range b.Rows.Len() {
			b.Rows.Minute[i] = testDay*secondsPerDay + uint32(number)*6*3600 + uint32(r.IntN(60))*60
		}
		stored(t, s, b)
	}
	statement := editorsPanels(t, "2024-10-04 00:00:00", "2024-10-04 18:59:00")["table Read now"]
	plan := fmt.Sprint(server.Query("EXPLAIN indexes = 1 " + statement))
	if !strings.Contains(plan, "minutes") || !strings.Contains(plan, "Parts: 1/4") {
		t.Errorf("it reads more than the last part:\n%s", strings.ReplaceAll(plan, "] [", "\n"))
	}
}

// Tables of an earlier version get projections, of a server that knows no settings of
// projections too; their parts are answered from rows until these are made, which a
// statement does that is named. A second look finds nothing to do.
func TestUpgradeToProjections(t *testing.T) {
	for name, older := range map[string]bool{"none": false, "without settings": true} {
		t.Run(name, func(t *testing.T) { upgrade(t, older) })
	}
}

// upgrade brings tables forward that were made by the statements before projections. An
// older server took these as well, all but the settings, and was ended then.
func upgrade(t *testing.T, older bool) {
	server := clickhousetest.Start(t, clickhousetest.Options{})
	o := optionsOf(server)
	emptied(t, server)
	whole, err := Diff(t.Context(), o, Schema{})
	if err != nil || len(whole) < 12 {
		t.Fatalf("%d statements for an empty server, %v", len(whole), err)
	}
	with := func(part string) int {
		return slices.IndexFunc(whole, func(s string) bool { return strings.Contains(s, part) })
	}
	step := with("ADD PROJECTION")
	made := whole[:step]
	if older {
		made = whole[:with(Schema{Database: o.Database}.recordVersion(4))]
	}
	for _, statement := range made {
		if older {
			statement, _ = withoutSettings(statement)
		}
		if err := server.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	logged := new(strings.Builder)
	old := o
	old.Logger = slog.New(slog.NewTextHandler(logged, nil))
	s := opened(t, old)
	blocks := fewReaders(rand.New(rand.NewPCG(seed(t), 45)), 4)
	for _, b := range blocks {
		stored(t, s, b)
	}
	if n := strings.Count(logged.String(), "has not all projections"); n != 1 && !older || n != 0 && older {
		t.Errorf("it is said %d times that projections are missing: %s", n, logged)
	}
	if err := server.Exec("OPTIMIZE TABLE lectern.reads FINAL"); err != nil {
		t.Fatal(err)
	}
	rest, err := Diff(t.Context(), o, Schema{})
	if err != nil || len(rest) != len(whole)-step {
		t.Fatalf("%d statements are left, want %d: %v", len(rest), len(whole)-step, err)
	}
	if taken, err := Apply(t.Context(), o, Schema{}); fmt.Sprint(taken) != "[4 5]" || err != nil {
		t.Fatalf("steps %v, %v", taken, err)
	}
	parts, rows, materialize, err := Unprojected(t.Context(), o, Schema{})
	if err != nil || !older && (parts != 2 || rows != 2004) || older && parts != 0 {
		t.Errorf("%d parts with %d rows have none, %v", parts, rows, err)
	}
	const question = "SELECT sum(opens * (1 + skipped)), uniqCombined64If(14)(user, coarse = 0 AND variant = 0) FROM lectern.reads WHERE stream != 65535"
	const byContent = "SELECT content, sum(opens * (1 + skipped)), uniqCombinedIf(12)(user, coarse = 0 AND variant = 0) FROM lectern.reads WHERE stream != 65535 GROUP BY content ORDER BY content"
	before := fmt.Sprint(server.Query(question), server.Query(byContent))
	if err := server.Exec(materialize + " SETTINGS mutations_sync = 2"); err != nil {
		t.Fatal(err)
	}
	answeredFrom(t, server, "the sum", question, "by_minute")
	if older {
		answeredFrom(t, server, "sums of contents", byContent, "content_hours")
	}
	if after := fmt.Sprint(server.Query(question), server.Query(byContent)); after != before {
		t.Errorf("before %s, after %s", before, after)
	}
	if has := fmt.Sprint(server.Query("SELECT DISTINCT arraySort(projections) FROM system.parts WHERE active AND database = 'lectern' AND table = 'reads'")); has != "[[['by_minute','content_hours']]]" {
		t.Errorf("parts have the projections %s", has)
	}
	if parts, _, _, err := Unprojected(t.Context(), o, Schema{}); err != nil || parts != 0 {
		t.Errorf("%d parts have none still, %v", parts, err)
	}
	if rest, err := Diff(t.Context(), o, Schema{}); err != nil || len(rest) != 0 {
		t.Errorf("it is not done: %q, %v", rest, err)
	}
	expect(t, server, blocks...)
	for _, b := range blocks {
		stored(t, s, b)
	}
	expect(t, server, blocks...)
}
