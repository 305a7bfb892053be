package clickhouse

import "github.com/ClickHouse/ch-go"

// settings go with every question and insert, since a profile may have others:
// what an answer means must not hang on them. An empty or partial one would say
// that a receipt is not there, and an old one as well. They are ClickHouse's own
// defaults, so that a user who may change none (readonly = 1) may send them. A
// server that does not know one does not have what it would change.
//
// Limits are left as they are: with these modes the one that is hit is an error.
var settings = []ch.Setting{
	// Answers that were right before.
	{Key: "use_query_cache", Value: "0"},

	// Parts of an answer.
	{Key: "read_overflow_mode", Value: "throw"},
	{Key: "read_overflow_mode_leaf", Value: "throw"},
	{Key: "group_by_overflow_mode", Value: "throw"},
	{Key: "sort_overflow_mode", Value: "throw"},
	{Key: "result_overflow_mode", Value: "throw"},
	{Key: "timeout_overflow_mode", Value: "throw"},
	{Key: "timeout_overflow_mode_leaf", Value: "throw"},
	{Key: "set_overflow_mode", Value: "throw"},
	{Key: "join_overflow_mode", Value: "throw"},
	{Key: "transfer_overflow_mode", Value: "throw"},
	{Key: "distinct_overflow_mode", Value: "throw"},
	{Key: "limit", Value: "0"},
	{Key: "offset", Value: "0"},
	{Key: "additional_table_filters", Value: "{}"},
	{Key: "additional_result_filter", Value: ""},
	{Key: "skip_unavailable_shards", Value: "0"},
	{Key: "distributed_group_by_no_merge", Value: "0"},
	{Key: "any_join_distinct_right_table_keys", Value: "0"},

	// Another form or meaning.
	{Key: "aggregate_functions_null_for_empty", Value: "0"},
	{Key: "empty_result_for_aggregation_by_empty_set", Value: "0"},
	{Key: "extremes", Value: "0"},
	{Key: "join_use_nulls", Value: "0"},
	{Key: "join_default_strictness", Value: "ALL"},
	{Key: "transform_null_in", Value: "0"},
	{Key: "group_by_use_nulls", Value: "0"},
	{Key: "cast_keep_nullable", Value: "0"},
	{Key: "data_type_default_nullable", Value: "0"},
	{Key: "prefer_column_name_to_alias", Value: "0"},
	{Key: "dialect", Value: "clickhouse"},
	{Key: "input_format_native_decode_types_in_binary_format", Value: "0"},
	{Key: "output_format_native_encode_types_in_binary_format", Value: "0"},

	// Questions that are not answered without a condition on the day.
	{Key: "force_index_by_date", Value: "0"},
	{Key: "force_primary_key", Value: "0"},
}
