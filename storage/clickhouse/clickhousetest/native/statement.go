package native

import (
	"regexp"
	"strings"
	"unicode"
)

// A statement is what the server has to know of a query's text before the engine
// gets it.
type statement struct {
	table    string   // of an insert, as in the text without its quotes; else empty
	target   string   // the same with its quotes
	columns  []string // of an insert, as in the text without their quotes
	settings string   // of an insert: its SETTINGS clause
	data     bool     // an insert whose rows come as blocks
	rows     bool     // a query that has rows as its answer
	session  bool     // a statement that changes its session: SET, USE
}

var (
	wordPattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)
	formatPattern = regexp.MustCompile(`(?i)\s+FORMAT\s+[A-Za-z][A-Za-z0-9]*$`)
	dataPattern   = regexp.MustCompile(`(?is)^(SETTINGS\s.*?)?\s*(?:VALUES|FORMAT\s+[A-Za-z][A-Za-z0-9]*)$`)
)

// trim takes from a text what stands around its one statement.
func trim(sql string) string {
	for {
		sql = strings.TrimLeftFunc(sql, unicode.IsSpace)
		switch {
		case strings.HasPrefix(sql, "--"):
			_, sql, _ = strings.Cut(sql, "\n")
		case strings.HasPrefix(sql, "/*"):
			_, sql, _ = strings.Cut(sql, "*/")
		default:
			return strings.TrimRight(sql, "; \t\r\n")
		}
	}
}

// parse reads a statement that was trimmed.
func parse(sql string) statement {
	var s statement
	p := scanner{rest: sql}
	switch word := strings.ToUpper(p.word()); word {
	case "SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK":
		s.rows = true
	case "":
		s.rows = strings.HasPrefix(sql, "(")
	case "SET", "USE":
		s.session = true
	case "INSERT":
		p.insert(&s)
	}
	return s
}

// scanner reads a text from left to right.
type scanner struct {
	rest string
}

func (p *scanner) space() {
	p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace)
}

func (p *scanner) word() string {
	p.space()
	word := wordPattern.FindString(p.rest)
	p.rest = p.rest[len(word):]
	return word
}

// keyword takes a word if it is next.
func (p *scanner) keyword(word string) bool {
	before := p.rest
	if strings.EqualFold(p.word(), word) {
		return true
	}
	p.rest = before
	return false
}

// symbol takes a character if it is next.
func (p *scanner) symbol(c string) bool {
	p.space()
	if strings.HasPrefix(p.rest, c) {
		p.rest = p.rest[len(c):]
		return true
	}
	return false
}

// name takes an identifier, with or without quotes.
func (p *scanner) name() string {
	p.space()
	if p.rest == "" || p.rest[0] != '`' && p.rest[0] != '"' {
		return p.word()
	}
	var name strings.Builder
	quote := p.rest[0]
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '\\' && i+1 < len(p.rest):
			i++
			name.WriteByte(p.rest[i])
		case c == quote && i+1 < len(p.rest) && p.rest[i+1] == quote:
			i++
			name.WriteByte(quote)
		case c == quote:
			p.rest = p.rest[i+1:]
			return name.String()
		default:
			name.WriteByte(c)
		}
	}
	p.rest = ""
	return name.String()
}

func (p *scanner) insert(s *statement) {
	if !p.keyword("INTO") {
		return
	}
	_ = p.keyword("TABLE")
	s.table = p.name()
	s.target = quoteName(s.table)
	if p.symbol(".") {
		name := p.name()
		s.target += "." + quoteName(name)
		s.table += "." + name
	}
	if p.symbol("(") {
		for {
			s.columns = append(s.columns, p.name())
			if !p.symbol(",") {
				break
			}
		}
		if !p.symbol(")") { // an expression: the engine's to read
			s.columns = nil
			return
		}
	}
	p.space()
	if m := dataPattern.FindStringSubmatch(p.rest); m != nil {
		s.data, s.settings = true, m[1]
	}
}

// quoteName writes an identifier for the engine.
func quoteName(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(name) + "`"
}

// quoteText writes a string literal for the engine.
func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// unquoteText reads a string literal.
func unquoteText(s string) string {
	if len(s) < 2 || s[0] != '\'' || s[len(s)-1] != '\'' {
		return s
	}
	return unescape(s[1 : len(s)-1])
}

// unescape reads what stands in a string literal, or in a cell of TSV.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		i++
		if at := strings.IndexByte("bfnrt0", s[i]); at >= 0 {
			out.WriteByte("\b\f\n\r\t\x00"[at])
		} else {
			out.WriteByte(s[i])
		}
	}
	return out.String()
}

// Rows reads the rows of the format TSV.
func Rows(tsv []byte) [][]string {
	var rows [][]string
	for line := range strings.Lines(string(tsv)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for i, cell := range cells {
			if cell != `\N` {
				cells[i] = unescape(cell)
			}
		}
		rows = append(rows, cells)
	}
	return rows
}
