package parquet

import (
	"strings"
	"testing"

	"github.com/lectern/lectern/storage"
)

// Every counter of the closed list has a column, and comes back from it.
func TestLedgerHasEveryCounter(t *testing.T) {
	schema := ledgerSchema.String()
	for _, c := range storage.LedgerCounters {
		if !strings.Contains(schema, " "+c.String()+" (INT") {
			t.Errorf("there is no column %s", c)
		}
	}
	for c := range storage.Counter(storage.Counters) {
		r := ledgerRow{collector: 1, block: 2, windowStart: 3, windowEnd: 4, config: "00c0ffee00c0ffee", Book: storage.Book{Stream: 5, Class: storage.Sealed}}
		r.Counts[c] = 1 << 40
		got := ledgerRow{}
		if err := got.read(r.columns()); err != nil {
			t.Fatal(err)
		}
		if got.Counts != r.Counts || got.Account() != r.Account() || got.collector != 1 || got.block != 2 || got.windowStart != 3 || got.windowEnd != 4 || got.config != r.config {
			t.Errorf("%s: %+v, want %+v", c, got, r)
		}
	}
}
