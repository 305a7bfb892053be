package clickhouse

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// questionBench asks a large table all questions of the dashboards and of
// docs/QUERIES.md.
type questionBench struct {
	t      *testing.T
	server *clickhousetest.Server
	sample Sample
	limit  time.Duration // for one question
	only   *regexp.Regexp
}

// What is promised of the dashboards' questions, on two cores.
const (
	warmPromise = time.Second
	coldPromise = 3 * time.Second
	// A table and what merges of it write while they run, for a row.
	diskPerRow = 36
	tries      = 3
)

// make bench-questions: a table of LECTERN_BENCH_QUESTIONS rows is made in
// LECTERN_BENCH_DIR, or gone on with, and every question asked: warm, in a new
// process without its pages in memory, and over rows. The table stays.
func TestBenchQuestions(t *testing.T) {
	rows, err := strconv.ParseUint(os.Getenv("LECTERN_BENCH_QUESTIONS"), 10, 64)
	if err != nil {
		t.Skip("LECTERN_BENCH_QUESTIONS is not a number of rows: make bench-questions sets it")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := cmp.Or(os.Getenv("LECTERN_BENCH_DIR"), filepath.Join(cache, "lectern", fmt.Sprint("questions-", rows)))
	limit, err := time.ParseDuration(cmp.Or(os.Getenv("LECTERN_BENCH_LIMIT"), "60s"))
	if err != nil {
		t.Fatal(err)
	}
	b := &questionBench{t: t, limit: limit, only: regexp.MustCompile(os.Getenv("LECTERN_BENCH_ONLY"))}
	// As `lectern bench --table` has it, in larger blocks: there is less to merge.
	b.sample = Sample{Rows: rows, Contents: 20_000, Readers: max(1, rows/20), Streams: 3, Days: 1, LastDay: testDay, Block: 4_000_000}
	room(t, dir, rows)
	b.server = clickhousetest.Start(t, clickhousetest.Options{Dir: dir})
	b.make()
	b.ask()
	t.Logf("the table stays in %s; without it, the next run begins anew", dir)
}

// room sees that there is room for the table, of which a part may be there.
func room(t *testing.T, dir string, rows uint64) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	free, has := disk.Bavail*uint64(disk.Bsize), size(t, dir)
	t.Logf("%d rows in %s take up to %.1f GB while they are made and %.1f GB then; %.1f GB are there, %.1f GB are free",
		rows, dir, float64(rows*diskPerRow)/1e9, float64(rows*16)/1e9, float64(has)/1e9, float64(free)/1e9)
	if free+has < rows*diskPerRow {
		t.Fatal("that is not enough: LECTERN_BENCH_DIR (DIR) names another place, LECTERN_BENCH_QUESTIONS (ROWS) fewer rows")
	}
}

// files calls do for each file below a directory; those that go meanwhile are left out.
func files(t *testing.T, dir string, do func(path string, info fs.FileInfo)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				do(path, info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// size is what a directory takes on disk.
func size(t *testing.T, dir string) (bytes uint64) {
	t.Helper()
	files(t, dir, func(_ string, info fs.FileInfo) { bytes += uint64(info.Size()) })
	return bytes
}

// make makes the table, and waits until merges have nothing left to do. Until all rows
// are there nothing is merged, so that what is merged has the projections of this schema.
func (b *questionBench) make() {
	b.t.Helper()
	o := optionsOf(b.server)
	o.AnswerMax = time.Hour
	_, err := Apply(b.t.Context(), o, Schema{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.exec("ALTER TABLE lectern.reads MODIFY SETTING old_parts_lifetime = 10") // disk
	b.exec("SYSTEM STOP MERGES lectern.reads")
	began, told := time.Now(), time.Now()
	err = Fill(b.t.Context(), o, &b.sample, 4, func(blocks uint64) {
		if time.Since(told) > time.Minute || blocks == b.sample.Blocks() {
			told = time.Now()
			b.t.Logf("%d of %d blocks after %v", blocks, b.sample.Blocks(), time.Since(began).Round(time.Second))
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.exec("SYSTEM START MERGES lectern.reads")
	b.settle()
	_, _, materialize, err := Unprojected(b.t.Context(), o, Schema{})
	if err != nil {
		b.t.Fatal(err)
	}
	// Parts of an earlier schema, and of tables so small that nothing is merged.
	const without = "SELECT count(), sum(rows) FROM system.parts WHERE active AND database = 'lectern' AND table = 'reads' AND length(projections) < 2"
	if parts := b.server.Query(without)[0]; parts[0] != "0" {
		b.t.Logf("%s parts with %s rows have not all projections: %s", parts[0], parts[1], materialize)
		b.exec(materialize + " SETTINGS mutations_sync = 2")
	}
	b.exec("SYSTEM STOP MERGES lectern.reads") // and mutations
	b.t.Logf("the table is made, %v in this run", time.Since(began).Round(time.Second))
	for _, row := range b.server.Query("SELECT count(), sum(rows), round(sum(bytes_on_disk) / sum(rows), 2) FROM system.parts WHERE active AND database = 'lectern' AND table = 'reads'") {
		b.t.Logf("%s parts, %s rows, %s bytes a row, projections among them:", row[0], row[1], row[2])
	}
	for _, row := range b.server.Query("SELECT name, sum(rows), round(sum(bytes_on_disk) / (SELECT sum(rows) FROM system.parts WHERE active AND database = 'lectern' AND table = 'reads'), 2) FROM system.projection_parts WHERE active AND database = 'lectern' AND table = 'reads' GROUP BY name ORDER BY name") {
		b.t.Logf("%s: %s rows, %s bytes for each row of the table", row[0], row[1], row[2])
	}
}

// quiet is for how long there is no merge when they are at an end.
const quiet = 45 * time.Second

// settle waits for merges.
func (b *questionBench) settle() {
	b.t.Helper()
	for since := time.Now(); time.Since(since) < quiet; time.Sleep(time.Second) {
		if b.server.Query("SELECT count() FROM system.merges WHERE database = 'lectern'")[0][0] != "0" {
			since = time.Now()
		}
	}
}

func (b *questionBench) exec(statement string) {
	b.t.Helper()
	if err := b.server.Exec(statement); err != nil {
		b.t.Fatalf("%s: %v", statement, err)
	}
}

// asked is what a question took.
type asked struct {
	wall, cpu time.Duration
	rows      uint64 // read
	err       error
}

// once asks a question, its answer is thrown away. The engine may use two threads.
func (b *questionBench) once(statement, settings string) (a asked) {
	b.t.Helper()
	rows, used, began := b.selected(), usedBy(b.t, b.server.PID()), time.Now()
	a.err = b.server.Exec(fmt.Sprintf("%s SETTINGS max_threads = 2, use_query_condition_cache = 0, max_memory_usage = 6000000000, max_execution_time = %g%s",
		statement, b.limit.Seconds(), settings))
	a.wall, a.cpu = time.Since(began), usedBy(b.t, b.server.PID())-used
	a.rows = b.selected() - rows
	return a
}

// selected is how many rows the engine has read.
func (b *questionBench) selected() uint64 {
	b.t.Helper()
	n, err := strconv.ParseUint(b.server.Query("SELECT sum(value) FROM system.events WHERE event = 'SelectedRows'")[0][0], 10, 64)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// usedBy is the CPU time that a process has used.
func usedBy(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	var ticks uint64
	for _, field := range strings.Fields(after)[11:13] { // utime, stime
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

// best is the quickest of some answers, as many as there is patience for.
func (b *questionBench) best(statement, settings string) (a asked) {
	b.t.Helper()
	for i := range tries {
		next := b.once(statement, settings)
		if i == 0 || next.wall < a.wall {
			a = next
		}
		if a.err != nil || a.wall > b.limit/10 {
			break
		}
	}
	return a
}

// cold asks a new process that has nothing in memory.
func (b *questionBench) cold(statement string) asked {
	b.t.Helper()
	b.server.Restart()
	b.exec("SYSTEM STOP MERGES lectern.reads")
	unix.Sync() // what is not written yet cannot be dropped
	files(b.t, b.server.Dir(), func(path string, _ fs.FileInfo) {
		f, err := os.Open(path)
		if err != nil {
			return // gone
		}
		defer f.Close()
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.t.Fatalf("%s stays in memory: %v", path, err)
		}
	})
	return b.once(statement, "")
}

// scan is what everything else is compared with: one column of all rows.
const scan = "SELECT sum(dwell_ms) FROM lectern.reads"

// ask asks all questions and prints what they took.
func (b *questionBench) ask() {
	b.t.Helper()
	const overRows = ", optimize_use_projections = 0"
	b.once(scan, overRows)
	base := b.best(scan, overRows)
	var table strings.Builder
	fmt.Fprintf(&table, "| question | rows read | warm, s | cold, s | CPU s | CPU, times the scan of a column | over rows: rows read | warm, s | CPU s |\n|---|---|---|---|---|---|---|---|---|\n")
	fmt.Fprintf(&table, "| one column of all rows | %d | %s | | %.2f | 1 | | | |\n", base.rows, base.took(b.limit), base.cpu.Seconds())
	var late []string
	for _, q := range b.questions() {
		if !b.only.MatchString(q.title) {
			continue
		}
		cold := b.cold(q.statement)
		warm := b.best(q.statement, "")
		rows := b.best(q.statement, overRows)
		line := fmt.Sprintf("| %s | %d | %s | %s | %.2f | %.2f | %d | %s | %.2f |", q.title, warm.rows, warm.took(b.limit), cold.took(b.limit), warm.cpu.Seconds(),
			warm.cpu.Seconds()/base.cpu.Seconds(), rows.rows, rows.took(b.limit), rows.cpu.Seconds())
		b.t.Log(line)
		fmt.Fprintln(&table, line)
		if !strings.HasPrefix(q.title, pageTitle) && (warm.wall > warmPromise || cold.wall > coldPromise || warm.err != nil) {
			late = append(late, q.title)
		}
	}
	again := b.best(scan, overRows)
	b.t.Logf("all of them:\n%s\nthe scan once more: %s s, CPU %.2f s", &table, again.took(b.limit), again.cpu.Seconds())
	b.t.Logf("of the dashboards, over %v warm or %v cold: %d %q", warmPromise, coldPromise, len(late), late)
}

// took is the time for the table, or why there is none.
func (a asked) took(limit time.Duration) string {
	switch {
	case a.err == nil:
		return fmt.Sprintf("%.2f", a.wall.Seconds())
	case strings.Contains(a.err.Error(), "TIMEOUT_EXCEEDED"):
		return fmt.Sprintf("over %.0f", limit.Seconds())
	case strings.Contains(a.err.Error(), "MEMORY_LIMIT_EXCEEDED"):
		return "over 6 GB"
	}
	return a.err.Error()
}

// pageTitle is before the titles of docs/QUERIES.md.
const pageTitle = "QUERIES.md: "

// questions are those of the dashboards, for the whole day, all streams and each minute,
// with the busiest moment as now, after which there is nothing; and those of the page,
// of the sample's contents.
func (b *questionBench) questions() []question {
	b.t.Helper()
	const now = "toDateTime('2024-10-04 12:00:00')"
	all := questionsOf(b.t, view{from: "2024-10-04 00:00:00", to: "2024-10-05 00:00:00", now: "2024-10-04 12:00:00", streams: "1,2,3", step: "60"})
	ends := strings.NewReplacer(
		" minute >= "+now+" - INTERVAL 5 MINUTE", " minute >= "+now+" - INTERVAL 5 MINUTE AND minute <= "+now,
		"toStartOfHour(minute) >= toStartOfHour("+now+" - INTERVAL 5 MINUTE)", "toStartOfHour(minute) >= toStartOfHour("+now+" - INTERVAL 5 MINUTE) AND toStartOfHour(minute) <= "+now,
	)
	for i := range all {
		all[i].statement = ends.Replace(all[i].statement)
	}
	page, err := os.ReadFile("../../docs/QUERIES.md")
	if err != nil {
		b.t.Fatal(err)
	}
	ofSample := strings.NewReplacer("'/guide/start'", "'/content/200'", "user = 1007", "user = xxHash64('user-1000')")
	sections, statements := statementsOf(string(page))
	for _, section := range sections {
		for i, statement := range statements[section] {
			if strings.HasPrefix(statement, "ALTER") {
				continue
			}
			title := pageTitle + section
			if i > 0 {
				title += fmt.Sprintf(" (%d)", i+1)
			}
			all = append(all, question{title, ofSample.Replace(statement)})
		}
	}
	return all
}
