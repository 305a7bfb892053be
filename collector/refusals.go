package collector

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/lectern/lectern/wire"
)

// For who asks why frames are refused, each loop keeps for each word the senders that
// were refused last, with what the last frame of each began with. It is only looked at
// where a frame is refused, and does not grow.

const (
	// refusedPeers is how many senders are kept for each word, by each loop.
	refusedPeers = 8
	// refusedPause is how long after a sender is new to a word before another can be, in
	// milliseconds: made-up addresses do not turn the list over faster than that.
	refusedPause = 50
	// refusedBytes is how much is kept of a frame: its header. The body says who read what.
	refusedBytes = wire.HeaderSize
	// strangeBytes is how much is kept of what is no frame.
	strangeBytes = 16
	// sourceAt is where a header has its source.
	sourceAt = 16
)

// RefusedSender is a host that sends refused frames in one way, as the page shows it.
type RefusedSender struct {
	Why       wire.Refusal
	Transport string // udp, tcp, tls, or internal
	Peer      string // its address with the port of the last one; "" where nobody knows
	Times     uint64 // frames since it was first kept
	First     int64  // Unix milliseconds of the first of them, and of the last
	Last      int64
	Size      int    // bytes that were there of the last; 0 where there was no frame
	Began     []byte // what the last one began with: at most its header, or 16 bytes of what is none
	// Sourced says that the header names a source. Whoever knows a source's number can
	// send in its name, so it is here and zero in Began.
	Sourced bool
	Source  uint64
}

// refusal is one of them in a loop's list.
type refusal struct {
	from        address
	via         transport
	sourced     bool
	began       uint8 // of bytes
	size        uint32
	times       uint64
	first, last int64
	source      uint64
	bytes       [refusedBytes]byte // without the source
}

// refusals are the last senders of each word. A shard's mutex protects them.
type refusals struct {
	of   [wire.Refusals][refusedPeers]refusal
	at   [wire.Refusals]uint8 // the one that was refused last
	next [wire.Refusals]int64 // when another may be new
}

// remember keeps who was refused. b begins with the frame; it is empty where there is
// none. started says that b stands behind good frames of a connection, where it may be
// any part of one.
func (s *shard) remember(why wire.Refusal, b []byte, via transport, from address, started bool) {
	r := &s.refused
	list := &r.of[why]
	at := r.at[why]
	if e := &list[at]; e.times == 0 || !e.of(from, via) {
		at = r.place(why, from, via)
	}
	e := &list[at]
	if e.times == 0 || !e.of(from, via) {
		if s.now < r.next[why] {
			return
		}
		r.next[why] = s.now + refusedPause
		*e = refusal{first: s.now}
	}
	r.at[why] = at
	e.from, e.via, e.last, e.size = from, via, s.now, uint32(len(b))
	e.times++
	e.keep(b, started)
}

// place is where a sender stands in a word's list, or may stand: in place of who was
// refused longest ago.
func (r *refusals) place(why wire.Refusal, from address, via transport) (at uint8) {
	list := &r.of[why]
	for i := range list {
		e := &list[i]
		if e.times > 0 && e.of(from, via) {
			return uint8(i)
		}
		if e.last < list[at].last {
			at = uint8(i)
		}
	}
	return at
}

// of says whether it is of a host that sends in this way.
func (e *refusal) of(from address, via transport) bool {
	return e.via == via && e.from.network == from.network && e.from.host == from.host
}

// keep copies what a frame began with, without the number of its source.
func (e *refusal) keep(b []byte, started bool) {
	most := refusedBytes
	if len(b) < 2 || binary.LittleEndian.Uint16(b) != wire.Magic {
		most = strangeBytes
		if started {
			most = 2
		}
	}
	e.began = uint8(copy(e.bytes[:most], b))
	if e.sourced = e.began == refusedBytes; e.sourced {
		e.source, _ = wire.Peek(&e.bytes)
	}
	clear(e.bytes[sourceAt : sourceAt+8])
}

// Refused returns the last senders of refused frames, by word and then those that were
// refused last first: at most 8 for each word.
func (c *Collector) Refused() []RefusedSender { return refusedBy(c.shards) }

func refusedBy(shards []*shard) []RefusedSender {
	type key struct {
		why           wire.Refusal
		via           transport
		network, host uint64
	}
	all := make(map[key]RefusedSender) // a sender may come to several loops
	for _, s := range shards {
		s.Lock()
		for why := range s.refused.of {
			for i := range s.refused.of[why] {
				if e := &s.refused.of[why][i]; e.times > 0 {
					k := key{wire.Refusal(why), e.via, e.from.network, e.from.host}
					all[k] = e.with(all[k], wire.Refusal(why))
				}
			}
		}
		s.Unlock()
	}
	list := slices.SortedFunc(maps.Values(all), func(a, b RefusedSender) int {
		return cmp.Or(cmp.Compare(a.Why, b.Why), cmp.Compare(b.Last, a.Last), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Transport, b.Transport))
	})
	n, last := 0, wire.Accepted
	return slices.DeleteFunc(list, func(r RefusedSender) bool {
		if r.Why != last {
			n, last = 0, r.Why
		}
		n++
		return n > refusedPeers
	})
}

// with is what others may know of a sender, together with what another loop has of it.
func (e *refusal) with(o RefusedSender, why wire.Refusal) RefusedSender {
	r := RefusedSender{
		Why: why, Transport: transportWords[e.via], Peer: e.from.String(), Times: e.times + o.Times, First: e.first, Last: e.last,
		Size: int(e.size), Began: bytes.Clone(e.bytes[:e.began]), Sourced: e.sourced, Source: e.source,
	}
	if o.Times == 0 {
		return r
	}
	first := min(r.First, o.First)
	if o.Last > r.Last {
		o.Times = r.Times
		r = o
	}
	r.First = first
	return r
}
