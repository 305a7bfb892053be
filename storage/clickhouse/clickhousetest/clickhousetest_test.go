package clickhousetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// TestTypes inserts a column of every type that Lectern stores, and of the kinds
// that are made of others, and reads them back as text and as blocks.
func TestTypes(t *testing.T) {
	s := Start(t, Options{})
	do(t, s, "DROP TABLE IF EXISTS types")
	t.Cleanup(func() {
		if s.remote != "" {
			_ = s.Exec("DROP TABLE types")
		}
	})
	do(t, s, "CREATE TABLE types (a UInt8, b UInt16, c UInt32, d UInt64, e Int64, f DateTime, g DateTime64(3), h Date,"+
		" i LowCardinality(String), j Array(UInt16), k Map(String, UInt64), l Nullable(UInt32), m Float64, n String,"+
		" o Enum8('x' = 1, 'y' = 2), p SimpleAggregateFunction(max, UInt8), q Array(LowCardinality(String)), r FixedString(3),"+
		" s Tuple(u UInt8, v String), late UInt64 DEFAULT d + 1, day Date MATERIALIZED toDate(g))"+
		" ENGINE = MergeTree ORDER BY d")
	var (
		at  = time.Date(2026, 11, 24, 1, 2, 3, 456e6, time.UTC)
		a   = proto.ColUInt8{1, 255}
		b   = proto.ColUInt16{2, 65535}
		c   = proto.ColUInt32{3, 4294967295}
		d   = proto.ColUInt64{4, 18446744073709551615}
		e   = proto.ColInt64{-5, 9223372036854775807}
		f   proto.ColDateTime
		g   = (&proto.ColDateTime64{}).WithPrecision(proto.PrecisionMilli)
		h   proto.ColDate
		i   = new(proto.ColStr).LowCardinality()
		j   = new(proto.ColUInt16).Array()
		k   = proto.NewMap[string, uint64](new(proto.ColStr), new(proto.ColUInt64))
		l   = new(proto.ColUInt32).Nullable()
		m   = proto.ColFloat64{0.5, -0.25}
		n   proto.ColStr
		o   proto.ColEnum
		p   = proto.ColUInt8{7, 8}
		q   = proto.NewArray[string](new(proto.ColStr).LowCardinality())
		r   = proto.ColFixedStr{Size: 3, Buf: []byte("abcxyz")}
		s1  = proto.ColUInt8{9, 10}
		s2  proto.ColStr
		tup = proto.ColTuple{proto.Named[uint8](&s1, "u"), proto.Named[string](&s2, "v")}
	)
	for n := range 2 {
		f.Append(at.Add(time.Duration(n) * time.Hour))
		g.Append(at.Add(time.Duration(n) * time.Millisecond))
		h.Append(at.AddDate(0, 0, n))
	}
	i.AppendArr([]string{"red", "red"})
	j.Append(nil)
	j.Append([]uint16{6, 7})
	k.Append(map[string]uint64{"one": 1})
	k.Append(nil)
	l.Append(proto.NewNullable[uint32](8))
	l.Append(proto.Null[uint32]())
	n.AppendArr([]string{"tab\there", strings.Repeat("ü", 200)})
	o.AppendArr([]string{"y", "x"})
	q.Append([]string{"s", "t", "s"})
	q.Append(nil)
	s2.AppendArr([]string{"", "v"})
	input := proto.Input{{Name: "a", Data: a}, {Name: "b", Data: b}, {Name: "c", Data: c}, {Name: "d", Data: d}, {Name: "e", Data: e},
		{Name: "f", Data: f}, {Name: "g", Data: g}, {Name: "h", Data: h}, {Name: "i", Data: i}, {Name: "j", Data: j},
		{Name: "k", Data: k}, {Name: "l", Data: l}, {Name: "m", Data: m}, {Name: "n", Data: n}, {Name: "o", Data: &o},
		{Name: "p", Data: p}, {Name: "q", Data: q}, {Name: "r", Data: r}, {Name: "s", Data: tup}}
	client := dial(t, s, nil)
	if err := client.Do(bounded(t), ch.Query{Body: input.Into("types"), Input: input}); err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"1", "2", "3", "4", "-5", "2026-11-24 01:02:03", "2026-11-24 01:02:03.456", "2026-11-24", "red", "[]", "{'one':1}", "8", "0.5",
			"tab\there", "y", "7", "['s','t','s']", "abc", "(9,'')", "5", "2026-11-24"},
		{"255", "65535", "4294967295", "18446744073709551615", "9223372036854775807", "2026-11-24 02:02:03", "2026-11-24 01:02:03.457",
			"2026-11-25", "red", "[6,7]", "{}", `\N`, "-0.25", strings.Repeat("ü", 200), "x", "8", "[]", "xyz", "(10,'v')", "0", "2026-11-24"},
	}
	if got := s.Query("SELECT *, day FROM types ORDER BY d"); !reflect.DeepEqual(got, want) {
		t.Errorf("as text:\n%q\nshould be:\n%q", got, want)
	}
	var (
		backD proto.ColUInt64
		backI = new(proto.ColStr).LowCardinality()
		backK = proto.NewMap[string, uint64](new(proto.ColStr), new(proto.ColUInt64))
		backQ = proto.NewArray[string](new(proto.ColStr).LowCardinality())
		texts []string
	)
	err := client.Do(bounded(t), ch.Query{
		Body:   "SELECT d, i, k, q FROM types ORDER BY d",
		Result: proto.Results{{Name: "d", Data: &backD}, {Name: "i", Data: backI}, {Name: "k", Data: backK}, {Name: "q", Data: backQ}},
		OnResult: func(context.Context, proto.Block) error {
			for row := range backD {
				texts = append(texts, fmt.Sprintf("%d %s %v %v", backD[row], backI.Row(row), backK.Row(row), backQ.Row(row)))
			}
			return nil
		},
	})
	if want := []string{"4 red map[one:1] [s t s]", "18446744073709551615 red map[] []"}; err != nil || !reflect.DeepEqual(texts, want) {
		t.Errorf("as blocks: %q, %v; should be %q", texts, err, want)
	}
}

// TestCompression sends and reads more than one frame's bytes in each way.
func TestCompression(t *testing.T) {
	s := Start(t, Options{})
	plain(t, s)
	const rows = 500_000
	column := make([]uint64, rows)
	for i := range column {
		column[i] = uint64(i)
	}
	for way, compression := range map[string]ch.Compression{"disabled": ch.CompressionDisabled, "LZ4": ch.CompressionLZ4,
		"ZSTD": ch.CompressionZSTD, "none": ch.CompressionNone, "LZ4HC": ch.CompressionLZ4HC} {
		do(t, s, "TRUNCATE TABLE plain")
		client := dial(t, s, func(o *ch.Options) { o.Compression = compression })
		if err := client.Do(bounded(t), numbers("", column...)); err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		if got, want := s.Query("SELECT count(), sum(n) FROM plain")[0], []string{"500000", "124999750000"}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: stored %v, should be %v", way, got, want)
		}
		if parts := s.Query("SELECT count() FROM system.parts WHERE table = 'plain' AND active AND database = currentDatabase()"); parts[0][0] != "1" {
			t.Errorf("%s: one block of %d rows made %s parts", way, rows, parts[0][0])
		}
		var back proto.ColUInt64
		var count, sum uint64
		err := client.Do(bounded(t), ch.Query{Body: "SELECT n FROM plain", Result: proto.ResultColumn{Name: "n", Data: &back},
			OnResult: func(context.Context, proto.Block) error {
				for _, n := range back {
					count, sum = count+1, sum+n
				}
				return nil
			}})
		if err != nil || count != rows || sum != 124999750000 {
			t.Errorf("%s: read %d rows with sum %d, %v", way, count, sum, err)
		}
	}
}

// TestDeduplication: a token that came before stores nothing, over a restart too.
func TestDeduplication(t *testing.T) {
	s := Start(t, Options{})
	plain(t, s)
	insert := func(token string, off bool) {
		t.Helper()
		q := numbers(token, 1, 2, 3)
		if off {
			q.Settings = append(q.Settings, ch.Setting{Key: "deduplicate_insert", Value: "disable", Important: true})
		}
		if err := dial(t, s, nil).Do(bounded(t), q); err != nil {
			t.Fatal(err)
		}
	}
	steps := []struct {
		token string
		off   bool
		want  string
	}{{"a", false, "3"}, {"a", false, "3"}, {"b", false, "6"}, {"a", true, "9"}, {"b", false, "9"},
		{"", false, "12"}, {"", false, "12"}}
	for i, step := range steps {
		insert(step.token, step.off)
		if got := stored(s); got != step.want {
			t.Errorf("step %d, token %s: %s rows, should be %s", i, step.token, got, step.want)
		}
	}
	if s.remote == "" {
		s.Restart()
		insert("b", false)
		if got := stored(s); got != "12" {
			t.Errorf("after a restart, token b: %s rows, should be 12", got)
		}
	}
}

// TestExceptions: errors have the codes that the real server gives them.
func TestExceptions(t *testing.T) {
	s := Start(t, Options{})
	plain(t, s)
	text := new(proto.ColStr)
	text.Append("word")
	other := proto.ColUInt64{1}
	insert := func(into, name string, data proto.ColInput) ch.Query {
		input := proto.Input{{Name: name, Data: data}}
		return ch.Query{Body: input.Into(into), Input: input}
	}
	for _, test := range []struct {
		name string
		q    ch.Query
		want int
	}{
		{"unknown table", insert("nowhere", "n", other), 60},
		{"unknown column", insert("plain", "m", other), 16},
		{"syntax", ch.Query{Body: "SELEC 1"}, 62},
		{"unknown identifier", ch.Query{Body: "SELECT m FROM plain"}, 47},
		{"unknown setting", ch.Query{Body: "SELECT 1", Settings: []ch.Setting{{Key: "no_such_setting", Value: "1", Important: true}}}, 115},
		{"unknown database", ch.Query{Body: "SELECT * FROM nowhere.plain"}, 81},
		{"no number", insert("plain", "n", text), 6},
	} {
		client := dial(t, s, nil)
		err := client.Do(bounded(t), test.q)
		if code(err) != test.want {
			t.Errorf("%s: %v, should be code %d", test.name, err, test.want)
		}
		if err := client.Ping(bounded(t)); err != nil {
			t.Errorf("%s: the connection is of no use any more: %v", test.name, err)
		}
	}
	if got := stored(s); got != "0" {
		t.Errorf("%s rows are stored, should be none", got)
	}
}

// TestQueries: parameters, sessions, empty results, and queries at once.
func TestQueries(t *testing.T) {
	s := Start(t, Options{})
	plain(t, s)
	client := dial(t, s, nil)
	ask := func(q ch.Query) string {
		t.Helper()
		var column proto.ColStr
		q.Result = proto.ResultColumn{Data: &column}
		if err := client.Do(bounded(t), q); err != nil {
			t.Fatalf("%s: %v", q.Body, err)
		}
		return strings.Join(func() (rows []string) {
			for i := range column.Rows() {
				rows = append(rows, column.Row(i))
			}
			return rows
		}(), ",")
	}
	for sql, want := range map[string]string{
		"SELECT toString(sum(number)) FROM numbers(5)":                        "10",
		"-- a comment\nSELECT toString(number) FROM numbers(3);":              "0,1,2",
		"SELECT 'x' FORMAT TSV":                                               "x",
		"WITH 5 AS n SELECT toString(n)":                                      "5",
		"SELECT toString(n) FROM plain":                                       "",
		"SELECT toString(getSetting('max_threads')) SETTINGS max_threads = 3": "3",
	} {
		if got := ask(ch.Query{Body: sql}); got != want {
			t.Errorf("%s: %q, should be %q", sql, got, want)
		}
	}
	quoted := ask(ch.Query{Body: "SELECT concat({a:String}, toString({b:UInt64}))",
		Parameters: ch.Parameters(map[string]any{"a": "it\\'s ", "b": uint64(18446744073709551615)})})
	if want := "it's 18446744073709551615"; quoted != want {
		t.Errorf("parameters: %q, should be %q", quoted, want)
	}
	if err := client.Do(bounded(t), ch.Query{Body: "SET max_threads = 5"}); err != nil {
		t.Fatal(err)
	}
	if got := ask(ch.Query{Body: "SELECT toString(getSetting('max_threads'))"}); got != "5" {
		t.Errorf("SET does not last: %s", got)
	}
	if got := ask(ch.Query{Body: "SELECT toString(getSetting('max_block_size'))", Settings: []ch.Setting{ch.SettingInt("max_block_size", 77)}}); got != "77" {
		t.Errorf("a query's setting does not reach the engine: %s", got)
	}
	if got := ask(ch.Query{Body: "SELECT toString(getSetting('max_block_size'))"}); got == "77" {
		t.Error("a query's setting lasts longer than the query")
	}
	if err := client.Do(bounded(t), ch.Query{Body: "INSERT INTO plain SELECT number FROM numbers(4)"}); err != nil || stored(s) != "4" {
		t.Errorf("INSERT SELECT: %v, %s rows", err, stored(s))
	}
	done := make(chan error)
	for i := range 8 {
		client := dial(t, s, nil)
		go func() { done <- client.Do(bounded(t), numbers("", uint64(i))) }()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := stored(s); got != "12" {
		t.Errorf("after 8 inserts at once: %s rows, should be 12", got)
	}
}

// TestSameID: an id is that of one query at a time.
func TestSameID(t *testing.T) {
	s := Start(t, Options{})
	plain(t, s)
	first, second := dial(t, s, nil), dial(t, s, nil)
	q := ch.Query{Body: "SELECT sleep(2)", QueryID: "the same", Result: proto.ResultColumn{Data: new(proto.ColUInt8)}}
	done := make(chan error, 1)
	go func() {
		err := first.Do(bounded(t), q)
		for code(err) == 216 { // it met one of the second's
			err = first.Do(bounded(t), q)
		}
		done <- err
	}()
	var err error
	for err == nil && len(done) == 0 { // until the first has begun
		err = second.Do(bounded(t), ch.Query{Body: "SELECT 1", QueryID: q.QueryID,
			Result: proto.ResultColumn{Data: new(proto.ColUInt8)}})
	}
	if code(err) != 216 {
		t.Errorf("%v, should be code 216", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAccess: only the user with the password comes in, and only to a database
// that is there.
func TestAccess(t *testing.T) {
	s := Start(t, Options{User: "lectern", Password: "it's secret"})
	s.ours("wants a user of its own")
	dial(t, s, nil)
	for name, test := range map[string]struct {
		o    ch.Options
		want int
	}{
		"no password":    {ch.Options{User: "lectern"}, 516},
		"wrong password": {ch.Options{User: "lectern", Password: "it's secre"}, 516},
		"wrong user":     {ch.Options{User: "default", Password: "it's secret"}, 516},
		"database":       {ch.Options{User: "lectern", Password: "it's secret", Database: "nowhere"}, 81},
	} {
		test.o.Address = s.Address()
		if _, err := ch.Dial(bounded(t), test.o); code(err) != test.want {
			t.Errorf("%s: %v, should be code %d", name, err, test.want)
		}
	}
}

func TestTLS(t *testing.T) {
	s := Start(t, Options{TLS: true})
	pem, err := os.ReadFile(s.CertificateFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", s.CertificateFile())
	}
	plain(t, s)
	client := dial(t, s, func(o *ch.Options) { o.TLS = &tls.Config{RootCAs: roots} })
	if err := client.Do(bounded(t), numbers("", 1)); err != nil || stored(s) != "1" {
		t.Errorf("%v, %s rows", err, stored(s))
	}
	unknown := ch.Options{Address: s.Address(), TLS: &tls.Config{}, HandshakeTimeout: 10 * time.Second}
	if _, err := ch.Dial(bounded(t), unknown); err == nil {
		t.Error("a certificate that signs itself was taken without being named")
	}
	if _, err := ch.Dial(bounded(t), ch.Options{Address: s.Address(), HandshakeTimeout: 10 * time.Second}); err == nil {
		t.Error("the server speaks without TLS too")
	}
}

// TestRestart: what was answered is there after SIGKILL, on the same port.
func TestRestart(t *testing.T) {
	s := Start(t, Options{})
	plain(t, s)
	address := s.Address()
	for n := range 3 {
		if err := dial(t, s, nil).Do(bounded(t), numbers("", uint64(n))); err != nil {
			t.Fatal(err)
		}
		if got := s.Inserts(); got != 1 {
			t.Errorf("%d inserts counted, should be 1", got)
		}
		s.Kill()
		s.Wait()
		if _, err := ch.Dial(bounded(t), ch.Options{Address: address}); err == nil {
			t.Fatal("a killed server answers")
		}
		s.Restart()
		if got := stored(s); s.Address() != address || got != fmt.Sprint(n+1) {
			t.Fatalf("after a restart: %s rows at %s, should be %d at %s", got, s.Address(), n+1, address)
		}
	}
}
