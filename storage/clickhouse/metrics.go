package clickhouse

import (
	"fmt"

	"github.com/VictoriaMetrics/metrics"
)

// meters are the metrics of docs/METRICS.md that tell of ClickHouse.
type meters struct {
	inserts, unsure, denied, renewed, duplicates, foreign *metrics.Counter

	barred map[string]*metrics.Counter // by reason
}

// register shares its counters with the stores of other spools of this process.
func register(set *metrics.Set) meters {
	m := meters{
		inserts:    set.GetOrCreateCounter("lectern_clickhouse_inserts_total"),
		unsure:     set.GetOrCreateCounter("lectern_clickhouse_inserts_unsure_total"),
		denied:     set.GetOrCreateCounter("lectern_clickhouse_receipts_absent_total"),
		renewed:    set.GetOrCreateCounter("lectern_clickhouse_tokens_renewed_total"),
		duplicates: set.GetOrCreateCounter("lectern_clickhouse_blocks_duplicate_total"),
		foreign:    set.GetOrCreateCounter("lectern_clickhouse_blocks_foreign_total"),
		barred:     make(map[string]*metrics.Counter),
	}
	for _, reason := range []string{barredLogin, barredRights, barredSettings, barredTables, barredShard} {
		m.barred[reason] = set.GetOrCreateCounter(fmt.Sprintf("lectern_clickhouse_barred_total{reason=%q}", reason))
	}
	return m
}
