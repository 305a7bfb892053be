package clickhousetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// bounded is a context that ends a test's query long before the test times out.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(stop)
	return ctx
}

func dial(t testing.TB, s *Server, change func(*ch.Options)) *ch.Client {
	t.Helper()
	o := ch.Options{Address: s.Address(), User: s.User(), Password: s.Password(), ReadTimeout: ch.NoTimeout}
	if change != nil {
		change(&o)
	}
	client, err := ch.Dial(bounded(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func do(t testing.TB, s *Server, sql string) {
	t.Helper()
	if err := s.Exec(sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// plain makes the table that most tests insert into.
func plain(t testing.TB, s *Server) {
	t.Helper()
	do(t, s, "DROP TABLE IF EXISTS plain")
	do(t, s, "CREATE TABLE plain (n UInt64) ENGINE = MergeTree ORDER BY n"+
		" SETTINGS non_replicated_deduplication_window = 100")
	t.Cleanup(func() {
		if s.remote != "" {
			_ = s.Exec("DROP TABLE IF EXISTS plain")
		}
	})
}

// numbers is an insert of some numbers into the table plain.
func numbers(token string, n ...uint64) ch.Query {
	column := proto.ColUInt64(n)
	input := proto.Input{{Name: "n", Data: &column}}
	q := ch.Query{Body: input.Into("plain"), Input: input}
	if token != "" {
		q.Settings = []ch.Setting{{Key: "insert_deduplication_token", Value: token, Important: true}}
	}
	return q
}

func stored(s *Server) string {
	s.tb.Helper()
	return s.Query("SELECT count(), sum(n) FROM plain")[0][0]
}

// code is that of an exception, or 0.
func code(err error) int {
	var e *ch.Exception
	if errors.As(err, &e) {
		return int(e.Code)
	}
	return 0
}
