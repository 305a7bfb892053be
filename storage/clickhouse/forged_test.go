package clickhouse

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// What forged positions say of many sources adds up in the view of the books, also
// where it does not fit into 64 bits.
func TestForgedGapsDoNotWrap(t *testing.T) {
	server, o := started(t, clickhousetest.Options{})
	s := opened(t, o)
	b := randomBlock(rand.New(rand.NewPCG(1, 1)), 1, 100)
	b.Window.Start, b.Window.End = 0, 1000 // the ledger knows of the time in which the sources were met
	stored(t, s, b)
	const sources = 70_000
	if err := server.Exec("INSERT INTO lectern.spans (stream, class, source, collector, met, seal, position_from, position_to, at, ended) " +
		"SELECT 9, 'unsealed', number, 1, '2024-10-04 00:00:00', 1, 0, 281474976710655, '2024-10-04 00:00:01', 2 FROM numbers(70000)"); err != nil {
		t.Fatal(err)
	}
	want := new(big.Int).Mul(big.NewInt(sources), big.NewInt(1<<48-1))
	if got := server.Query("SELECT sum(sent), sum(lost), sum(open) FROM lectern.books WHERE stream = 9")[0]; got[0] != want.String() || got[1] != want.String() || got[2] != "0" {
		t.Errorf("sent %s, lost %s, open %s; want %s of both and none open", got[0], got[1], got[2], want)
	}
}
