package clickhouse

import (
	"encoding/binary"
	"unsafe"

	"github.com/ClickHouse/ch-go/proto"
)

// number is what the columns of reads are made of.
type number interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int64
}

// column is one column of a block as ch-go takes it: the rows where they
// are, and the receipt's value behind them. Nothing of the block is copied or
// appended to. Without compression the rows go to the socket from where they
// are (writev); with it ch-go copies them once, into what it compresses.
type column[T number] struct {
	kind    proto.ColumnType
	rows    []T
	receipt [1]T
}

// Type implements proto.ColInput.
func (c *column[T]) Type() proto.ColumnType { return c.kind }

// Rows implements proto.ColInput.
func (c *column[T]) Rows() int { return len(c.rows) + 1 }

// EncodeColumn implements proto.ColInput.
func (c *column[T]) EncodeColumn(b *proto.Buffer) {
	b.Buf = append(b.Buf, littleEndian(c.rows)...)
	b.Buf = append(b.Buf, littleEndian(c.receipt[:])...)
}

// WriteColumn implements proto.ColInput. The writer keeps the rows until the
// block is sent.
func (c *column[T]) WriteColumn(w *proto.Writer) {
	if len(c.rows) > 0 {
		w.ChainWrite(littleEndian(c.rows))
	}
	w.ChainBuffer(func(b *proto.Buffer) { b.Buf = append(b.Buf, littleEndian(c.receipt[:])...) })
}

var _ proto.ColInput = (*column[uint64])(nil)

// nativeLittle says that numbers lie in memory as they go over the wire.
var nativeLittle = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// littleEndian is the bytes of numbers on the wire: those in memory where the
// machine has the same order, and a copy where it has not.
func littleEndian[T number](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	if !nativeLittle {
		b, _ := binary.Append(nil, binary.LittleEndian, v) // numbers always have a size
		return b
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(v[0])))
}
