// Package emit sends read events to a Lectern collector.
//
// There are two ways, with the same methods (Emitter):
//
//   - UDP (DialUDP) fires and forgets. It never waits for the collector, and
//     nothing is resent. What gets lost shows in the collector's books, since
//     every event is numbered before its datagram is sent.
//   - TCP (DialTCP) keeps every event until the collector has acknowledged it,
//     and sends it again, over new connections, until then. Acknowledged means
//     durable: on the collector's disk, and counted exactly once from there on,
//     whatever is killed. Close returns nil only when everything is. DialTLS is
//     the same over TLS.
//
// What TCP keeps is in this process's memory and dies with it, unless
// Options.Queue names a directory: then the events that Add accepted outlive a
// kill -9, and the next emitter with that directory sends them, each once. They
// do not outlive the machine: nothing waits for the disk on this side.
//
// One emitter is one source at one collector. Frames belong to the collector
// they were first sent to, which may have made them durable when only the
// acknowledgement was lost. So do not use an address behind which a different
// collector may answer each time.
//
// UDP and TCP pack many events into one frame, and send it when it is full or
// Options.FlushAge old. All their methods may be called from any number of
// goroutines at once, and adding an event allocates nothing.
//
// Name tells the collector what an id stands for, so that people see paths and not
// numbers.
//
// With a transport of your own, pack frames with a Packer.
package emit

import (
	"context"
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
	// FrameSizeMax leaves room for a tag.
	FrameSizeMax = wire.FrameSizeMax - wire.TagSize
	// SizeMin is the smallest datagram or frame: it holds any one event. A sealed one
	// takes wire.TagSize more.
	SizeMin         = wire.HeaderSize + wire.SkippedSize + wire.EventSizeMax
	FlushAgeDefault = 100 * time.Millisecond
	// BufferSizeDefault is the buffer of a TCP emitter, in bytes.
	BufferSizeDefault = 16 << 20
	// BufferSizeMax is its largest.
	BufferSizeMax = 1 << 30
	// SocketAgeDefault is how long UDP keeps a socket.
	SocketAgeDefault = 5 * time.Minute
)

// Emitter is what UDP and TCP have in common, for who leaves the choice to a
// setting.
type Emitter interface {
	// Add takes one event. It is sent when its frame is full or Options.FlushAge
	// old. An error says that the event is not taken: it wraps ErrEvent, for an
	// event that no collector would take, or is ErrClosed, or over TCP ErrFull.
	Add(Event) error
	// Name says what a content is called: the text of which its id is the hash (ID).
	// It may be called with each event: what was said lately is not sent again. An
	// error wraps ErrName, or is one of Add's.
	Name(text string) error
	// Describe says more of a content, by its id. The last text counts.
	Describe(content uint64, what wire.Attribute, text string) error
	// Flush has the events sent that wait for others. The error is ErrClosed or nil.
	Flush() error
	// Source returns the number under which the collector knows this emitter. It
	// changes when a new source begins.
	Source() uint64
	// Stats returns what has been done so far.
	Stats() Stats
	// Close sends what waits and ends the emitter. Over TCP it returns nil only
	// when all of it is acknowledged, and waits for that no longer than the context.
	Close(context.Context) error
}

var (
	_ Emitter = (*UDP)(nil)
	_ Emitter = (*TCP)(nil)
)

// ringFrames is how many of the largest frames a buffer holds at least.
const ringFrames = 4

// OnFull is what TCP.Add does while the buffer is full, since the collector does
// not acknowledge as fast as events are added.
type OnFull uint8

// What an emitter can do with a full buffer.
const (
	Block OnFull = iota // wait for room, or for Close
	Fail                // return ErrFull
	// Drop takes the event and throws it away. It is counted in Stats.Dropped,
	// and numbered: the collector's books show it as lost.
	Drop
)

// Options of an emitter. The zero value is good: every zero field stands for
// its default. An option of the other way is an error.
type Options struct {
	// Stream is the number of the application or site that the events belong
	// to, 0 to 65534.
	Stream uint16
	// FlushAge is how long an event waits at most for others to share its
	// frame: default 100 ms.
	FlushAge time.Duration

	// Key seals what is sent, so that the collector knows that it is from here, and
	// over TCP this side that the answers are the collector's. It hides nothing. See
	// SetKey to change it. Nil, with an empty KeyFile: nothing is sealed.
	Key *wire.Secret
	// KeyFile is a file with the key ("lectern keys new" makes one), or a directory with
	// that file alone, as Kubernetes mounts a Secret; in place of Key. It is looked at
	// every few seconds: when it has changed, the key in it seals what
	// follows. Where it cannot be read any more, the last key goes on (Stats.KeyErrors).
	KeyFile string
	// Audience is the name of the collector, or of its cluster, that it has in
	// listen.audience. Needed with a key.
	Audience string

	// For UDP alone.

	// DatagramSize is the largest datagram that UDP sends, in bytes: default
	// 1400, which fits the usual paths unfragmented; SizeMin to DatagramSizeMax.
	DatagramSize int
	// SocketAge is how long UDP keeps a socket that sends events, before it
	// resolves the collector's name again and begins a new source on a new one:
	// default 5 min, at least a second.
	SocketAge time.Duration

	// For TCP alone.

	// FrameSize is the largest frame that TCP sends, in bytes: default 32 KiB;
	// SizeMin to FrameSizeMax.
	FrameSize int
	// BufferSize is how many bytes of frames are kept at most until they are
	// acknowledged: default 16 MiB; four frames to BufferSizeMax.
	BufferSize int
	// OnFull is what Add does when that is not enough.
	OnFull OnFull
	// Queue is a directory, made where there is none, in which the buffer lies:
	// what Add accepted outlives this process, and the next emitter with this
	// directory, stream and collector goes on with the same source; one of which no
	// collector has answered may go to another. It takes
	// BufferSize and some 4 FrameSize of disk at once. One emitter has it at a time.
	// Put it where a restart finds it again; memory (tmpfs) does.
	Queue string
	// Background lets DialTCP return before there is a connection, and without
	// an error when there cannot be one yet.
	Background bool
	// SourceEnded, if it is set, is called for every source that ends before all
	// of it was acknowledged: a person should hear of it. It is called from a
	// goroutine of the emitter, which waits for it, and must not call Close.
	SourceEnded func(*SourceEndedError)
}

// forUDP and forTCP return the options with every zero field set, or what is
// wrong with them.
func (o Options) forUDP() (Options, error) {
	for _, option := range []struct {
		name  string
		given bool
	}{
		{"FrameSize", o.FrameSize != 0}, {"BufferSize", o.BufferSize != 0}, {"OnFull", o.OnFull != Block},
		{"Queue", o.Queue != ""}, {"Background", o.Background}, {"SourceEnded", o.SourceEnded != nil},
	} {
		if option.given {
			return o, fmt.Errorf("emit: Options.%s is for TCP: nothing is kept over UDP; leave it out, or use DialTCP", option.name)
		}
	}
	return o.withDefaults()
}

func (o Options) forTCP() (Options, error) {
	for _, option := range []struct {
		name  string
		given bool
	}{{"DatagramSize", o.DatagramSize != 0}, {"SocketAge", o.SocketAge != 0}} {
		if option.given {
			return o, fmt.Errorf("emit: Options.%s is for UDP; leave it out, or use DialUDP", option.name)
		}
	}
	return o.withDefaults()
}

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
	if o.SocketAge == 0 {
		o.SocketAge = SocketAgeDefault
	}
	if o.BufferSize == 0 {
		o.BufferSize = BufferSizeDefault
	}
	least := SizeMin
	if o.Key != nil || o.KeyFile != "" {
		least += wire.TagSize
	}
	switch {
	case o.DatagramSize < least || o.DatagramSize > DatagramSizeMax:
		return o, fmt.Errorf("emit: datagram size %d is outside of %d to %d bytes", o.DatagramSize, least, DatagramSizeMax)
	case o.FlushAge < 0:
		return o, fmt.Errorf("emit: flush age %v is negative; leave it zero for %v", o.FlushAge, FlushAgeDefault)
	case o.SocketAge < renewWait:
		return o, fmt.Errorf("emit: socket age %v is below %v; leave it zero for %v", o.SocketAge, renewWait, SocketAgeDefault)
	case o.FrameSize < least || o.FrameSize > FrameSizeMax:
		return o, fmt.Errorf("emit: frame size %d is outside of %d to %d bytes", o.FrameSize, least, FrameSizeMax)
	case o.BufferSize < ringFrames*(o.FrameSize+2*slotHeader) || o.BufferSize > BufferSizeMax:
		return o, fmt.Errorf("emit: buffer size %d is outside of %d to %d bytes", o.BufferSize, ringFrames*(o.FrameSize+2*slotHeader), BufferSizeMax)
	case o.OnFull > Drop:
		return o, fmt.Errorf("emit: there is no OnFull %d; use Block, Fail or Drop", o.OnFull)
	}
	return o, nil
}

// Stats is what an emitter has done so far. Over TCP, at every instant,
//
//	Events + Recovered = Acked + Refused + Dropped + Unsure + Buffered
//
// and over UDP Events - Dropped - Unreachable is how many went out of which
// nothing more is heard here.
type Stats struct {
	// Events is how many have been added; over UDP those that are numbered, not
	// those that wait for their datagram to be finished.
	Events uint64
	// Frames is how many have been numbered, beats included.
	Frames uint64
	// Bytes of frames that the kernel took; over TCP a frame that is sent again
	// counts again.
	Bytes uint64
	// Dropped is how many events this side threw away: over UDP because the
	// kernel did not take their datagram, over TCP because the buffer was full
	// (OnFull Drop). The collector's books show them as lost.
	Dropped uint64

	// KeyErrors is how often Options.KeyFile had changed and could not be read.
	KeyErrors uint64

	// Datagrams is how many the kernel took, SendErrors how many it did not.
	// UDP alone.
	Datagrams, SendErrors uint64
	// Unreachable is how many events were in datagrams that the kernel took and
	// to which the host answered that nobody listens there. There may have been
	// more: hosts limit how often they answer. UDP alone.
	Unreachable uint64
	// Renewals is how many sockets, and so sources, there were after the first.
	// UDP alone.
	Renewals uint64

	// What follows is TCP's alone. Recovered is how many events a former emitter
	// left in the queue.
	Recovered uint64
	// Acked is how many are sealed at the collector.
	Acked uint64
	// Refused is how many were in frames that the collector refused.
	Refused uint64
	// Unsure is how many were sent under a source that ended before they were
	// acknowledged (SourceEndedError): nobody knows whether they were counted.
	// They are not sent again.
	Unsure uint64
	// Buffered is how many are kept here, sent or not.
	Buffered uint64
	// Reconnects is how many connections there were after the first.
	Reconnects uint64
}
