package clickhouse

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// forgetBlocks are blocks whose rows are of few users, one of whose ids is the number
// of a block, as the user of a receipt is.
func forgetBlocks(r *rand.Rand, first, n uint64) (blocks []*storage.Block) {
	for number := first; number < first+n; number++ {
		b := randomBlock(r, number, 300)
		for i := range b.Rows.User {
			if b.Rows.Coarse[i] == 0 {
				b.Rows.User[i] = r.Uint64N(5)
			} else {
				b.Rows.User[i] = 0
			}
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// oracle is what the rows of blocks are that are not meant, and how many events the
// others are, by stream.
func oracle(s storage.Selection, blocks ...*storage.Block) (left []string, forgotten map[uint16]uint64) {
	forgotten = map[uint16]uint64{}
	for _, b := range blocks {
		for i := range b.Rows.Len() {
			r := b.Rows.Row(i)
			mine := (s.User == nil || *s.User == r.User && r.Coarse == 0) && (s.Stream == nil || *s.Stream == r.Stream) && (s.Before == 0 || r.Minute < s.Before)
			if mine {
				forgotten[r.Stream] += r.Events()
				continue
			}
			left = append(left, fmt.Sprint(r.Stream, r.Minute, r.Content, r.User, r.Opens, r.Reads, r.Finishes, r.Saves, r.Shares, r.Dwell, r.Progress, r.First, r.Last, uint8(r.Coarse), r.Skipped))
		}
	}
	slices.Sort(left)
	return left, forgotten
}

// rowsIn are the rows of the table, without receipts.
func rowsIn(s *clickhousetest.Server) (rows []string) {
	for _, r := range s.Query("SELECT stream, toUInt32(minute), content, user, opens, reads, finishes, saves, shares, dwell_ms, progress, toUnixTimestamp64Milli(first), toUnixTimestamp64Milli(last), coarse, skipped FROM lectern.reads WHERE stream != 65535") {
		rows = append(rows, strings.Join(r, " "))
	}
	slices.Sort(rows)
	return rows
}

// balanced sees to it that the books add up, with so many events forgotten in all; nil
// for any number.
func balanced(t *testing.T, o Options, forgotten map[uint16]uint64) {
	t.Helper()
	r, err := OpenReader(o)
	if err != nil {
		t.Fatal(err)
	}
	books, err := r.Books(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range books {
		b := &books[i]
		if b.Counts[storage.Accepted] != b.Stored+b.Forgotten || forgotten != nil && b.Forgotten != forgotten[b.Stream] {
			t.Errorf("stream %d: %d accepted, %d stored, %d forgotten, want %d", b.Stream, b.Counts[storage.Accepted], b.Stored, b.Forgotten, forgotten[b.Stream])
		}
	}
}

func forgetter(t *testing.T, o Options) *Forgetter {
	t.Helper()
	f, err := OpenForgetter(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What is meant goes, and nothing else: no receipt, whose user is the number of its
// block, and no row of several readers. Forgotten is what went.
func TestForget(t *testing.T) {
	s, o := started(t, clickhousetest.Options{})
	store := opened(t, o)
	r := rand.New(rand.NewPCG(1, 2))
	blocks := forgetBlocks(r, 1, 4)
	for _, b := range blocks {
		stored(t, store, b)
	}
	f := forgetter(t, o)
	user, stream, zero := uint64(3), uint16(2), uint64(0)
	all := map[uint16]uint64{}
	left := blocks
	for i, sel := range []storage.Selection{{User: &user, Stream: &stream}, {User: &user}, {User: &zero}, {Stream: &stream, Before: testDay*secondsPerDay + 43200}} {
		rows, err := f.Rows(t.Context(), sel)
		if err != nil {
			t.Fatal(err)
		}
		done, err := f.Forget(t.Context(), sel, int64(1000+i))
		if err != nil {
			t.Fatal(err)
		}
		want, went := oracle(sel, left...)
		var counted uint64
		for _, n := range done {
			counted += n.Rows
			if n.Events != went[n.Stream] || n.At != int64(1000+i) {
				t.Errorf("%d: %+v, want %d events", i, n, went[n.Stream])
			}
			all[n.Stream] += went[n.Stream]
		}
		if got := rowsIn(s); !slices.Equal(got, want) {
			t.Fatalf("%d: %d rows are left, want %d", i, len(got), len(want))
		}
		if uint64(len(rows)) != counted || counted == 0 {
			t.Errorf("%d: Rows had %d rows, %d were forgotten", i, len(rows), counted)
		}
		left = remaining(sel, left)
		balanced(t, o, all)
	}
	if row := s.Query("SELECT count(), countIf(copies = 1 AND checksums = 1) FROM lectern.receipts")[0]; row[0] != "4" || row[1] != "4" {
		t.Errorf("receipts: %v, want 4 of 4", row)
	}
	log, err := f.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var events uint64
	for _, n := range log {
		events += n.Events
	}
	var want uint64
	for _, n := range all {
		want += n
	}
	if events != want {
		t.Errorf("the log has %d events, %d were forgotten", events, want)
	}
	// The page has the same, and no complaint.
	if got := s.Query(statementOf(t, "Do the books balance")); len(got) > 0 {
		t.Errorf("books that do not balance: %v", got)
	}
	var page uint64
	for _, row := range s.Query(statementOf(t, "What was forgotten")) {
		n, _ := strconv.ParseUint(row[3], 10, 64)
		page += n
	}
	if page != want {
		t.Errorf("the page has %d events, %d were forgotten", page, want)
	}
	// What is there is not stored again.
	again := opened(t, func() Options { o := o; o.Tried = 10; return o }())
	for _, b := range blocks {
		stored(t, again, b)
	}
	if n := len(rowsIn(s)); n != rowCount(left) {
		t.Errorf("%d rows after the blocks came again, want %d", n, rowCount(left))
	}
}

// statementOf is the statement of a section of docs/QUERIES.md.
func statementOf(t *testing.T, section string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/QUERIES.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "\n## "+section+"\n")
	_, after, _ = strings.Cut(after, "```sql\n")
	statement, _, found := strings.Cut(after, "\n```")
	if !found {
		t.Fatalf("docs/QUERIES.md has no section %q with a statement", section)
	}
	return statement
}

// A receipt's user is the number of its block. It stays when the reader with that id is
// forgotten, in tables with projections too, whose answers are those of the table.
func TestForgetKeepsReceipts(t *testing.T) {
	s, o := started(t, clickhousetest.Options{})
	for _, projection := range []string{
		"by_user (SELECT stream, user, toDate(minute), coarse, uniqExact(content), sum(opens) GROUP BY stream, user, toDate(minute), coarse)",
		"in_order_of_users (SELECT user, stream, minute, opens, coarse ORDER BY user)",
	} {
		if err := s.Exec("ALTER TABLE lectern.reads ADD PROJECTION " + projection); err != nil {
			t.Fatal(err)
		}
	}
	store := opened(t, o)
	blocks := forgetBlocks(rand.New(rand.NewPCG(5, 6)), 1, 3)
	for _, b := range blocks {
		stored(t, store, b)
	}
	user := uint64(2)
	sel := storage.Selection{User: &user}
	if _, err := forgetter(t, o).Forget(t.Context(), sel, 1); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.Query("SELECT block, copies, checksums FROM lectern.receipts ORDER BY block")); got != "[[1 1 1] [2 1 1] [3 1 1]]" {
		t.Errorf("receipts: %s", got)
	}
	if want, _ := oracle(sel, blocks...); !slices.Equal(rowsIn(s), want) {
		t.Error("other rows are left than those of the others")
	}
	for _, projections := range []int{0, 1} {
		for _, query := range []string{"sum(opens)", "uniqExact(content)"} {
			got := s.Query(fmt.Sprintf("SELECT user, %s FROM lectern.reads WHERE stream = 1 AND coarse = 0 GROUP BY user ORDER BY user SETTINGS optimize_use_projections = %d", query, projections))
			var users []string
			for _, row := range got {
				users = append(users, row[0])
			}
			if fmt.Sprint(users) != "[0 1 3 4]" {
				t.Errorf("%s, with projections %d: %v", query, projections, got)
			}
		}
	}
	sums := func(projections int) string {
		return fmt.Sprint(s.Query(fmt.Sprintf("SELECT stream, user, toDate(minute) AS day, sum(opens) FROM lectern.reads WHERE coarse = 0 GROUP BY stream, user, day ORDER BY stream, user, day SETTINGS optimize_use_projections = %d", projections)))
	}
	if with, without := sums(1), sums(0); with != without {
		t.Errorf("with projections %s, without %s", with, without)
	}
}

// Each shard of a cluster is asked, also where only the Distributed table says that there
// is one; and without the table for the counts nothing is begun.
func TestForgetOnShards(t *testing.T) {
	addresses := []string{clickhousetest.Address(), clickhousetest.Address()}
	var servers []*clickhousetest.Server
	var first Options
	blocks := forgetBlocks(rand.New(rand.NewPCG(7, 8)), 1, 2)
	for i, address := range addresses {
		s, o := started(t, clickhousetest.Options{Address: address, Configuration: remoteServers(addresses...)})
		stored(t, opened(t, o), blocks[i])
		if servers = append(servers, s); i == 0 {
			first = o
		}
	}
	forget := func(o Options, user uint64) (events uint64) {
		t.Helper()
		done, err := forgetter(t, o).Forget(t.Context(), storage.Selection{User: &user}, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range done {
			events += n.Events
		}
		return events
	}
	named := first
	named.Cluster = "main"
	if err := servers[0].Exec("CREATE TABLE lectern.reads_all AS lectern.reads ENGINE = Distributed('main', 'lectern', 'reads')"); err != nil {
		t.Fatal(err)
	}
	for user, o := range map[uint64]Options{1: named, 2: first} {
		sel := storage.Selection{User: &user}
		_, went := oracle(sel, blocks...)
		var want uint64
		for _, n := range went {
			want += n
		}
		if events := forget(o, user); events != want {
			t.Errorf("cluster %q: %d events were forgotten, want %d", o.Cluster, events, want)
		}
		blocks = remaining(sel, blocks)
	}
	for i, s := range servers {
		if want, _ := oracle(storage.Selection{Before: 1}, blocks[i]); !slices.Equal(rowsIn(s), want) {
			t.Errorf("shard %d: other rows are left than those of the others", i+1)
		}
		if n := s.Query("SELECT count() FROM lectern.receipts WHERE copies = 1")[0][0]; n != "1" {
			t.Errorf("shard %d has %s receipts", i+1, n)
		}
	}
	if err := servers[1].Exec("RENAME TABLE lectern.forgotten TO lectern.elsewhere"); err != nil {
		t.Fatal(err)
	}
	user := uint64(3)
	_, err := forgetter(t, named).Forget(t.Context(), storage.Selection{User: &user}, 1)
	if err == nil || !strings.Contains(err.Error(), "lectern schema --apply") {
		t.Errorf("without a table for the counts: %v", err)
	}
	if n := servers[1].Query("SELECT countIf(coarse = 255) FROM lectern.reads")[0][0]; n != "0" {
		t.Errorf("%s rows are marked that cannot be noted", n)
	}
}

func rowCount(blocks []*storage.Block) (n int) {
	for _, b := range blocks {
		n += b.Rows.Len()
	}
	return n
}

// remaining are copies of blocks without the rows that are meant.
func remaining(s storage.Selection, blocks []*storage.Block) (left []*storage.Block) {
	for _, b := range blocks {
		c := &storage.Block{Number: b.Number}
		for i := range b.Rows.Len() {
			r := b.Rows.Row(i)
			if !((s.User == nil || *s.User == r.User && r.Coarse == 0) && (s.Stream == nil || *s.Stream == r.Stream) && (s.Before == 0 || r.Minute < s.Before)) {
				c.Rows.Append(&r)
			}
		}
		left = append(left, c)
	}
	return left
}

// A forgetting that is cut off after any of its statements, while blocks with rows of the
// same user come in: the books add up in between, and the next call, for whomever, ends it.
func TestForgetCutOff(t *testing.T) {
	s, o := started(t, clickhousetest.Options{})
	store := opened(t, o)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var blocks []*storage.Block
	number := uint64(1)
	store1 := func() {
		b := forgetBlocks(r, number, 1)[0]
		stored(t, store, b)
		blocks, number = append(blocks, b), number+1
	}
	all := map[uint16]uint64{}
	check := func(at string) {
		t.Helper()
		balanced(t, o, nil) // a mutation may be under way
		if t.Failed() {
			t.Fatal(at)
		}
	}
	for step := range 6 {
		user := uint64(1 + step%4)
		sel := storage.Selection{User: &user}
		store1()
		op, at := number*7, uint64(1000)
		f := forgetter(t, o)
		// The statements of Forget, one by one, up to the step.
		mark := fmt.Sprintf("ALTER TABLE lectern.reads UPDATE coarse = %d, first = %s, last = %s WHERE %s SETTINGS mutations_sync = %d", coarseForgotten, millis(op), millis(at), where(&sel), r.IntN(2))
		err := f.reader.ask(t.Context(), func(c *connection) error {
			if step > 0 {
				if err := c.do(t.Context(), time.Minute, ch.Query{Body: mark}); err != nil {
					return err
				}
			}
			check("marked")
			store1()
			check("and stored more")
			if step > 2 {
				if err := f.settled(t.Context(), c, op); err != nil {
					return err
				}
				done, err := c.count(t.Context(), &o, op)
				if err != nil {
					return err
				}
				if err := c.note(t.Context(), &o, op, done); err != nil {
					return err
				}
				check("noted")
			}
			if step > 4 {
				return c.do(t.Context(), time.Minute, ch.Query{Body: fmt.Sprintf("ALTER TABLE lectern.reads DELETE WHERE %s AND user = %d AND content < 20 SETTINGS mutations_sync = 2", marked(op), user)})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		check("cut off")
		if _, err := f.Forget(t.Context(), sel, 5); err != nil {
			t.Fatal(err)
		}
		_, went := oracle(sel, blocks...)
		for stream, n := range went {
			all[stream] += n
		}
		blocks = remaining(sel, blocks)
		balanced(t, o, all)
		want, _ := oracle(storage.Selection{Before: 1}, blocks...)
		if got := rowsIn(s); !slices.Equal(got, want) {
			t.Fatalf("step %d: %d rows are left, want %d", step, len(got), len(want))
		}
	}
}

// Two forget the same user at once, and a third another, while blocks come in.
func TestForgetAtOnce(t *testing.T) {
	s, o := started(t, clickhousetest.Options{})
	store := opened(t, o)
	r := rand.New(rand.NewPCG(3, 4))
	blocks := forgetBlocks(r, 1, 6)
	for _, b := range blocks[:4] {
		stored(t, store, b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ended := make(chan error, 3)
	for _, user := range []uint64{1, 1, 2} {
		f := forgetter(t, o)
		go func() {
			_, err := f.Forget(ctx, storage.Selection{User: &user}, 9)
			ended <- err
		}()
	}
	for _, b := range blocks[4:] {
		stored(t, store, b)
	}
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	all := map[uint16]uint64{}
	for _, user := range []uint64{1, 2} {
		sel := storage.Selection{User: &user}
		if _, err := forgetter(t, o).Forget(ctx, sel, 10); err != nil {
			t.Fatal(err)
		}
		_, went := oracle(sel, blocks...)
		for stream, n := range went {
			all[stream] += n
		}
		blocks = remaining(sel, blocks)
	}
	balanced(t, o, all)
	if n := len(rowsIn(s)); n != rowCount(blocks) {
		t.Errorf("%d rows are left, want %d", n, rowCount(blocks))
	}
}
