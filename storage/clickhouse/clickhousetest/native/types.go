package native

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/proto"
)

// A layout tells how the values of a type lie in a native block, so that they
// can be passed on as bytes: what the type means is the engine's business.
type layout struct {
	kind  layoutKind
	size  int       // fixed: bytes a value
	elems []*layout // of what it is made
}

type layoutKind int

const (
	fixed layoutKind = iota
	text
	nullable
	array
	tuple
	lowCardinality
)

var sizes = map[string]int{
	"UInt8": 1, "UInt16": 2, "UInt32": 4, "UInt64": 8, "UInt128": 16, "UInt256": 32,
	"Int8": 1, "Int16": 2, "Int32": 4, "Int64": 8, "Int128": 16, "Int256": 32,
	"Float32": 4, "Float64": 8, "BFloat16": 2, "Bool": 1, "UUID": 16, "IPv4": 4, "IPv6": 16,
	"Date": 2, "Date32": 4, "DateTime": 4, "DateTime64": 8, "Time": 4, "Time64": 8,
	"Enum8": 1, "Enum16": 2, "Nothing": 1,
	"Decimal32": 4, "Decimal64": 8, "Decimal128": 16, "Decimal256": 32,
}

// layoutOf reads a type's name, as "Map(LowCardinality(String), Array(UInt8))".
func layoutOf(name string) (*layout, error) {
	base, args := splitType(name)
	if size, found := sizes[base]; found {
		return &layout{kind: fixed, size: size}, nil
	}
	if strings.HasPrefix(base, "Interval") {
		return &layout{kind: fixed, size: 8}, nil
	}
	switch base {
	case "String":
		return &layout{kind: text}, nil
	case "FixedString":
		return fixedString(name, args)
	case "Decimal":
		return decimal(name, args)
	case "Point": // a tuple of two
		return &layout{kind: fixed, size: 16}, nil
	case "SimpleAggregateFunction": // the function, then the type
		if len(args) == 2 {
			return layoutOf(args[1])
		}
	case "Nullable", "LowCardinality", "Array":
		if len(args) == 1 {
			kind := map[string]layoutKind{"Nullable": nullable, "LowCardinality": lowCardinality, "Array": array}[base]
			return composed(kind, args)
		}
	case "Tuple":
		return composed(tuple, args)
	case "Map", "Nested": // arrays of tuples
		inner, err := composed(tuple, args)
		if err != nil {
			return nil, err
		}
		return &layout{kind: array, elems: []*layout{inner}}, nil
	}
	return nil, fmt.Errorf("type %s: the test server cannot tell how its values lie in a block", name)
}

func fixedString(name string, args []string) (*layout, error) {
	if len(args) == 1 {
		if n, err := strconv.Atoi(args[0]); err == nil && n > 0 {
			return &layout{kind: fixed, size: n}, nil
		}
	}
	return nil, fmt.Errorf("type %s: no length", name)
}

func decimal(name string, args []string) (*layout, error) {
	if len(args) == 2 {
		precision, err := strconv.Atoi(args[0])
		switch {
		case err != nil:
		case precision <= 9:
			return &layout{kind: fixed, size: 4}, nil
		case precision <= 18:
			return &layout{kind: fixed, size: 8}, nil
		case precision <= 38:
			return &layout{kind: fixed, size: 16}, nil
		default:
			return &layout{kind: fixed, size: 32}, nil
		}
	}
	return nil, fmt.Errorf("type %s: no precision", name)
}

func composed(kind layoutKind, args []string) (*layout, error) {
	l := &layout{kind: kind}
	for _, arg := range args {
		elem, err := layoutOf(arg)
		if err != nil { // an element with a name: "a UInt8" or "`a b` UInt8"
			if elem, err = layoutOf(withoutName(arg)); err != nil {
				return nil, err
			}
		}
		l.elems = append(l.elems, elem)
	}
	return l, nil
}

func withoutName(element string) string {
	if strings.HasPrefix(element, "`") {
		if end := strings.LastIndex(element, "` "); end > 0 {
			return element[end+2:]
		}
	}
	_, after, _ := strings.Cut(element, " ")
	return after
}

// splitType cuts "Map(String, Array(UInt8))" into "Map" and its two arguments.
func splitType(name string) (base string, args []string) {
	open := strings.IndexByte(name, '(')
	if open < 0 || !strings.HasSuffix(name, ")") {
		return name, nil
	}
	base, inner := name[:open], name[open+1:len(name)-1]
	depth, start, quote := 0, 0, byte(0)
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '\'' || c == '`' || c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			args = append(args, strings.TrimSpace(inner[start:i]))
			start = i + 1
		}
	}
	return base, append(args, strings.TrimSpace(inner[start:]))
}

// copyColumn appends a column of that many rows as it comes from the reader.
func (l *layout) copyColumn(to []byte, from *proto.Reader, rows int) ([]byte, error) {
	if rows == 0 {
		return to, nil
	}
	to, err := l.copyPrefix(to, from)
	if err != nil {
		return nil, err
	}
	return l.copyValues(to, from, rows)
}

// copyPrefix appends what stands before all values of a column.
func (l *layout) copyPrefix(to []byte, from *proto.Reader) ([]byte, error) {
	if l.kind == lowCardinality { // the version of its keys
		return copyBytes(to, from, 8)
	}
	var err error
	for _, elem := range l.elems {
		if to, err = elem.copyPrefix(to, from); err != nil {
			return nil, err
		}
	}
	return to, nil
}

func (l *layout) copyValues(to []byte, from *proto.Reader, rows int) ([]byte, error) {
	var err error
	switch l.kind {
	case fixed:
		return copyBytes(to, from, rows*l.size)
	case text:
		for range rows {
			n, err := from.StrLen()
			if err != nil {
				return nil, err
			}
			to = binary.AppendUvarint(to, uint64(n))
			if to, err = copyBytes(to, from, n); err != nil {
				return nil, err
			}
		}
	case nullable:
		if to, err = copyBytes(to, from, rows); err != nil {
			return nil, err
		}
		return l.elems[0].copyValues(to, from, rows)
	case array: // the end of each row's elements, then the elements
		if to, err = copyBytes(to, from, rows*8); err != nil {
			return nil, err
		}
		if n := binary.LittleEndian.Uint64(to[len(to)-8:]); n > 0 {
			return l.elems[0].copyValues(to, from, int(n))
		}
	case tuple:
		for _, elem := range l.elems {
			if to, err = elem.copyValues(to, from, rows); err != nil {
				return nil, err
			}
		}
	case lowCardinality:
		return l.copyDictionary(to, from)
	}
	return to, nil
}

// copyDictionary appends LowCardinality values: flags whose low byte tells the
// size of a key, the dictionary, and a key a row.
func (l *layout) copyDictionary(to []byte, from *proto.Reader) ([]byte, error) {
	to, err := copyBytes(to, from, 16)
	if err != nil {
		return nil, err
	}
	size := 1 << (to[len(to)-16] & 3)
	words := binary.LittleEndian.Uint64(to[len(to)-8:])
	inner := l.elems[0]
	if inner.kind == nullable { // its NULL is an entry of the dictionary
		inner = inner.elems[0]
	}
	if to, err = inner.copyValues(to, from, int(words)); err != nil {
		return nil, err
	}
	if to, err = copyBytes(to, from, 8); err != nil {
		return nil, err
	}
	keys := binary.LittleEndian.Uint64(to[len(to)-8:])
	return copyBytes(to, from, int(keys)*size)
}

// longest is the most bytes that one read appends: a block that lies about its
// size ends the query, not the process.
const longest = 1 << 30

func copyBytes(to []byte, from *proto.Reader, n int) ([]byte, error) {
	if n < 0 || n > longest {
		return nil, fmt.Errorf("a block with %d bytes in one run", n)
	}
	at := len(to)
	to = append(to, make([]byte, n)...)
	return to, from.ReadFull(to[at:])
}
