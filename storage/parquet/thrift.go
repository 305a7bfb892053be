package parquet

import (
	"encoding/binary"
	"errors"
)

var errThrift = errors.New("it is not in the form of one")

// checkThrift says whether b is one whole struct in Thrift's compact protocol, in
// which every length fits what follows: a reader may make room for what these
// say. https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
func checkThrift(b []byte) error {
	c := compact{b: b}
	c.skip(thriftStruct, 0)
	if c.bad || len(c.b) > 0 {
		return errThrift
	}
	return nil
}

// The types of the compact protocol, which are those of fields; in lists a
// boolean is a byte of its own.
const (
	thriftTrue = 1 + iota
	thriftFalse
	thriftByte
	thriftI16
	thriftI32
	thriftI64
	thriftDouble
	thriftBinary
	thriftList
	thriftSet
	thriftMap
	thriftStruct
)

const thriftDepthMax = 32 // a footer has 7

// compact walks over what is encoded.
type compact struct {
	b   []byte
	bad bool
}

func (c *compact) take(n uint64) []byte {
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		return nil
	}
	taken := c.b[:n]
	c.b = c.b[n:]
	return taken
}

func (c *compact) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *compact) varint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.take(uint64(n))
	return v
}

// skip goes over a value.
func (c *compact) skip(kind byte, depth int) {
	if depth > thriftDepthMax {
		c.bad = true
	}
	if c.bad {
		return
	}
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		c.byte()
	case thriftI16, thriftI32, thriftI64:
		c.varint()
	case thriftDouble:
		c.take(8)
	case thriftBinary:
		c.take(c.varint())
	case thriftList, thriftSet:
		c.list(depth)
	case thriftMap:
		c.pairs(depth)
	case thriftStruct:
		c.fields(depth)
	default:
		c.bad = true
	}
}

// list goes over one, whose elements take at least a byte each.
func (c *compact) list(depth int) {
	head := c.byte()
	n := uint64(head >> 4)
	if n == 15 {
		n = c.varint()
	}
	c.many(n, 1, depth, head&15)
}

func (c *compact) pairs(depth int) {
	if n := c.varint(); n > 0 {
		kinds := c.byte()
		c.many(n, 2, depth, kinds>>4, kinds&15)
	}
}

// many goes over n times the kinds.
func (c *compact) many(n, least uint64, depth int, kinds ...byte) {
	if n > uint64(len(c.b))/least {
		c.bad = true
	}
	for ; n > 0 && !c.bad; n-- {
		for _, kind := range kinds {
			c.skip(kind, depth+1)
		}
	}
}

func (c *compact) fields(depth int) {
	for !c.bad {
		head := c.byte()
		if head == 0 {
			return
		}
		if head>>4 == 0 {
			c.varint() // the field's id; else it is the former one's and this many
		}
		if kind := head & 15; kind != thriftTrue && kind != thriftFalse { // in fields the type is the value
			c.skip(kind, depth+1)
		}
	}
}
