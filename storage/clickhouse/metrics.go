package clickhouse

import "github.com/VictoriaMetrics/metrics"

// meters are the metrics of docs/METRICS.md that tell of ClickHouse.
type meters struct {
	inserts, unsure, denied, renewed, duplicates, foreign *metrics.Counter
}

func register(set *metrics.Set) meters {
	return meters{
		inserts:    set.NewCounter("lectern_clickhouse_inserts_total"),
		unsure:     set.NewCounter("lectern_clickhouse_inserts_unsure_total"),
		denied:     set.NewCounter("lectern_clickhouse_receipts_absent_total"),
		renewed:    set.NewCounter("lectern_clickhouse_tokens_renewed_total"),
		duplicates: set.NewCounter("lectern_clickhouse_blocks_duplicate_total"),
		foreign:    set.NewCounter("lectern_clickhouse_blocks_foreign_total"),
	}
}
