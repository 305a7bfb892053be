package clickhousetest

import (
	"context"
	"os"
	"strings"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// useRemote takes a server that was there, if it can be what the options ask for.
func (s *Server) useRemote() {
	s.tb.Helper()
	user, password := os.Getenv("LECTERN_TEST_CLICKHOUSE_USER"), os.Getenv("LECTERN_TEST_CLICKHOUSE_PASSWORD")
	if user == "" {
		user = "default"
	}
	if o := &s.options; o.Dir != "" || o.TLS || len(o.Trace) > 0 || o.Profile != "" || o.Password != "" || o.Address != "" || o.Configuration != "" {
		s.ours("starts a server of its own kind")
	}
	s.options.User, s.options.Password = user, password
}

func (s *Server) remoteExec(sql string) error {
	return s.remoteDo(ch.Query{Body: sql})
}

// remoteTSV lets the server write the rows as text: the protocol knows only
// blocks.
func (s *Server) remoteTSV(sql string) ([]byte, error) {
	var rows proto.ColStr
	var tsv []byte
	err := s.remoteDo(ch.Query{
		Body:   "SELECT formatRow('TSV', *) AS row FROM (" + strings.TrimRight(sql, "; \n") + ")",
		Result: proto.Results{{Name: "row", Data: &rows}},
		OnResult: func(context.Context, proto.Block) error {
			for i := range rows.Rows() {
				tsv = append(tsv, rows.Row(i)...)
			}
			return nil
		},
	})
	return tsv, err
}

func (s *Server) remoteDo(q ch.Query) error {
	ctx := context.Background()
	client, err := ch.Dial(ctx, ch.Options{Address: s.remote, User: s.options.User, Password: s.options.Password})
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Do(ctx, q)
}
