package native

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest/chdb"
)

// A session is what a connection's queries share. Each query gets a session of
// the engine to itself, so that its settings end with it.
type session struct {
	engine   *chdb.Engine
	database string
	profile  string   // settings, as SET takes them
	before   []string // the statements SET and USE that came
}

// open gives a query its session of the engine, with its settings.
func (s *session) open(settings []proto.Setting, parameters []proto.Parameter) (*chdb.Conn, error) {
	conn, err := s.engine.Connect()
	if err != nil {
		return nil, err
	}
	if err := s.prepare(conn, settings, parameters); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (s *session) prepare(conn *chdb.Conn, settings []proto.Setting, parameters []proto.Parameter) error {
	if s.database != "" && s.database != "default" {
		if _, err := conn.Query("USE "+quoteName(s.database), "TSV"); err != nil {
			return err
		}
	}
	if s.profile != "" {
		if _, err := conn.Query("SET "+s.profile, "TSV"); err != nil {
			return err
		}
	}
	for _, sql := range s.before {
		if _, err := conn.Query(sql, "TSV"); err != nil {
			return err
		}
	}
	// All at once, for speed, where the engine knows them.
	var all []string
	for _, set := range settings {
		all = append(all, set.Key+" = "+quoteText(set.Value))
	}
	if len(all) > 0 {
		if _, err := conn.Query("SET "+strings.Join(all, ", "), "TSV"); err == nil {
			settings = nil
		}
	}
	for _, set := range settings {
		_, err := conn.Query("SET "+set.Key+" = "+quoteText(set.Value), "TSV")
		if unknown := new(chdb.Error); errors.As(err, &unknown) && unknown.Code == unknownSetting && !set.Important {
			continue
		}
		if err != nil {
			return err
		}
	}
	for _, p := range parameters {
		if _, err := conn.Query("SET param_"+p.Key+" = "+quoteText(unquoteText(p.Value)), "TSV"); err != nil {
			return err
		}
	}
	return nil
}

// answer runs a query and returns its rows as blocks. The first is there even
// if there are no rows, and tells the columns.
func answer(conn *chdb.Conn, sql string, s statement) ([]block, error) {
	sql = formatPattern.ReplaceAllString(sql, "")
	data, err := conn.Query(sql, "Native")
	if err != nil || !s.rows {
		return nil, err
	}
	if len(data) == 0 {
		head, err := describe(conn, "("+sql+")")
		if err != nil { // no SELECT: it has no other way to tell
			return nil, nil
		}
		return []block{head.block()}, nil
	}
	var blocks []block
	in := bytes.NewReader(data)
	for r := proto.NewReader(in); ; {
		b, err := readBlock(r, onFile)
		if err != nil {
			if in.Len() == 0 && len(blocks) > 0 && errors.Is(err, errEnd) {
				return blocks, nil
			}
			return nil, &chdb.Error{Code: notImplemented, Name: "NOT_IMPLEMENTED", Message: err.Error()}
		}
		blocks = append(blocks, b)
	}
}

// A head is the columns of a table or of a query.
type head []described

type described struct {
	name, kind, defaults string
}

// describe asks the engine for the columns of a table, or of a query in brackets.
func describe(conn *chdb.Conn, of string) (head, error) {
	tsv, err := conn.Query("DESCRIBE TABLE "+of, "TSV")
	if err != nil {
		return nil, err
	}
	var h head
	for _, row := range Rows(tsv) {
		h = append(h, described{name: row[0], kind: row[1], defaults: row[2]})
	}
	return h, nil
}

func (h head) block() block {
	b := block{columns: make([]column, len(h))}
	for i, c := range h {
		b.columns[i] = column{name: c.name, kind: c.kind}
	}
	return b
}

// insertable picks the columns that an insert gives: those that it names, or all
// that are not worked out.
func (h head) insertable(s statement) (head, error) {
	var out head
	if s.columns == nil {
		for _, c := range h {
			if c.defaults == "" || c.defaults == "DEFAULT" {
				out = append(out, c)
			}
		}
		return out, nil
	}
	for _, name := range s.columns {
		found := false
		for _, c := range h {
			if c.name == name && c.defaults != "ALIAS" && c.defaults != "MATERIALIZED" {
				out, found = append(out, c), true
			}
		}
		if !found {
			return nil, &chdb.Error{Code: noSuchColumn, Name: "NO_SUCH_COLUMN_IN_TABLE",
				Message: fmt.Sprintf("No such column %s in table %s.", name, s.table)}
		}
	}
	return out, nil
}

// deduplicate makes the engine treat an INSERT SELECT as it treats an insert of
// blocks: by its token, or else by what is in it. A client that has switched
// deduplication off has done so for both.
const deduplicate = "SET deduplicate_insert_select = 'enable_even_for_bad_queries'"

// insert stores the blocks that came for a statement. The engine's query text
// cannot carry them, so they go through a file.
func insert(conn *chdb.Conn, s statement, into head, blocks []block, file string) error {
	if len(blocks) == 0 {
		return nil
	}
	var data []byte
	for i := range blocks {
		data = blocks[i].appendTo(data, onFile)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	came := make(map[string]string)
	var structure, columns []string
	for _, c := range blocks[0].columns {
		came[c.name] = c.kind
		structure = append(structure, quoteName(c.name)+" "+c.kind)
	}
	for _, c := range into {
		if came[c.name] == "" {
			return &chdb.Error{Code: notFoundColumn, Name: "NOT_FOUND_COLUMN_IN_BLOCK",
				Message: fmt.Sprintf("Not found column %s in block", c.name)}
		}
		columns = append(columns, quoteName(c.name))
	}
	if _, err := conn.Query(deduplicate, "TSV"); err != nil {
		return err
	}
	list := strings.Join(columns, ", ")
	sql := fmt.Sprintf("INSERT INTO %s (%s) %s SELECT %s FROM file(%s, 'Native', %s)", s.target, list, s.settings, list,
		quoteText(file), quoteText(strings.Join(structure, ", ")))
	_, err := conn.Query(sql, "TSV")
	return err
}
