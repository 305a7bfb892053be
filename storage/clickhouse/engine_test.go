package clickhouse

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
	"github.com/lectern/lectern/wire"
)

// optionsOf are those for a test's server.
func optionsOf(s *clickhousetest.Server) Options {
	return Options{
		Addresses: []string{s.Address()}, Database: "lectern", User: s.User(), Password: Secret(s.Password()), Collector: testCollector,
		Logger: slog.New(slog.DiscardHandler), DialTimeout: 2 * time.Second, AnswerMax: 20 * time.Second,
	}
}

// started is a server with the tables.
func started(t testing.TB, o clickhousetest.Options) (*clickhousetest.Server, Options) {
	t.Helper()
	s := clickhousetest.Start(t, o)
	options := optionsOf(s)
	if s.CertificateFile() != "" {
		options.TLS, options.TLSCA = true, s.CertificateFile()
	}
	emptied(t, s)
	if _, err := Apply(t.Context(), options, Schema{}); err != nil {
		t.Fatal(err)
	}
	return s, options
}

// emptied sees to it that there is no database, and that a server that is not the
// test's own does not lose one.
func emptied(t testing.TB, s *clickhousetest.Server) {
	t.Helper()
	if os.Getenv("LECTERN_TEST_CLICKHOUSE") == "" {
		return
	}
	if s.Query("SELECT count() FROM system.databases WHERE name = 'lectern'")[0][0] != "0" {
		t.Fatal("the server at LECTERN_TEST_CLICKHOUSE has a database lectern, which this test would drop: drop it yourself, or name another server (and run packages one by one: -p 1)")
	}
	t.Cleanup(func() {
		if err := s.Exec("DROP DATABASE IF EXISTS lectern"); err != nil {
			t.Error(err)
		}
	})
}

func opened(t testing.TB, o Options) *Store {
	t.Helper()
	o.Metrics = metrics.NewSet()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

const testDay = 20_000 // 2024-10-04

// randomBlock is a block of one day with rows of several streams, and its books.
func randomBlock(r *rand.Rand, number uint64, rows int) *storage.Block {
	b := &storage.Block{Collector: testCollector, Number: number, Checksum: r.Uint32()}
	var all []storage.Row
	events := map[uint16]uint64{}
	for range rows {
		minute := uint32(testDay*secondsPerDay + r.IntN(24*60)*60)
		at := int64(minute)*1000 + int64(r.IntN(60_000))
		row := storage.Row{
			Stream: uint16(1 + r.IntN(3)), Minute: minute, Content: r.Uint64N(50), User: r.Uint64(), Opens: 1, Reads: uint32(r.IntN(4)), Finishes: uint32(r.IntN(2)),
			Saves: uint32(r.IntN(2)), Shares: uint32(r.IntN(2)), Dwell: uint64(r.IntN(60_000)), Progress: uint8(r.IntN(101)), First: at, Last: at + int64(r.IntN(1000)),
		}
		if r.IntN(5) == 0 {
			row.Coarse, row.Skipped = storage.Coarse(r.IntN(storage.Coarses)), uint32(r.IntN(2)*9)
		}
		switch r.IntN(5) {
		case 0:
			row.Resume, row.ResumeLag = uint8(r.IntN(102)), uint16(r.IntN(1000))
		case 1:
			row = storage.Row{
				Stream: row.Stream, Minute: minute, Content: row.Content, User: row.User, Variant: uint8(1 + r.IntN(255)),
				Impressions: uint32(1 + r.IntN(4)), Clicks: uint32(r.IntN(2)), First: at, Last: row.Last, Coarse: row.Coarse, Skipped: row.Skipped,
			}
		}
		events[row.Stream] += row.Events()
		all = append(all, row)
	}
	slices.SortFunc(all, func(a, b storage.Row) int { return storage.CompareKeys(&a, &b) })
	for i := range all {
		b.Rows.Append(&all[i])
	}
	if rows > 0 {
		b.Day = testDay
	}
	b.Window = storage.Window{Start: int64(number) * 10_000, End: int64(number+1) * 10_000}
	for stream := uint16(1); stream <= 3; stream++ {
		b.Books = append(b.Books, storage.Book{
			Stream: stream, Counts: storage.Counts{storage.Sent: events[stream] + 10, storage.Accepted: events[stream], storage.Lost: 3, storage.Shed: 2, storage.Clamped: 1, storage.Duplicate: 7, storage.Stale: 8, storage.Reordered: 9},
		})
		k := &b.Books[stream-1].Counts
		k[storage.RefusedEvents.Of(wire.RefusedMagic)], k[storage.RefusedFrames.Of(wire.RefusedMagic)] = 4, 2
		k[storage.RefusedEvents.Of(wire.RefusedKind)], k[storage.RefusedFrames.Of(wire.RefusedKind)] = 1, 1
	}
	return b
}

// stored brings a block to the store, however often that has to be tried.
func stored(t testing.TB, s *Store, b *storage.Block) {
	t.Helper()
	var errs []error
	for range 400 {
		answer, err := s.Store(t.Context(), b)
		if answer == storage.Stored {
			return
		}
		if answer == storage.Never {
			t.Fatalf("block %d will never be stored: %v", b.Number, err)
		}
		errs = append(errs, err)
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("block %d is not stored: %v", b.Number, errors.Join(errs...))
}

// expect compares the table with these blocks: every block's receipt once, the
// sums of every column, and each row as it was.
func expect(t testing.TB, s *clickhousetest.Server, blocks ...*storage.Block) {
	t.Helper()
	var want [20]uint64
	receipts := map[string]int{}
	for _, b := range blocks {
		receipts[fmt.Sprint(b.Number)]++
		for i := range b.Rows.Len() {
			r := b.Rows.Row(i)
			for c, v := range []uint64{1, uint64(r.Stream), uint64(r.Minute), r.Content, r.User, uint64(r.Opens), uint64(r.Reads), uint64(r.Finishes),
				uint64(r.Saves), uint64(r.Shares), r.Dwell, uint64(r.Progress), uint64(r.First) + uint64(r.Last), uint64(r.Coarse), uint64(r.Skipped),
				uint64(r.Impressions), uint64(r.Clicks), uint64(r.Variant), uint64(r.Resume - 1), uint64(r.ResumeLag)} {
				want[c] += v
			}
		}
	}
	got := s.Query("SELECT count(), sum(stream), sum(toUInt32(minute)), sum(content), sum(user), sum(opens), sum(reads), sum(finishes), sum(saves), sum(shares), " +
		"sum(dwell_ms), sum(progress), sum(toUnixTimestamp64Milli(first) + toUnixTimestamp64Milli(last)), sum(coarse), sum(skipped), " +
		"sum(impressions), sum(clicks), sum(variant), sum(resume), sum(resume_lag) FROM lectern.reads WHERE stream != 65535")
	for c := range want {
		if got[0][c] != strconv.FormatUint(want[c], 10) {
			t.Errorf("column %d of the sums is %s, want %d", c, got[0][c], want[c])
		}
	}
	for _, row := range s.Query(fmt.Sprintf("SELECT user, sum(opens) FROM lectern.reads WHERE stream = 65535 AND content = %d GROUP BY user", testCollector)) {
		if row[1] != fmt.Sprint(receipts[row[0]]) {
			t.Errorf("block %s has %s receipts, want %d", row[0], row[1], receipts[row[0]])
		}
		delete(receipts, row[0])
	}
	if len(receipts) > 0 {
		t.Errorf("no receipts of %v", receipts)
	}
}

// Blocks arrive as they are, whatever the compression, with books and without,
// with rows and without, and again changes nothing. Merges keep all of it.
func TestStoreAndReadBack(t *testing.T) {
	n := seed(t)
	r := rand.New(rand.NewPCG(n, 1))
	server, o := started(t, clickhousetest.Options{})
	var blocks []*storage.Block
	number := uint64(0)
	for _, o.Compression = range []string{"lz4", "zstd", "none"} {
		s := opened(t, o)
		if last, err := s.LastNumber(t.Context()); last != number || err != nil {
			t.Fatalf("the last number is %d, %v, want %d", last, err, number)
		}
		for _, rows := range []int{1, 0, 20_000} {
			number++
			b := randomBlock(r, number, rows)
			if rows == 1 {
				b.Books = nil
			}
			stored(t, s, b)
			stored(t, s, b)
			blocks = append(blocks, b)
		}
	}
	expect(t, server, blocks...)
	if err := server.Exec("OPTIMIZE TABLE lectern.reads FINAL"); err != nil {
		t.Fatal(err)
	}
	if err := server.Exec("OPTIMIZE TABLE lectern.ledger FINAL"); err != nil {
		t.Fatal(err)
	}
	expect(t, server, blocks...)

	// One row, in full.
	b := blocks[0]
	row := b.Rows.Row(0)
	want := []string{fmt.Sprint(row.Stream), fmt.Sprint(row.Minute), fmt.Sprint(row.Content), fmt.Sprint(row.User), fmt.Sprint(row.Opens), fmt.Sprint(row.Reads),
		fmt.Sprint(row.Finishes), fmt.Sprint(row.Saves), fmt.Sprint(row.Shares), fmt.Sprint(row.Dwell), fmt.Sprint(row.Progress), fmt.Sprint(row.First), fmt.Sprint(row.Last),
		fmt.Sprint(uint8(row.Coarse)), fmt.Sprint(row.Skipped), fmt.Sprint(row.Impressions), fmt.Sprint(row.Clicks), fmt.Sprint(row.Variant),
		fmt.Sprint(row.Resume - 1), fmt.Sprint(row.ResumeLag)}
	got := server.Query(fmt.Sprintf("SELECT stream, toUInt32(minute), content, user, opens, reads, finishes, saves, shares, dwell_ms, progress, "+
		"toUnixTimestamp64Milli(first), toUnixTimestamp64Milli(last), coarse, skipped, impressions, clicks, variant, resume, resume_lag FROM lectern.reads WHERE stream = %d AND content = %d AND user = %d", row.Stream, row.Content, row.User))
	if len(got) != 1 || !slices.Equal(got[0], want) {
		t.Errorf("a row is %v, want %v", got, want)
	}
	if parts := server.Query("SELECT count() FROM system.parts WHERE database = 'lectern' AND table = 'reads' AND active AND partition != '2024-10-04'"); parts[0][0] != "1" {
		t.Errorf("%s parts of other days than that of the rows; blocks without rows have that of their window's end", parts[0][0])
	}
	books(t, o, blocks)
}

// books compares what a Reader says with plain sums.
func books(t *testing.T, o Options, blocks []*storage.Block) {
	t.Helper()
	want := map[uint16]*storage.BookTotal{}
	of := func(stream uint16) *storage.BookTotal {
		if want[stream] == nil {
			want[stream] = &storage.BookTotal{Book: storage.Book{Stream: stream}}
		}
		return want[stream]
	}
	for _, b := range blocks {
		for i := range b.Books {
			of(b.Books[i].Stream).Add(&b.Books[i])
		}
		for i := range b.Rows.Len() {
			r := b.Rows.Row(i)
			of(r.Stream).Stored += r.Events()
		}
	}
	reader, err := OpenReader(o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := reader.Books(t.Context())
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d books, %v, want %d", len(got), err, len(want))
	}
	for i := range got {
		w := want[got[i].Stream]
		if settled(&got[i]) != settled(w) {
			t.Errorf("stream %d:\n%+v, want\n%+v", got[i].Stream, got[i], *w)
		}
	}
}

// settled is all that a ledger tells of an account: of what was lost and what was
// found, the difference.
func settled(b *storage.BookTotal) string {
	var nets []int64
	for _, c := range storage.LedgerCounters {
		nets = append(nets, b.Net(c))
	}
	return fmt.Sprint(b.Account(), nets, b.Counts[storage.Plain:], b.Gap, b.Open, b.OpenSources, b.Stored)
}

// Top gives what a plain map gives.
func TestTopAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 2))
	_, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	type key struct {
		stream uint16
		id     uint64
	}
	rows := []storage.Row{}
	for number := uint64(1); number <= 3; number++ {
		b := randomBlock(r, number, 3000)
		for i := range b.Rows.User {
			b.Rows.User[i] %= 40 // ties, and readers that come again
		}
		for i := range b.Rows.Len() {
			rows = append(rows, b.Rows.Row(i))
		}
		stored(t, s, b)
	}
	reader, err := OpenReader(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []storage.TopQuery{
		{Limit: 5}, {Limit: 1000, By: storage.ByUser}, {Limit: 7, Streams: []uint16{2, 3, 9}},
		{Limit: 50, Since: testDay*secondsPerDay + 12*3600}, {Limit: 3, Since: (testDay + 1) * secondsPerDay}, {},
		{Limit: 4, Sort: storage.SortReads}, {Limit: 4, Sort: storage.SortFinishes}, {Limit: 4, Sort: storage.SortSaves, By: storage.ByUser},
		{Limit: 4, Sort: storage.SortShares}, {Limit: 4, Sort: storage.SortDwell, By: storage.ByUser},
	} {
		sums, others := map[key]*storage.TopRow{}, map[key]map[uint64]bool{}
		for i := range rows {
			row := &rows[i]
			if row.Minute < q.Since || len(q.Streams) > 0 && !slices.Contains(q.Streams, row.Stream) {
				continue
			}
			k, other, coarsest := key{row.Stream, row.Content}, row.User, storage.CoarseUsers
			if q.By == storage.ByUser {
				k.id, other, coarsest = row.User, row.Content, storage.CoarseNot
			}
			if row.Coarse > coarsest || row.Variant > 0 {
				continue
			}
			if sums[k] == nil {
				sums[k], others[k] = &storage.TopRow{Stream: k.stream, ID: k.id}, map[uint64]bool{}
			}
			sum := sums[k]
			sum.Opens += uint64(row.Opens) * row.Weight()
			sum.Reads += uint64(row.Reads) * row.Weight()
			sum.Finishes += uint64(row.Finishes) * row.Weight()
			sum.Saves += uint64(row.Saves) * row.Weight()
			sum.Shares += uint64(row.Shares) * row.Weight()
			sum.Dwell += row.Dwell * row.Weight()
			if row.Coarse == storage.CoarseNot {
				others[k][other] = true
			}
			sum.Others = uint64(len(others[k]))
		}
		var want []storage.TopRow
		for _, sum := range sums {
			want = append(want, *sum)
		}
		sort := func(r storage.TopRow) int {
			return []int{int(r.Opens), int(r.Reads), int(r.Finishes), int(r.Saves), int(r.Shares), int(r.Dwell)}[q.Sort]
		}
		slices.SortFunc(want, func(a, b storage.TopRow) int {
			for _, c := range []int{int(a.Stream) - int(b.Stream), sort(b) - sort(a), int(b.Opens) - int(a.Opens), int(b.Reads) - int(a.Reads), int(b.Dwell) - int(a.Dwell)} {
				if c != 0 {
					return c
				}
			}
			if a.ID < b.ID {
				return -1
			}
			return 1
		})
		of := map[uint16]int{}
		want = slices.DeleteFunc(want, func(r storage.TopRow) bool {
			of[r.Stream]++
			return of[r.Stream] > q.Limit
		})
		got, err := reader.Top(t.Context(), q)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v: %v\ngot  %v\nwant %v", q, err, got, want)
		}
	}
}

// A table with rows and no receipt among them is one whose receipts this user
// cannot see.
func TestHidden(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	want := func(hidden bool) {
		t.Helper()
		if err := s.server.prepare(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if got, err := s.server.hidden(t.Context()); got != hidden || err != nil {
			t.Errorf("%v, %v, want %v", got, err, hidden)
		}
	}
	want(false) // it is new
	if err := server.Exec("INSERT INTO lectern.reads (stream, minute, content, user, opens) VALUES (1, '2024-10-04 00:00:00', 1, 1, 1)"); err != nil {
		t.Fatal(err)
	}
	want(true)
	stored(t, s, randomBlock(rand.New(rand.NewPCG(1, 1)), 1, 10))
	want(false)
}
