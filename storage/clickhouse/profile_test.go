package clickhouse

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// hostile is a profile in which each setting alone changes what some question is
// answered with, or that it is answered at all.
var hostile = strings.Join([]string{
	"use_query_cache = 1", "query_cache_ttl = 600", "query_cache_system_table_handling = 'save'",
	"offset = 1", "limit = 1", "extremes = 1",
	"additional_table_filters = {'lectern.reads': 'stream != 65535'}", "additional_result_filter = '0'",
	"aggregate_functions_null_for_empty = 1", "empty_result_for_aggregation_by_empty_set = 1",
	"force_index_by_date = 1", "force_primary_key = 1",
	"prefer_column_name_to_alias = 1", "join_default_strictness = ''", "join_use_nulls = 1", "transform_null_in = 1", "group_by_use_nulls = 1",
	"cast_keep_nullable = 1", "data_type_default_nullable = 1",
	"insert_deduplicate = 0", "deduplicate_insert = 'disable'", "async_insert = 1", "wait_for_async_insert = 0",
	"max_insert_block_size = 10", "min_insert_block_size_rows = 10", "use_strict_insert_block_limits = 1",
	"session_timezone = 'Asia/Tokyo'", "max_block_size = 7", "output_format_native_encode_types_in_binary_format = 1",
}, ", ")

// Whatever a profile has, the tables are made, blocks stored and numbers read as
// with none.
func TestProfile(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 12))
	server, o := started(t, clickhousetest.Options{Profile: hostile})
	s := opened(t, o)
	var blocks []*storage.Block
	for number := uint64(0); number <= 3; number++ {
		if last, err := s.LastNumber(t.Context()); last != number || err != nil {
			t.Fatalf("the last number is %d, %v, want %d", last, err, number)
		}
		if number == 3 {
			break
		}
		b := randomBlock(r, number+1, 300)
		for range 2 { // looked for, sent, and looked for again; then there
			if answer, err := s.Store(t.Context(), b); answer != storage.Stored || err != nil {
				t.Fatalf("block %d: answer %d, %v", b.Number, answer, err)
			}
		}
		if hidden, err := s.server.hidden(t.Context()); hidden || err != nil {
			t.Errorf("hidden: %t, %v", hidden, err)
		}
		blocks = append(blocks, b)
	}
	if n := server.Inserts(); n < 6 || s.meters.inserts.Get() != 3 {
		t.Errorf("%d inserts of blocks, %d in all", s.meters.inserts.Get(), n)
	}
	// A token is known, though the profile has no deduplication.
	if err := s.server.insert(t.Context(), blocks[2], new(attempt).token(blocks[2])); err != nil {
		t.Error(err)
	}
	expect(t, server, blocks...)
	books(t, o, blocks)
	profiledTop(t, server, o)
}

// profiledTop compares the answer of a Reader with that of a query that no
// profile touches.
func profiledTop(t *testing.T, server *clickhousetest.Server, o Options) {
	t.Helper()
	reader, err := OpenReader(o)
	if err != nil {
		t.Fatal(err)
	}
	top, err := reader.Top(t.Context(), storage.TopQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range top {
		got = append(got, fmt.Sprint(row.Stream, row.ID, row.Opens, row.Reads, row.Dwell, row.Others))
	}
	var want []string
	for _, row := range server.Query("SELECT stream, content, sum(opens * (1 + skipped)) AS o, sum(reads * (1 + skipped)) AS r, " +
		"sum(dwell_ms * (1 + skipped)) AS d, uniqExactIf(user, coarse = 0 AND variant = 0) FROM lectern.reads WHERE stream != 65535 AND coarse < 2 GROUP BY stream, content ORDER BY stream, o DESC, r DESC, d DESC, content LIMIT 10 BY stream") {
		want = append(want, strings.Join(row, " "))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the top is\n%v, want\n%v", got, want)
	}
}

// made is a server of that profile, with tables and blocks that were there before.
func made(t *testing.T, profile string, blocks ...*storage.Block) (*clickhousetest.Server, Options) {
	t.Helper()
	dir := t.TempDir()
	server, o := started(t, clickhousetest.Options{Dir: dir})
	s := opened(t, o)
	for _, b := range blocks {
		stored(t, s, b)
	}
	_ = s.Close()
	server.Kill()
	server = clickhousetest.Start(t, clickhousetest.Options{Dir: dir, Profile: profile})
	return server, optionsOf(server)
}

// A user who may change no setting and write nothing can ask.
func TestReaderIsReadOnly(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 13))
	blocks := []*storage.Block{randomBlock(r, 1, 300), randomBlock(r, 2, 300)}
	server, o := made(t, "readonly = 1", blocks...)
	books(t, o, blocks)
	profiledTop(t, server, o)
	if answer, err := opened(t, o).Store(t.Context(), randomBlock(r, 3, 1)); answer != storage.Retry || !errors.Is(err, storage.ErrBarred) {
		t.Errorf("it stores: answer %d, %v", answer, err)
	}
}

// A limit of the profile is an error, though that has the rest left out, and no
// receipt that is not there.
func TestLimitsAreErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 14))
	b := randomBlock(r, 1, 300)
	const modes = "read_overflow_mode = 'break', result_overflow_mode = 'break', timeout_overflow_mode = 'break', " +
		"group_by_overflow_mode = 'any', set_overflow_mode = 'break', join_overflow_mode = 'break', sort_overflow_mode = 'break', max_block_size = 1, "
	for limit, barred := range map[string]bool{
		"max_rows_to_read = 1": true, "max_result_rows = 1": true, "max_rows_in_set = 1": false, "max_execution_time = 0.000001": false,
	} {
		_, o := made(t, modes+limit, b)
		o.Tried = 1
		s := opened(t, o)
		last, err := s.LastNumber(t.Context())
		if err == nil || errors.Is(err, storage.ErrBarred) != barred || !strings.Contains(err.Error(), "xceeded") {
			t.Errorf("%s: the last number is %d, %v", limit, last, err)
		}
		for range 2 {
			if answer, err := s.Store(t.Context(), b); answer != storage.Retry || err == nil {
				t.Errorf("%s: answer %d, %v", limit, answer, err)
			}
		}
		if n := s.meters.inserts.Get(); n > 0 {
			t.Errorf("%s: it was sent %d times", limit, n)
		}
	}
	for _, limit := range []string{"max_rows_to_group_by = 1", "max_rows_in_join = 1"} {
		_, o := made(t, modes+limit, b)
		reader, err := OpenReader(o)
		if err != nil {
			t.Fatal(err)
		}
		if top, err := reader.Top(t.Context(), storage.TopQuery{Limit: 10}); err == nil {
			t.Errorf("%s: %v", limit, top)
		}
	}
}
