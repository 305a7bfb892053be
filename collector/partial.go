package collector

import (
	"math/bits"

	"github.com/lectern/lectern/wire"
)

// partialMax bounds the memory of half-received frames in one loop: many slow
// clients may not eat the memory that keys_max leaves.
const partialMax = 32 << 20

// The memory of a half-received frame is a power of two from partialMin to
// wire.FrameSizeMax + 1 bytes: partialClasses different sizes.
const (
	partialMin     = 1 << partialShift
	partialShift   = 6
	partialClasses = 16 - partialShift + 1
)

// sparesMax is how many buffers of each class a loop keeps: at full speed every
// wake-up ends inside a frame, and the next finishes it.
const sparesMax = 16

// partials are the half-received frames of one loop.
type partials struct {
	bytes int                      // of their memory
	spare [partialClasses][][]byte // memory for more
	whole []byte                   // room for a frame that came in pieces; nil while one is in it

	// Those who stopped inside a frame, by when it began.
	oldest, newest *connection
}

// classOf is the class of the smallest buffer that holds n bytes.
func classOf(n int) int { return bits.Len(uint(max(n, partialMin)-1)) - partialShift }

// buffer returns an empty buffer of a class.
func (p *partials) buffer(class int) []byte {
	list := p.spare[class]
	if last := len(list) - 1; last >= 0 {
		p.spare[class] = list[:last]
		return list[last]
	}
	return make([]byte, 0, partialMin<<class)
}

// give takes a buffer back.
func (p *partials) give(b []byte) {
	if class := classOf(cap(b)); len(p.spare[class]) < sparesMax {
		p.spare[class] = append(p.spare[class], b[:0])
	}
}

// enter puts a connection behind those that stopped inside a frame before it.
func (p *partials) enter(k *connection) {
	k.older = p.newest
	if k.older == nil {
		p.oldest = k
	} else {
		k.older.younger = k
	}
	p.newest = k
}

// leave is for one that has finished its frame, or never will.
func (p *partials) leave(k *connection) {
	if k.older == nil {
		p.oldest = k.younger
	} else {
		k.older.younger = k.younger
	}
	if k.younger == nil {
		p.newest = k.older
	} else {
		k.younger.older = k.older
	}
	k.older, k.younger = nil, nil
}

// keep puts the beginning of a frame, or more of it, aside until the rest comes.
// It takes memory for what has come, not for what the frame says it will be.
func (s *shard) keep(k *connection, b []byte) {
	if len(b) == 0 {
		return
	}
	p := &s.conns.partials
	began := len(k.partial) > 0
	if need := len(k.partial) + len(b); need > cap(k.partial) {
		class := classOf(need)
		p.bytes += partialMin<<class - cap(k.partial)
		s.makePartialRoom(k)
		larger := append(p.buffer(class), k.partial...)
		if began {
			p.give(k.partial)
		}
		k.partial = larger
	}
	k.partial = append(k.partial, b...)
	if !began {
		k.frameAt = s.steady
		p.enter(k)
	}
}

// makePartialRoom refuses those who have stood inside a frame for the longest,
// until the memory of all is what it may be. A client that sends at any speed is inside a
// frame for a moment, so it is not the busy ones that pay for the slow ones.
func (s *shard) makePartialRoom(but *connection) {
	p := &s.conns.partials
	for p.bytes > partialMax {
		k := p.oldest
		if k == but {
			k = k.younger
		}
		s.refuseOn(k, wire.RefusedConnections, k.partial)
		s.dropOut(k, wire.RefusedConnections, "too many connections stopped inside a frame, this one for the longest; send smaller frames, or connect later")
	}
}

// joined is the frame of this size that was put aside, with the rest of it from
// what came now. While it waits for room, the shard is released, and another
// connection may join one: so nobody else has its memory before parted.
func (s *shard) joined(k *connection, size int, b []byte) (frame, rest []byte) {
	n := size - len(k.partial)
	p := &s.conns.partials
	whole := p.whole
	if p.whole = nil; whole == nil {
		whole = make([]byte, 0, wire.FrameSizeMax)
	}
	whole = append(append(whole[:0], k.partial...), b[:n]...)
	s.drop(k)
	return whole, b[n:]
}

// parted takes back what joined gave.
func (s *shard) parted(frame []byte) { s.conns.partials.whole = frame }

// drop discards the frame that was put aside. Its memory goes to whoever needs
// some next: a client would hold it for as long as it stays.
func (s *shard) drop(k *connection) {
	if len(k.partial) == 0 {
		return
	}
	p := &s.conns.partials
	p.leave(k)
	p.bytes -= cap(k.partial)
	p.give(k.partial)
	k.partial = nil
}
