package gmac

import "encoding/binary"

// GHASH in the terms of POLYVAL (RFC 8452, appendix A), which has its bits in the
// order of the processor's: a block is read with its bytes reversed, and the hash key
// is multiplied by x once.

const blockSize = 16

// element is one of the field of 2^128, its lowest bits first.
type element struct{ lo, hi uint64 }

// elementOf reads a block.
func elementOf(b []byte) element {
	return element{lo: binary.BigEndian.Uint64(b[8:]), hi: binary.BigEndian.Uint64(b)}
}

// put writes it as a block.
func (e element) put(b []byte) {
	binary.BigEndian.PutUint64(b, e.hi)
	binary.BigEndian.PutUint64(b[8:], e.lo)
}

func (e element) plus(o element) element { return element{e.lo ^ o.lo, e.hi ^ o.hi} }

// timesX is e·x.
func (e element) timesX() element {
	over := e.hi >> 63
	return element{e.lo<<1 ^ over, e.hi<<1 ^ e.lo>>63 ^ over*0xC2<<56}
}

// product is a sum of products of elements that are not reduced yet, in three parts of
// 128 bits, the second 64 bits above the first, the third above the second.
type product struct{ low, middle, high element }

// reduced is the element that it is, over x^128: Montgomery's way for x^128 + x^127 +
// x^126 + x^121 + 1.
func (p *product) reduced() element {
	a, b := p.low.lo, p.low.hi^p.middle.lo
	c, d := p.high.lo^p.middle.hi, p.high.hi
	b ^= a<<63 ^ a<<62 ^ a<<57
	c ^= a ^ a>>1 ^ a>>2 ^ a>>7
	c ^= b<<63 ^ b<<62 ^ b<<57
	d ^= b ^ b>>1 ^ b>>2 ^ b>>7
	return element{c, d}
}

// powersMax is how many blocks are added up before the sum is reduced: those of a
// frame that fills a datagram, and what stands behind it.
const powersMax = 96

// strideBlocks is how many are, while there are more of them than powersMax.
const strideBlocks = 64

// powers are those of a hash key, the highest first: the last of n blocks is
// multiplied by the first power. Behind them is nothing, for what fills up the last four
// blocks.
type powers [powersMax + blocksAtOnce - 1]element

// blocksAtOnce is how many multiply takes.
const blocksAtOnce = 4

// four is memory for four blocks, at first of zeros.
type four [blocksAtOnce * blockSize]byte

// powersOf are the powers of a hash key.
func powersOf(hash *[blockSize]byte) *powers {
	p := new(powers)
	p[powersMax-1] = elementOf(hash[:]).timesX()
	for i := powersMax - 2; i >= 0; i-- {
		x := p.times(p[i+1], 1)
		p[i] = x.reduced()
	}
	return p
}

// of is where the power of the first of n blocks is.
func (p *powers) of(n int) *element { return &p[powersMax-n] }

// times is an element as the first of n blocks, of which the others are 0.
func (p *powers) times(e element, n int) (x product) {
	var block four
	e.put(block[:])
	multiply(&x, p.of(n), &block[0], 1)
	return x
}

// ghash is that of additional data alone.
func (p *powers) ghash(data []byte) element {
	bits := uint64(len(data)) * 8
	var x product
	for len(data) > (powersMax-1)*blockSize {
		if x != (product{}) {
			x = p.times(x.reduced(), strideBlocks)
		}
		multiply(&x, p.of(strideBlocks), &data[0], strideBlocks/blocksAtOnce)
		data = data[strideBlocks*blockSize:]
	}
	if x != (product{}) {
		x = p.times(x.reduced(), blocksOf(data))
	}
	return p.finish(&x, data, bits, 0)
}

// counter is the block that the mask of a tag is the encryption of: J0.
func (p *powers) counter(nonce []byte) element {
	return p.finish(new(product), nonce, 0, uint64(len(nonce))*8)
}

// blocksOf is how many blocks data takes, filled up with zeros, and the block of the two
// lengths behind it.
func blocksOf(data []byte) int { return (len(data)+blockSize-1)/blockSize + 1 }

// finish is the sum with the last of the data and the two lengths.
func (p *powers) finish(x *product, data []byte, first, second uint64) element {
	n := blocksOf(data)
	if whole := len(data) / len(four{}); whole > 0 {
		multiply(x, p.of(n), &data[0], whole)
		data = data[whole*len(four{}):]
		n -= whole * blocksAtOnce
	}
	var last [2 * len(four{})]byte
	copy(last[:], data)
	binary.BigEndian.PutUint64(last[(n-1)*blockSize:], first)
	binary.BigEndian.PutUint64(last[(n-1)*blockSize+8:], second)
	multiply(x, p.of(n), &last[0], (n+blocksAtOnce-1)/blocksAtOnce)
	return x.reduced()
}
