package native

import (
	"encoding/binary"
	"fmt"

	"github.com/ClickHouse/ch-go/proto"
)

// A block is some rows, column by column, with the values as they are sent.
type block struct {
	rows    int
	columns []column
}

type column struct {
	name, kind string
	values     []byte
}

// onFile is the protocol version of blocks in the format Native, on a file and
// in a result: the oldest, with neither block info nor serialization flags.
const onFile = 0

// most of a block's columns.
const mostColumns = 10_000

// readBlock reads a block as a peer of that protocol version sends it. One
// without columns ends a stream of blocks.
func readBlock(r *proto.Reader, version int) (block, error) {
	var head proto.BlockInfo
	if proto.FeatureBlockInfo.In(version) {
		if err := head.Decode(r); err != nil {
			return block{}, fmt.Errorf("block info: %w", err)
		}
	}
	columns, err := r.Int()
	if err != nil {
		return block{}, err
	}
	rows, err := r.Int()
	if err != nil {
		return block{}, err
	}
	if columns < 0 || columns > mostColumns || rows < 0 || rows > longest {
		return block{}, fmt.Errorf("a block with %d columns and %d rows", columns, rows)
	}
	b := block{rows: rows, columns: make([]column, columns)}
	for i := range b.columns {
		if b.columns[i], err = readColumn(r, version, rows); err != nil {
			return block{}, fmt.Errorf("column %d of %d: %w", i+1, columns, err)
		}
	}
	return b, nil
}

func readColumn(r *proto.Reader, version, rows int) (c column, err error) {
	if c.name, err = r.Str(); err != nil {
		return c, err
	}
	if c.kind, err = r.Str(); err != nil {
		return c, err
	}
	if proto.FeatureCustomSerialization.In(version) {
		custom, err := r.Bool()
		if err != nil || custom {
			return c, fmt.Errorf("%s: custom serialization (%t): %w", c.name, custom, err)
		}
	}
	l, err := layoutOf(c.kind)
	if err != nil {
		return c, err
	}
	c.values, err = l.copyColumn(nil, r, rows)
	return c, err
}

// appendTo appends the block as a peer of that protocol version expects it.
func (b *block) appendTo(to []byte, version int) []byte {
	if proto.FeatureBlockInfo.In(version) {
		buffer := proto.Buffer{Buf: to}
		proto.BlockInfo{BucketNum: -1}.Encode(&buffer)
		to = buffer.Buf
	}
	to = binary.AppendUvarint(to, uint64(len(b.columns)))
	to = binary.AppendUvarint(to, uint64(b.rows))
	for _, c := range b.columns {
		to = appendText(to, c.name)
		to = appendText(to, c.kind)
		if proto.FeatureCustomSerialization.In(version) {
			to = append(to, 0)
		}
		to = append(to, c.values...)
	}
	return to
}

// header is the block without its rows.
func (b *block) header() *block {
	head := &block{columns: make([]column, len(b.columns))}
	for i, c := range b.columns {
		head.columns[i] = column{name: c.name, kind: c.kind}
	}
	return head
}

func appendText(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}
