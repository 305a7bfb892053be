package collector

import (
	"encoding/binary"
	"errors"

	"github.com/lectern/lectern/wire"
)

// ErrStopped is returned by Take when the collector has made its last cut.
var ErrStopped = errors.New("collector: it has stopped")

// Take takes whole frames that did not come over the collector's own sockets: those
// of an HTTP beacon, say, or of a test. It is the door that sockets use, too, so
// that the same is counted, refused, shed and booked, and it may be called from any
// goroutine at any time.
//
// The frames in b are taken as those of one datagram: in order, each whole or not at
// all, and behind a refused one the rest is refused unread. They are on disk with
// the next cut, and nobody is told. Like a datagram's, a frame that finds no room is
// shed, after a second at the most; like over UDP, a source should come one way only,
// and not from several goroutines at once, whose order would be anybody's guess. b is
// the caller's again afterwards.
//
// The error is nil when all was taken, or was there before, or was shed; the
// wire.Refusal of the first frame that was refused; or ErrStopped.
func (c *Collector) Take(b []byte) error {
	s := c.shards[0]
	if len(b) >= wire.HeaderSize && len(c.shards) > 1 { // a source is always taken by the same shard
		source := binary.LittleEndian.Uint64(b[16:])
		s = c.shards[hashSource(c.sources.seed, source)%uint64(len(c.shards))]
	}
	s.Lock()
	defer s.Unlock()
	if s.ended {
		return ErrStopped
	}
	s.tick()
	why := s.admit(b, overDoor, address{}) // whoever calls this answers for what it brings
	s.flush()
	s.yield()
	if why != wire.Accepted {
		return why
	}
	return nil
}
