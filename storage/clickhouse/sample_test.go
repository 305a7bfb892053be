package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// A sample that was ended in the middle is taken up, and comes to the same rows as one
// that was made at once: each block once, with its receipt, in a part of its own, and
// books that balance.
func TestSample(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	s := Sample{Rows: 60_000, Contents: 500, Readers: 3000, Streams: 2, Days: 2, LastDay: testDay, Seed: seed(t), Block: 9000}
	if n := s.Blocks(); n < 8 || n > 16 {
		t.Fatalf("%d blocks of %d rows for %d", n, s.Block, s.Rows)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told := uint64(0)
	err := Fill(ctx, o, &s, 2, func(n uint64) {
		if told = n; n == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || told >= s.Blocks() {
		t.Fatalf("%v after %d of %d blocks", err, told, s.Blocks())
	}
	for range 2 { // the second finds nothing to do
		if err := Fill(t.Context(), o, &s, 1, func(n uint64) { told = n }); err != nil || told != s.Blocks() {
			t.Fatalf("%v with %d of %d blocks", err, told, s.Blocks())
		}
	}
	sums := func(database string) string {
		return fmt.Sprint(server.Query("SELECT count(), sum(cityHash64(*)) FROM " + database + ".reads"))
	}
	whole := o
	whole.Database = "whole"
	t.Cleanup(func() { _ = server.Exec("DROP DATABASE IF EXISTS whole") })
	if _, err := Apply(t.Context(), whole, Schema{}); err != nil {
		t.Fatal(err)
	}
	if err := Fill(t.Context(), whole, &s, 1, func(uint64) {}); err != nil {
		t.Fatal(err)
	}
	if got, want := sums("lectern"), sums("whole"); got != want {
		t.Errorf("in pieces %s, at once %s", got, want)
	}
	other := s
	other.Seed++
	if err := Fill(t.Context(), o, &other, 1, func(uint64) {}); err == nil {
		t.Error("another sample went into the same tables")
	}
	checkSample(t, server, &s)

	reader, err := OpenReader(o)
	if err != nil {
		t.Fatal(err)
	}
	books, err := reader.Books(t.Context())
	if err != nil || len(books) != s.Streams {
		t.Fatalf("%d books, %v", len(books), err)
	}
	for i := range books {
		if b := &books[i]; !b.AddsUp() || b.Stored == 0 {
			t.Errorf("stream %d: %+v", b.Stream, b)
		}
	}
	size, err := SizeOf(t.Context(), o)
	if rows, _ := strconv.ParseUint(server.Query("SELECT count() FROM lectern.reads")[0][0], 10, 64); err != nil || size.Rows != rows || size.Bytes == 0 {
		t.Errorf("%+v, %v, want %d rows", size, err, rows)
	}
}

// checkSample sees that the rows are such as readers make.
func checkSample(t *testing.T, server *clickhousetest.Server, s *Sample) {
	t.Helper()
	number := func(query string) float64 {
		t.Helper()
		n, err := strconv.ParseFloat(server.Query(query)[0][0], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const from = " FROM lectern.reads WHERE stream != 65535"
	if n := number("SELECT count()" + from); math.Abs(n/float64(s.Rows)-1) > 0.03 {
		t.Errorf("%v rows, want about %d", n, s.Rows)
	}
	for what, query := range map[string]string{
		"blocks without one receipt":         fmt.Sprintf("SELECT abs(count() - %d) + countIf(copies != 1) FROM lectern.receipts", s.Blocks()),
		"rows on another day":                "SELECT countIf(toDate(minute) NOT IN ('2024-10-03', '2024-10-04'))" + from,
		"times outside of their minute":      "SELECT countIf(toStartOfMinute(first) != minute OR toStartOfMinute(last) != minute OR last < first)" + from,
		"rows without an event":              "SELECT countIf(opens + reads + finishes + saves + shares = 0)" + from,
		"dwell beyond a minute":              "SELECT countIf(dwell_ms > 60000)" + from,
		"progress beyond its end":            "SELECT countIf(progress > 100 OR (progress = 100) != (finishes > 0))" + from,
		"contents without one name":          "SELECT countIf(n != 1) FROM (SELECT stream, content" + from + " GROUP BY stream, content) AS r LEFT JOIN (SELECT stream, content, count() AS n FROM lectern.names WHERE called LIKE '/content/%' GROUP BY stream, content) AS n USING (stream, content)",
		"one reader, two rows of one minute": "SELECT count() FROM (SELECT stream, content, minute, user, count() AS n" + from + " GROUP BY stream, content, minute, user HAVING n > 3)",
	} {
		if n := number(query); n != 0 {
			t.Errorf("%s: %v", what, n)
		}
	}
	if part := number("SELECT max(rows) FROM system.parts WHERE database = 'whole' AND table = 'reads' AND level = 0"); part > float64(s.Block)+1 {
		t.Errorf("a block has %v rows, at most %d were wanted", part, s.Block)
	}
	// A first page is read by many, most by few; who comes reads for some minutes.
	top := number("SELECT max(n) / avg(n) FROM (SELECT content, count() AS n" + from + " GROUP BY content)")
	visit := number("SELECT count() / uniqExact(content, user, toStartOfHour(minute))" + from)
	first := number("SELECT countIf(stream = 1) / count()" + from)
	if top < 3 || visit < 1.5 || visit > 5 || first < 0.6 || first > 0.9 {
		t.Errorf("the most read has %.1f times the average, a visit %.1f minutes, the first stream %.2f of all", top, visit, first)
	}
	// Ids are those of texts, so that names can be joined.
	var named []string
	for _, row := range server.Query("SELECT DISTINCT content" + from) {
		named = append(named, row[0])
	}
	if id := strconv.FormatUint(xxhash.Sum64String("/content/200"), 10); !slices.Contains(named, id) {
		t.Error("nobody read /content/200")
	}
}

// Samples that are cut differently, or are of other days, never share a block's number.
func TestSampleBlocks(t *testing.T) {
	for _, c := range []struct {
		s               Sample
		minutes, slices uint64
	}{
		{Sample{Rows: 1, Days: 1, Block: 500_000}, 1440, 1},
		{Sample{Rows: 50_000_000, Days: 1, Block: 500_000}, 10, 1},
		{Sample{Rows: 500_000_000, Days: 1, Block: 500_000}, 1, 1},
		{Sample{Rows: 1_400_000_000, Days: 1, Block: 500_000}, 1, 3},
		{Sample{Rows: 500_000_000, Days: 1, Block: 4_000_000}, 8, 1},
	} {
		c.s.LastDay = testDay
		if minutes, slices := c.s.blocks(); minutes != c.minutes || slices != c.slices {
			t.Errorf("%+v: blocks of %d minutes, %d slices, want %d and %d", c.s, minutes, slices, c.minutes, c.slices)
		}
		last := c.s.block(c.s.Blocks())
		if last.to != uint64(c.s.Days)*minutesPerDay || last.day != testDay || c.s.block(1).from != 0 {
			t.Errorf("%+v: the last block is %+v", c.s, last)
		}
	}
	a, b := Sample{Rows: 1}, Sample{Rows: 1, Seed: 1}
	if a.Collector() == b.Collector() || a.Collector() != (&Sample{Rows: 1}).Collector() {
		t.Error("the collector does not go with the sample")
	}
	if err := Fill(t.Context(), optionsOfNobody, &Sample{}, 1, nil); err == nil {
		t.Error("an empty sample was taken")
	}
}

var optionsOfNobody = Options{Addresses: []string{"127.0.0.1:1"}}
