package collector

import (
	"github.com/lectern/lectern/storage"
	"github.com/lectern/lectern/wire"
)

// transport says how a frame came.
type transport uint8

const (
	overUDP transport = iota
	overTCP
	overTLS
	overDoor // Collector.Take
	transports
)

var transportWords = [transports]string{overUDP: "udp", overTCP: "tcp", overTLS: "tls", overDoor: "internal"}

// tally is what one loop has counted since it started. Plain numbers under the
// shard's mutex; summed when somebody asks.
type tally struct {
	datagrams uint64
	wakeups   uint64
	batches   uint64 // recvmmsg calls that brought something
	bytes     [transports]uint64
	frames    [transports]uint64 // whole frames with a good header, whatever became of them
	beats     uint64

	accepted  uint64
	duplicate uint64
	stale     uint64
	reordered uint64
	shed      uint64
	late      uint64 // clamped: older than late_max
	future    uint64 // clamped: ahead of future_max
	sent      uint64
	lost      uint64 // events that were missing when a later frame of their source came
	found     uint64 // of all that were ever lost, those that came after all

	refusedFrames [wire.Refusals]uint64
	refusedEvents [wire.Refusals]uint64 // of frames that were placed
	unplaced      [wire.Refusals]uint64 // events of the others; beside the sum

	opened uint64 // connections
	acks   uint64
	noRoom uint64 // sessions hung up on because there was no room for a frame
}

func (t *tally) add(o *tally) {
	t.datagrams += o.datagrams
	t.wakeups += o.wakeups
	t.batches += o.batches
	for i := range t.bytes {
		t.bytes[i] += o.bytes[i]
		t.frames[i] += o.frames[i]
	}
	t.beats += o.beats
	t.accepted += o.accepted
	t.duplicate += o.duplicate
	t.stale += o.stale
	t.reordered += o.reordered
	t.shed += o.shed
	t.late += o.late
	t.future += o.future
	t.sent += o.sent
	t.lost += o.lost
	t.found += o.found
	for i := range t.refusedFrames {
		t.refusedFrames[i] += o.refusedFrames[i]
		t.refusedEvents[i] += o.refusedEvents[i]
		t.unplaced[i] += o.unplaced[i]
	}
	t.opened += o.opened
	t.acks += o.acks
	t.noRoom += o.noRoom
}

// miss counts events as lost, or, below 0, takes as many of those that were lost
// as found. They are two counters, so that what Prometheus adds up over a restart
// of the daemon is right.
func (t *tally) miss(events int64) {
	if events >= 0 {
		t.lost += uint64(events)
	} else {
		t.found += uint64(-events)
	}
}

// book is a stream's account since the last cut, on one loop.
type book struct {
	sent, accepted, shed, clamped, duplicate, stale, reordered uint64

	lost          int64
	refusedFrames [wire.Refusals]uint64
	refusedEvents [wire.Refusals]uint64
}

// books are the accounts of one loop since the last cut, by stream.
type books map[uint16]*book

func (b books) of(stream uint16) *book {
	if k, ok := b[stream]; ok {
		return k
	}
	k := new(book)
	b[stream] = k
	return k
}

// export turns the account into the form that is stored.
func (b *book) export(stream uint16) storage.Book {
	out := storage.Book{
		Stream: stream, Sent: b.sent, Accepted: b.accepted, Lost: b.lost, Shed: b.shed,
		Clamped: b.clamped, Duplicate: b.duplicate, Stale: b.stale, Reordered: b.reordered,
	}
	for why := range b.refusedFrames {
		if b.refusedFrames[why] != 0 {
			out.Refused = append(out.Refused, storage.Refused{
				Reason: wire.Refusal(why).String(), Events: b.refusedEvents[why], Frames: b.refusedFrames[why],
			})
		}
	}
	return out
}
