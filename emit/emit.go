// Package emit sends read events to a Lectern collector.
//
// There are two ways, with the same methods:
//
//   - UDP (DialUDP) fires and forgets. It never waits for the collector, and
//     nothing is resent. What gets lost shows in the collector's books, since
//     every event is numbered before its datagram is sent.
//   - TCP (DialTCP) is as fast as the collector reads, and Close tells whether
//     all of it was read.
//
// Both pack many events into one frame and send it when it is full or
// Options.FlushAge old. All their methods may be called from any number of
// goroutines at once, and adding an event allocates nothing.
//
// Who has a transport of their own packs frames with a Packer.
package emit

import (
	"errors"
	"fmt"
	"time"

	"github.com/lectern/lectern/wire"
)

// ErrClosed is returned by calls after Close.
var ErrClosed = errors.New("emit: the emitter is closed")

// Defaults and limits of Options.
const (
	DatagramSizeDefault = wire.DatagramSizeDefault
	// DatagramSizeMax is what fits in a UDP datagram over IPv4.
	DatagramSizeMax  = 65507
	FrameSizeDefault = 32 << 10
	FrameSizeMax     = wire.FrameSizeMax
	// SizeMin is the smallest datagram or frame: it holds any one event.
	SizeMin         = wire.HeaderSize + wire.EventSizeMax
	FlushAgeDefault = 100 * time.Millisecond
)

// Options of an emitter. The zero value is good: every zero field stands for
// its default.
type Options struct {
	// Stream is the number of the application or site that the events belong
	// to, 0 to 65534.
	Stream uint16
	// DatagramSize is the largest datagram that UDP sends, in bytes: default
	// 1400, which fits the usual paths unfragmented; SizeMin to DatagramSizeMax.
	DatagramSize int
	// FrameSize is the largest frame that TCP sends, in bytes: default 32 KiB;
	// SizeMin to FrameSizeMax.
	FrameSize int
	// FlushAge is how long an event waits at most for others to share its
	// frame: default 100 ms.
	FlushAge time.Duration
}

// withDefaults returns the options with every zero field set, or what is wrong
// with them.
func (o Options) withDefaults() (Options, error) {
	if o.DatagramSize == 0 {
		o.DatagramSize = DatagramSizeDefault
	}
	if o.FrameSize == 0 {
		o.FrameSize = FrameSizeDefault
	}
	if o.FlushAge == 0 {
		o.FlushAge = FlushAgeDefault
	}
	switch {
	case o.DatagramSize < SizeMin || o.DatagramSize > DatagramSizeMax:
		return o, fmt.Errorf("emit: datagram size %d is outside of %d to %d bytes", o.DatagramSize, SizeMin, DatagramSizeMax)
	case o.FlushAge < 0:
		return o, fmt.Errorf("emit: flush age %v is negative; leave it zero for %v", o.FlushAge, FlushAgeDefault)
	}
	return o, nil
}

// Stats is what an emitter has done so far.
type Stats struct {
	// Events and Frames have been numbered: the collector will call them
	// accepted, refused, shed or lost. Frames holds the beats, too. Events
	// still waiting for their frame to be finished are in neither.
	Events, Frames uint64
	// Datagrams is how many datagrams the kernel took. Zero over TCP.
	Datagrams uint64
	// Bytes of frames that the kernel took.
	Bytes uint64
	// SendErrors is how many frames could not be handed to the kernel, and
	// DroppedEvents how many events were in them.
	SendErrors, DroppedEvents uint64
}
