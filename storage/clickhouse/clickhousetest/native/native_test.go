package native

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go/proto"
)

func TestParse(t *testing.T) {
	for sql, want := range map[string]statement{
		`INSERT INTO "reads" ("a","b") VALUES`:                {table: "reads", target: "`reads`", columns: []string{"a", "b"}, data: true},
		"insert into table d.`we``ird` format Native ; ":      {table: "d.we`ird", target: "`d`.`we\\`ird`", data: true},
		"INSERT INTO t (a) SETTINGS x = 1, y = 'z' VALUES":    {table: "t", target: "`t`", columns: []string{"a"}, settings: "SETTINGS x = 1, y = 'z'", data: true},
		"INSERT INTO t VALUES (1)":                            {table: "t", target: "`t`"},
		"INSERT INTO t (a) SELECT 1":                          {table: "t", target: "`t`", columns: []string{"a"}},
		"/* INSERT */ -- x\n SELECT 1":                        {rows: true},
		"(SELECT 1) UNION ALL (SELECT 2)":                     {rows: true},
		"SET a = 1":                                           {session: true},
		"CREATE TABLE t (a UInt8) ENGINE = Memory":            {},
		"INSERT INTO t SELECT * FROM input('a UInt8') FORMAT": {table: "t", target: "`t`"},
	} {
		if got := parse(trim(sql)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, should be\n%+v", sql, got, want)
		}
	}
}

// TestBlock: what ch-go writes is read to its end and written again as it was, for
// types that lie in each of the ways there are.
func TestBlock(t *testing.T) {
	words := proto.NewArray[string](new(proto.ColStr).LowCardinality())
	words.Append([]string{"a", "b", "a"})
	words.Append([]string{"c"})
	perhaps := new(proto.ColStr).Nullable()
	perhaps.Append(proto.NewNullable("x"))
	perhaps.Append(proto.Null[string]())
	pairs := proto.NewMap[string, uint64](new(proto.ColStr), new(proto.ColUInt64))
	pairs.Append(map[string]uint64{"one": 1, "two": 2})
	pairs.Append(map[string]uint64{})
	nested := proto.NewArray[[]uint16](new(proto.ColUInt16).Array())
	nested.Append([][]uint16{{1, 2}, nil, {3}})
	nested.Append(nil)
	input := proto.Input{{Name: "n", Data: proto.ColUInt64{1, 2}}, {Name: "words", Data: words}, {Name: "perhaps", Data: perhaps},
		{Name: "pairs", Data: pairs}, {Name: "nested", Data: nested}, {Name: "last", Data: proto.ColUInt8{1, 2}}}
	for _, version := range []int{onFile, proto.Version} {
		var written proto.Buffer
		b := proto.Block{Info: proto.BlockInfo{BucketNum: -1}, Columns: len(input), Rows: 2}
		if err := b.EncodeBlock(&written, version, input); err != nil {
			t.Fatal(err)
		}
		r := proto.NewReader(bytes.NewReader(written.Buf))
		got, err := readBlock(r, version)
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if again := got.appendTo(nil, version); !bytes.Equal(again, written.Buf) || got.rows != 2 {
			t.Errorf("version %d: %d rows,\n%q should be\n%q", version, got.rows, again, written.Buf)
		}
		for cut := range written.Buf { // a block that ends early is an error and no panic
			if _, err := readBlock(proto.NewReader(bytes.NewReader(written.Buf[:cut])), version); err == nil {
				t.Fatalf("version %d: a block cut to %d bytes was taken", version, cut)
			}
		}
	}
}

func TestLayout(t *testing.T) {
	for name, want := range map[string]layout{
		"DateTime64(3, 'UTC')":                                    {kind: fixed, size: 8},
		"Enum8('a, b' = 1, 'it\\'s)' = 2)":                        {kind: fixed, size: 1},
		"Decimal(20, 3)":                                          {kind: fixed, size: 16},
		"FixedString(7)":                                          {kind: fixed, size: 7},
		"SimpleAggregateFunction(max, UInt16)":                    {kind: fixed, size: 2},
		"Nullable(Nothing)":                                       {kind: nullable, elems: []*layout{{kind: fixed, size: 1}}},
		"Tuple(`a b` UInt8, c String)":                            {kind: tuple, elems: []*layout{{kind: fixed, size: 1}, {kind: text}}},
		"Tuple(UInt8, DateTime('UTC'))":                           {kind: tuple, elems: []*layout{{kind: fixed, size: 1}, {kind: fixed, size: 4}}},
		"LowCardinality(String)":                                  {kind: lowCardinality, elems: []*layout{{kind: text}}},
		"Nested(a UInt8)":                                         {kind: array, elems: []*layout{{kind: tuple, elems: []*layout{{kind: fixed, size: 1}}}}},
		"SimpleAggregateFunction(groupArrayArray, Array(UInt32))": {kind: array, elems: []*layout{{kind: fixed, size: 4}}},
	} {
		if got, err := layoutOf(name); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v; should be %+v", name, got, err, want)
		}
	}
	for _, name := range []string{"", "AggregateFunction(sum, UInt8)", "JSON", "Array()", "Array(Dynamic)", "FixedString(x)", "Decimal(a, b)"} {
		if got, err := layoutOf(name); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestText(t *testing.T) {
	for _, s := range []string{"", "it's", `back\slash`, "'", "tab\there"} {
		if got := unquoteText(quoteText(s)); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
	if got, want := Rows([]byte("a\\tb\t\\N\n\\\\N\tc\n")), [][]string{{"a\tb", `\N`}, {`\N`, "c"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, should be %q", got, want)
	}
	if len(Rows(nil)) != 0 || strings.Join(Rows([]byte("\n"))[0], "|") != "" {
		t.Error("empty rows")
	}
}
