package main

import (
	"bytes"
	"fmt"
	"github.com/lectern/lectern/internal/poll"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
	"github.com/lectern/lectern/storage/vfs"
)

// opsToken is the file of the operations port's token, wherever a test goes.
var opsToken, _ = filepath.Abs("internal/ops/testdata/token")

// onClickHouse configures a daemon with a spool of its own that stores to the
// server, in a database of the test's.
func onClickHouse(t *testing.T, s *clickhousetest.Server, dir, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("listen.address = \"127.0.0.1:0\"\nops.address = \"127.0.0.1:0\"\nops.token_file = %q\nspool.dir = %q\n"+
		"storage.driver = \"clickhouse\"\nclickhouse.address = %q\nclickhouse.user = %q\nclickhouse.password = %q\n%s\n", opsToken, dir, s.Address(), s.User(), s.Password(), lines)
	if !strings.Contains(lines, "spool.size_max") {
		text += "spool.size_max = \"384MiB\"\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// retry has parked blocks tried again.
func (d *served) retry() {
	d.t.Helper()
	token, err := os.ReadFile(opsToken)
	if err != nil {
		d.t.Fatal(err)
	}
	ask, err := http.NewRequest(http.MethodPost, d.ops+"/retry", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	ask.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		d.t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		d.t.Fatalf("POST /retry: %s", answer.Status)
	}
}

// tables makes the tables anew, by the command that operators use.
func tables(t *testing.T, s *clickhousetest.Server) {
	t.Helper()
	if os.Getenv("LECTERN_TEST_CLICKHOUSE") != "" {
		if s.Query("SELECT count() FROM system.databases WHERE name = 'lectern'")[0][0] != "0" {
			t.Fatal("the server at LECTERN_TEST_CLICKHOUSE has a database lectern, which this test would drop: drop it yourself, or name another server (and run packages one by one: -p 1)")
		}
		t.Cleanup(func() {
			if err := s.Exec("DROP DATABASE IF EXISTS lectern"); err != nil {
				t.Error(err)
			}
		})
	}
	config := onClickHouse(t, s, "unused", "")
	if out := succeed(t, "schema", "--apply", "--config", config); !strings.Contains(out, "are made: steps 1") {
		t.Errorf("schema --apply: %s", out)
	}
	if out := succeed(t, "schema", "--apply", "--config", config); !strings.Contains(out, "as they should be") {
		t.Errorf("schema --apply again: %s", out)
	}
}

// The real log into the real engine: the same minutes as the pipeline counts, and
// as the Parquet store has.
func TestAccessLogIntoClickHouse(t *testing.T) {
	o := clickhousetest.Options{User: "lectern", Password: "s3cret-w0rd"}
	if os.Getenv("LECTERN_TEST_CLICKHOUSE") != "" {
		o = clickhousetest.Options{} // that server's own
	}
	s := clickhousetest.Start(t, o)
	tables(t, s)
	log := accessLog()
	d := serveOn(t, onClickHouse(t, s, filepath.Join(t.TempDir(), "spool"), `window.late_max = "0s"`))
	opens := shell(t, logOpens+` | wc -l`, log)
	for stream, network := range map[string]string{"1": "udp", "2": "tcp"} {
		if sent := d.emit(network, "--log", log, "--stream", stream); strconv.FormatUint(sent.Events, 10) != opens {
			t.Errorf("%s: emit sent %d events, the log has %s", network, sent.Events, opens)
		}
	}
	d.stop()
	if out := succeed(t, "books", "--config", d.config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}

	parquetDir := filepath.Join(t.TempDir(), "parquet")
	p := serveOn(t, configure(t, parquetDir, `window.late_max = "0s"`))
	p.emit("tcp", "--log", log, "--stream", "1")
	p.stop()
	inParquet := map[string]int{}
	for _, r := range storedRows(t, parquetDir) {
		inParquet[fmt.Sprint(r.Minute.Unix(), r.Content, r.User)] += int(r.Opens)
	}

	want := make(map[string]int)
	for line := range strings.Lines(shell(t, logOpens+` | sort | uniq -c`, log)) {
		f := strings.Fields(line)
		n, _ := strconv.Atoi(f[0])
		minute, err := time.Parse("02/Jan/2006:15:04", f[1])
		if err != nil {
			t.Fatal(err)
		}
		want[fmt.Sprint(minute.Unix(), xxhash.Sum64String(f[2]), xxhash.Sum64String(f[3]))] = n
	}
	contents := shell(t, logOpens+` | awk '{print $2}' | sort -u | wc -l`, log)
	users := shell(t, logOpens+` | awk '{print $3}' | sort -u | wc -l`, log)
	for _, stream := range []string{"1", "2"} {
		row := s.Query("SELECT sum(opens), uniqExact(content), uniqExact(user) FROM lectern.reads WHERE stream = " + stream)[0]
		if row[0] != opens || row[1] != contents || row[2] != users {
			t.Errorf("stream %s: opens, contents and users are %v, want %s %s %s", stream, row, opens, contents, users)
		}
		got := make(map[string]int)
		for _, r := range s.Query("SELECT toUInt32(minute), content, user, sum(opens) FROM lectern.reads WHERE stream = " + stream + " GROUP BY minute, content, user") {
			got[strings.Join(r[:3], " ")], _ = strconv.Atoi(r[3])
		}
		if !maps.Equal(got, want) {
			t.Errorf("stream %s: the minutes differ from the log's: %d keys, want %d", stream, len(got), len(want))
		}
		if !maps.Equal(got, inParquet) {
			t.Errorf("stream %s: the minutes differ from those in Parquet: %d keys, want %d", stream, len(got), len(inParquet))
		}
		t.Logf("stream %s: %s opens, %s contents, %s users, %d rows", stream, row[0], row[1], row[2], len(got))
		n, _ := strconv.ParseUint(stream, 10, 16)
		topFive(t, d, log, uint16(n))
	}
	if strings.Contains(d.said(), "s3cret-w0rd") {
		t.Error("the password is in the log")
	}
}

// While ClickHouse is away a daemon starts, counts and acknowledges; killed and
// started again it brings all of it to its tables when they are there.
func TestClickHouseAway(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	s.Kill()
	config := onClickHouse(t, s, filepath.Join(t.TempDir(), "spool"), "window.ack_interval = \"50ms\"\nwindow.flush_interval = \"200ms\"")
	for round := range 2 {
		d := serveOn(t, config)
		if status, body := d.get("/readyz"); status != http.StatusOK {
			t.Errorf("not ready without ClickHouse: %d %s", status, body)
		}
		d.emit("tcp", "--events", "20000", "--stream", strconv.Itoa(round+1), "--seed", strconv.Itoa(round+1))
		_ = d.command.Process.Kill()
		<-d.finished
	}
	s.Restart()
	d := serveOn(t, config)
	d.emit("tcp", "--events", "20000", "--stream", "3")
	d.stop()
	if out := succeed(t, "books", "--config", config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}
	for _, stream := range []string{"1", "2", "3"} {
		row := s.Query("SELECT sum(opens + reads + finishes + saves + shares) FROM lectern.reads WHERE stream = " + stream)[0]
		if row[0] != "20000" {
			t.Errorf("stream %s has %s events", stream, row[0])
		}
	}
	if row := s.Query("SELECT count() FROM lectern.receipts WHERE copies != 1 OR checksums != 1")[0]; row[0] != "0" {
		t.Errorf("%s blocks are not there exactly once", row[0])
	}
}

// The daemon is killed while its blocks are on their way to a ClickHouse that
// loses answers: what was acknowledged is there, once.
func TestKilledOnTheWayToClickHouse(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	config := onClickHouse(t, s, filepath.Join(t.TempDir(), "spool"), "window.ack_interval = \"20ms\"\nwindow.flush_interval = \"20ms\"")
	const rounds, events = 6, 10_000
	for round, kind := range []clickhousetest.Kind{clickhousetest.CutCommitted, clickhousetest.CutInside, clickhousetest.CutLater, clickhousetest.SilentCommitted, clickhousetest.Slow, clickhousetest.Lie} {
		d := serveOn(t, config)
		for _, table := range []string{"reads", "ledger"} {
			s.Fault(clickhousetest.Fault{Kind: kind, Table: table, Times: 2, Delay: 500 * time.Millisecond})
		}
		d.emit("tcp", "--events", strconv.Itoa(events), "--seed", strconv.Itoa(round+1))
		_ = d.command.Process.Kill()
		<-d.finished
	}
	s.Clear()
	d := serveOn(t, config)
	for until := time.Now().Add(2 * time.Minute); d.metrics()["lectern_spool_blocks"] > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the spool does not get empty")
		}
	}
	d.stop()
	if row := s.Query("SELECT sum(opens) + sum(reads) + sum(finishes) + sum(saves) + sum(shares) FROM lectern.reads WHERE stream != 65535")[0]; row[0] != strconv.Itoa(rounds*events) {
		t.Errorf("%s events are stored, want %d", row[0], rounds*events)
	}
	if row := s.Query("SELECT count() FROM lectern.receipts WHERE copies != 1 OR checksums != 1")[0]; row[0] != "0" {
		t.Errorf("%s blocks are not there exactly once", row[0])
	}
	if out := succeed(t, "books", "--config", config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}
}

// Two daemons with spools of their own store to one table. A copy of a spool is
// refused, on the machine it was copied to by the directory, and by the store.
func TestTwoDaemonsOneTable(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	var daemons []*served
	var spools []string
	for i := range 2 {
		spools = append(spools, filepath.Join(t.TempDir(), "spool"))
		daemons = append(daemons, serveOn(t, onClickHouse(t, s, spools[i], "window.ack_interval = \"50ms\"\nwindow.flush_interval = \"200ms\"")))
	}
	for i, d := range daemons {
		d.emit("tcp", "--events", "30000", "--seed", strconv.Itoa(i+1))
	}
	for _, d := range daemons {
		d.stop()
	}
	if out := succeed(t, "books", "--config", daemons[0].config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}
	if row := s.Query("SELECT sum(opens + reads + finishes + saves + shares) FROM lectern.reads WHERE stream != 65535")[0]; row[0] != "60000" {
		t.Errorf("%s events are stored, want 60000", row[0])
	}
	if row := s.Query("SELECT uniqExact(collector), countIf(copies != 1 OR checksums != 1) FROM lectern.receipts")[0]; row[0] != "2" || row[1] != "0" {
		t.Errorf("%s collectors, %s blocks that are not there exactly once", row[0], row[1])
	}

	// The spool of the first, copied to another machine.
	backup := filepath.Join(t.TempDir(), "spool")
	if err := os.CopyFS(backup, os.DirFS(spools[0])); err != nil {
		t.Fatal(err)
	}
	copied := onClickHouse(t, s, backup, "")
	if _, stderr, code := lectern(t, nil, "serve", "--config", copied); code != 1 || !strings.Contains(stderr, "is a copy of another directory") {
		t.Errorf("the copy of a spool: exit %d\n%s", code, stderr)
	}
	// Where that cannot be seen, as after a disk was cloned, the store knows.
	if err := os.Remove(filepath.Join(backup, "collector")); err != nil {
		t.Fatal(err)
	}
	d := serveOn(t, daemons[0].config)
	d.emit("tcp", "--events", "100", "--seed", "3")
	d.stop()
	if _, stderr, code := lectern(t, nil, "serve", "--config", copied); code != 1 || !strings.Contains(stderr, "is an older copy") {
		t.Errorf("the older copy of a spool: exit %d\n%s", code, stderr)
	}
}

// An older copy that starts while ClickHouse is away is found out at the first
// contact: it counts, acknowledges, and stores nothing.
func TestOlderCopyWhileClickHouseIsAway(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	first := filepath.Join(t.TempDir(), "spool")
	lines := "window.ack_interval = \"50ms\"\nwindow.flush_interval = \"100ms\""
	config := onClickHouse(t, s, first, lines)
	d := serveOn(t, config)
	d.emit("tcp", "--events", "1000", "--seed", "1")
	d.stop()
	backup := filepath.Join(t.TempDir(), "spool")
	if err := os.CopyFS(backup, os.DirFS(first)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(backup, "collector")); err != nil {
		t.Fatal(err)
	}
	d = serveOn(t, config)
	d.emit("tcp", "--events", "1000", "--seed", "2")
	d.stop()
	s.Kill()
	d = serveOn(t, onClickHouse(t, s, backup, lines))
	d.emit("tcp", "--events", "5000", "--seed", "3")
	s.Restart()
	for until := time.Now().Add(time.Minute); d.metrics()["lectern_spools_behind_store"] == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the older copy was not found out")
		}
	}
	d.stop()
	if row := s.Query("SELECT sum(opens + reads + finishes + saves + shares) FROM lectern.reads WHERE stream != 65535")[0]; row[0] != "2000" {
		t.Errorf("%s events are stored, want 2000", row[0])
	}
	if out := succeed(t, "spool", "verify", "--dir", backup); !strings.Contains(out, "Every checksum is right.") {
		t.Errorf("the spool of the copy: %s", out)
	}
}

// ClickHouse is away for a while, at 100,000 events a second: the daemon's memory
// stays where it is, and afterwards everything is stored, exactly. The while is
// seconds, or what LECTERN_TEST_OUTAGE says ("10m").
func TestOutage(t *testing.T) {
	outage := 8 * time.Second
	if text := os.Getenv("LECTERN_TEST_OUTAGE"); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	const rate = 100_000
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	d := serveOn(t, onClickHouse(t, s, filepath.Join(t.TempDir(), "spool"),
		"window.flush_interval = \"1s\"\nlimits.keys_max = 262144\nlimits.rows_waiting_max = 600000\nspool.size_max = \"8GiB\""))
	const first = 2 * rate
	d.emit("tcp", "--events", strconv.Itoa(first), "--users", "50000", "--contents", "5000", "--seed", "1", "--rate", strconv.Itoa(rate))
	s.Kill()

	events := int(outage.Seconds()) * rate
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		d.emit("tcp", "--events", strconv.Itoa(events), "--users", "50000", "--contents", "5000", "--seed", "2", "--rate", strconv.Itoa(rate))
	}()
	var memory []float64
	begin := time.Now()
	for sending := true; sending; {
		select {
		case <-sent:
			sending = false
		case <-time.After(500 * time.Millisecond):
		}
		memory = append(memory, d.metrics()["process_resident_memory_bytes"])
	}
	took := time.Since(begin)
	half := len(memory) / 2
	early, late := slices.Max(memory[:half]), slices.Max(memory[half:])
	m := d.metrics()
	t.Logf("%d events in %v without ClickHouse; memory up to %.0f MiB in the first half, %.0f MiB in the second; %.0f blocks and %.0f MiB in the spool",
		events, took.Round(time.Second), early/(1<<20), late/(1<<20), m["lectern_spool_blocks"], m["lectern_spool_bytes"]/(1<<20))
	if late > 1.3*early+64<<20 { // a short while is no steady state yet
		t.Errorf("memory grew from %.0f to %.0f MiB while ClickHouse was away", early/(1<<20), late/(1<<20))
	}
	if m["lectern_spool_blocks"] == 0 {
		t.Error("nothing waits in the spool: was ClickHouse away?")
	}

	s.Restart()
	begin = time.Now()
	for until := begin.Add(outage + 5*time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if m = d.metrics(); m["lectern_events_stored_total"] == float64(first+events) {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%.0f of %d events are stored", m["lectern_events_stored_total"], first+events)
		}
	}
	t.Logf("drained %.0f rows in %v", m["lectern_rows_stored_total"], time.Since(begin).Round(time.Second))
	d.stop()
	row := s.Query("SELECT sum(opens) + sum(reads) + sum(finishes) + sum(saves) + sum(shares) FROM lectern.reads WHERE stream != 65535")[0]
	if row[0] != strconv.Itoa(first+events) {
		t.Errorf("%s events are stored, want %d", row[0], first+events)
	}
	if row := s.Query("SELECT count() FROM lectern.receipts WHERE copies != 1 OR checksums != 1")[0]; row[0] != "0" {
		t.Errorf("%s blocks are not there exactly once", row[0])
	}
	if out := succeed(t, "books", "--config", d.config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}
}

// A block that ClickHouse will not take is parked, and shown; the others go on,
// and it too when it is fixed and somebody says so. What bars all blocks parks
// none: they go on by themselves.
func TestParkedAndBarred(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	d := serveOn(t, onClickHouse(t, s, filepath.Join(t.TempDir(), "spool"), "window.ack_interval = \"50ms\"\nwindow.flush_interval = \"100ms\""))
	until := func(metric string, want float64) {
		t.Helper()
		for end := time.Now().Add(time.Minute); d.metrics()[metric] < want; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s is %v, want %v", metric, d.metrics()[metric], want)
			}
		}
	}
	exec := func(sql string) {
		t.Helper()
		if err := s.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	d.emit("tcp", "--events", "1000", "--seed", "1")
	until("lectern_events_stored_total", 1000)

	exec("RENAME TABLE lectern.reads TO lectern.elsewhere")
	d.emit("tcp", "--events", "1000", "--seed", "2")
	until(`lectern_clickhouse_barred_total{reason="tables"}`, 2)
	if m := d.metrics(); m["lectern_blocks_parked_total"] != 0 || m["lectern_events_stored_total"] != 1000 {
		t.Errorf("%v blocks are parked, %v events are stored", m["lectern_blocks_parked_total"], m["lectern_events_stored_total"])
	}
	exec("RENAME TABLE lectern.elsewhere TO lectern.reads")
	until("lectern_events_stored_total", 2000)

	exec("ALTER TABLE lectern.reads ADD CONSTRAINT none CHECK opens > 1000000")
	d.emit("tcp", "--events", "1000", "--seed", "3")
	until("lectern_blocks_parked_total", 1)
	exec("ALTER TABLE lectern.reads DROP CONSTRAINT none")
	d.emit("tcp", "--events", "1000", "--seed", "4")
	until("lectern_events_stored_total", 3000)
	d.retry()
	until("lectern_events_stored_total", 4000)
	d.stop()
	if out := succeed(t, "books", "--config", d.config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}
}

// What a killed daemon had sealed, another one on the same spool brings to
// ClickHouse under the dead one's id and numbers.
func TestLeftoversIntoClickHouse(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	dir := filepath.Join(t.TempDir(), "spool")
	elder := serveOn(t, onClickHouse(t, s, dir, "spool.share = true\nwindow.ack_interval = \"50ms\"\nwindow.flush_interval = \"200ms\""))
	elder.emit("tcp", "--events", "10000", "--seed", "1")
	s.Kill()
	elder.emit("tcp", "--events", "10000", "--seed", "2")
	newcomer := serveOn(t, onClickHouse(t, s, dir, "spool.share = true\nwindow.ack_interval = \"50ms\"\nwindow.flush_interval = \"200ms\""))
	_ = elder.command.Process.Kill()
	<-elder.finished
	newcomer.emit("tcp", "--events", "10000", "--seed", "3")
	s.Restart()
	sum := func() string {
		return s.Query("SELECT sum(opens) + sum(reads) + sum(finishes) + sum(saves) + sum(shares) FROM lectern.reads WHERE stream != 65535")[0][0]
	}
	for until := time.Now().Add(2 * time.Minute); sum() != "30000"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s events are stored, want 30000", sum())
		}
	}
	newcomer.stop()
	if sum() != "30000" {
		t.Errorf("%s events are stored, want 30000", sum())
	}
	if row := s.Query("SELECT uniqExact(collector), countIf(copies != 1 OR checksums != 1) FROM lectern.receipts")[0]; row[0] != "2" || row[1] != "0" {
		t.Errorf("%s collectors, %s blocks that are not there exactly once", row[0], row[1])
	}
	if out := succeed(t, "books", "--config", newcomer.config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}
}

// What a daemon left that ClickHouse would not take is stored by the next one when
// that is fixed, which need not be started anew for it.
func TestLeftoversUntilMended(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	config := onClickHouse(t, s, filepath.Join(t.TempDir(), "spool"), "spool.share = true\nwindow.ack_interval = \"50ms\"\nwindow.flush_interval = \"100ms\"")
	elder := serveOn(t, config)
	newcomer := serveOn(t, config)
	if newcomer.metrics()["lectern_spools_adopted_total"] != 0 {
		t.Fatal("it has taken over from a daemon that runs")
	}
	if err := s.Exec("RENAME TABLE lectern.reads TO lectern.elsewhere"); err != nil {
		t.Fatal(err)
	}
	elder.emit("tcp", "--events", "1000", "--seed", "1")
	_ = elder.command.Process.Kill()
	<-elder.finished
	poll.Until(t, "the new one tries", func() bool { return strings.Contains(newcomer.said(), "there is no table") })
	if err := s.Exec("RENAME TABLE lectern.elsewhere TO lectern.reads"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		newcomer.retry()
		if row := s.Query("SELECT sum(opens + reads + finishes + saves + shares) FROM lectern.reads WHERE stream != 65535")[0]; row[0] == "1000" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("what the elder left is not stored:\n%s", newcomer.said())
		}
	}
	newcomer.stop()
	if out := succeed(t, "books", "--config", config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}
}

// A ClickHouse that takes connections and does not answer is away: the daemon
// starts, counts, and stores when there are answers.
func TestStartWhileClickHouseHangs(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	s.Fault(clickhousetest.Fault{Kind: clickhousetest.Silent, Table: clickhousetest.AnyQuery, Times: 1})
	d := serveOn(t, onClickHouse(t, s, filepath.Join(t.TempDir(), "spool"), "window.flush_interval = \"100ms\"\nwindow.ack_interval = \"50ms\""))
	if !strings.Contains(d.said(), "the store does not answer") {
		t.Errorf("it did not meet the silence:\n%s", d.said())
	}
	d.emit("tcp", "--events", "1000")
	d.stop()
	if out := succeed(t, "books", "--config", d.config); !strings.Contains(out, "The books add up.") {
		t.Errorf("books: %s", out)
	}
}

// A daemon that cannot start beside another leaves no place behind at each try: the
// other one empties it, though the store is out of order for that too.
func TestFailingStartsLeaveNothing(t *testing.T) {
	s := clickhousetest.Start(t, clickhousetest.Options{})
	tables(t, s)
	dir := filepath.Join(t.TempDir(), "spool")
	config := onClickHouse(t, s, dir, "spool.share = true")
	elder := serveOn(t, config)
	if err := s.Exec("RENAME TABLE lectern.reads TO lectern.elsewhere"); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	failing := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(failing, []byte(strings.Replace(string(text), "127.0.0.1:0", taken.Addr().String(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(dir, "1")
	for range 2 {
		if _, stderr, code := lectern(t, nil, "serve", "--config", failing); code != 1 || !strings.Contains(stderr, taken.Addr().String()) {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		poll.Until(t, "the place is vacant", func() bool {
			locked, lockErr := vfs.OS{}.Locked(filepath.Join(place, "lock"))
			_, err := os.Stat(filepath.Join(place, "vacant"))
			return err == nil && lockErr == nil && !locked // whoever emptied it may still have it
		})
		if _, err := os.Stat(filepath.Join(place, "reserve")); err == nil {
			t.Error("the reserve of the place is kept")
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "2")); err == nil {
		t.Error("there is a second place")
	}
	if err := s.Exec("RENAME TABLE lectern.elsewhere TO lectern.reads"); err != nil {
		t.Fatal(err)
	}
	elder.stop()
}

// A daemon whose ClickHouse refuses it at the start counts, seals and acknowledges
// all the same, shows why nothing is stored, and stores when that is fixed.
func TestStartWhileClickHouseRefuses(t *testing.T) {
	const password = "a-s3cret"
	passwordFile := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(passwordFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, reason string
		refuse, fix  func(s *clickhousetest.Server)
	}{
		{"a wrong password", "login", func(*clickhousetest.Server) { write("another") }, func(*clickhousetest.Server) { write(password) }},
		{"no tables yet", "tables", func(s *clickhousetest.Server) { execute(t, s, "DROP DATABASE lectern") }, func(s *clickhousetest.Server) {
			config := onClickHouse(t, s, "unused", "")
			succeed(t, "schema", "--apply", "--config", config)
		}},
		{"a missing table", "tables", func(s *clickhousetest.Server) { execute(t, s, "RENAME TABLE lectern.ledger TO lectern.elsewhere") },
			func(s *clickhousetest.Server) { execute(t, s, "RENAME TABLE lectern.elsewhere TO lectern.ledger") }},
		{"a missing grant", "rights", func(s *clickhousetest.Server) {
			s.Fault(clickhousetest.Fault{Kind: clickhousetest.Fail, Table: clickhousetest.AnyQuery, Times: 1_000_000, Code: 497})
		}, func(s *clickhousetest.Server) { s.Clear() }},
		{"no server", "", func(s *clickhousetest.Server) { s.Kill() }, func(s *clickhousetest.Server) { s.Restart() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := clickhousetest.Start(t, clickhousetest.Options{User: "writer", Password: password})
			write(password)
			tables(t, s)
			c.refuse(s)
			path := onClickHouse(t, s, filepath.Join(t.TempDir(), "spool"), "window.ack_interval = \"50ms\"\nwindow.flush_interval = \"100ms\"")
			text, err := os.ReadFile(path)
			if err == nil {
				text = []byte(strings.Replace(string(text), fmt.Sprintf("clickhouse.password = %q", password), fmt.Sprintf("clickhouse.password_file = %q", passwordFile), 1))
				err = os.WriteFile(path, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			d := serveOn(t, path)
			d.emit("tcp", "--events", "1000", "--seed", "1") // ends when all is acknowledged
			if m := d.metrics(); m["lectern_events_stored_total"] != 0 || m["lectern_events_accepted_total"] != 1000 {
				t.Errorf("%v events are stored, %v accepted", m["lectern_events_stored_total"], m["lectern_events_accepted_total"])
			}
			if c.reason != "" {
				poll.Until(t, "it is shown as barred by "+c.reason, func() bool {
					return d.metrics()[fmt.Sprintf("lectern_clickhouse_barred_total{reason=%q}", c.reason)] >= 2
				})
			}
			c.fix(s)
			poll.Until(t, "all is stored", func() bool { return d.metrics()["lectern_events_stored_total"] == 1000 })
			d.stop()
		})
	}
}

// execute runs a statement.
func execute(t *testing.T, s *clickhousetest.Server, sql string) {
	t.Helper()
	if err := s.Exec(sql); err != nil {
		t.Fatal(err)
	}
}

// A note of the shard by a newer version refuses the start, and stays as it is.
func TestNewerShardFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	path := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("listen.address = \"127.0.0.1:0\"\nops.address = \"127.0.0.1:0\"\nspool.dir = %q\nspool.size_max = \"256MiB\"\nstorage.driver = \"clickhouse\"\nclickhouse.address = \"127.0.0.1:1\"\n", dir)
	newer := []byte("lecshard\x02\x00\x00\x00what nobody here can read")
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "shard"), newer, 0o600)
	}
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := lectern(t, nil, "serve", "--config", path); code != 1 || !strings.Contains(stderr, "of a newer version of Lectern") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "shard")); err != nil || !bytes.Equal(got, newer) {
		t.Errorf("it is %q now, %v", got, err)
	}
}

// The engine of ClickHouse reads the files of the Parquet store as they are.
func TestClickHouseReadsParquet(t *testing.T) {
	if os.Getenv("LECTERN_TEST_CLICKHOUSE") != "" {
		t.Skip("that server does not see this machine's files")
	}
	s := clickhousetest.Start(t, clickhousetest.Options{})
	dir := filepath.Join(t.TempDir(), "parquet")
	d := serveOn(t, configure(t, dir, ""))
	d.emit("tcp", "--events", "20000")
	d.stop()
	for query, want := range map[string]string{
		"SELECT sum(opens + reads + finishes + saves + shares) FROM file('%s/reads/*/*.parquet', 'Parquet')": "20000",
		"SELECT sum(accepted) FROM file('%s/ledger/*/*.parquet', 'Parquet')":                                 "20000",
	} {
		if got := s.Query(fmt.Sprintf(query, dir)); len(got) != 1 || got[0][0] != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
}
