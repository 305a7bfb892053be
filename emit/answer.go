package emit

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/lectern/lectern/wire"
)

// RefusedError is a collector's refusal. It has closed the connection; frames
// before Sequence were read.
type RefusedError struct {
	Reason   wire.Refusal // its word
	Text     string       // more for people, as it came: quote it for a terminal. Perhaps empty
	Source   uint64       // of the refused frame; 0 where there is none to name
	Sequence uint64       // of the refused frame, likewise
}

func (e *RefusedError) Error() string {
	s := "emit: the collector refused the connection or a frame: " + e.Reason.String()
	if e.Text != "" {
		// Whoever answers chose it, so that it may hold what a terminal obeys.
		s += ": " + strconv.Quote(e.Text)
	}
	return s
}

// errForeign is for an answer that no collector gives.
var errForeign = errors.New("it does not answer like a collector; check the address")

// answers reads what a collector says.
type answers struct {
	from  io.Reader
	keys  *sessionKeys
	frame [wire.HeaderSize + 1 + 255 + wire.RefusalTextMax + wire.TagSize]byte
}

// next returns the next ack and whose it is. A refusal is a *RefusedError, the
// collector's end of the stream io.EOF.
func (a *answers) next() (source uint64, ack wire.Ack, err error) {
	head := a.frame[:wire.HeaderSize]
	if _, err := io.ReadFull(a.from, head); err != nil {
		return 0, ack, err
	}
	h, why := wire.ParseHeader(head)
	// A refusal repeats the numbers of the refused frame, and they may be what
	// it was refused for.
	if why != wire.Accepted && why != wire.RefusedStream && why != wire.RefusedNumber || h.Size > len(a.frame) {
		return 0, ack, errForeign
	}
	if _, err := io.ReadFull(a.from, a.frame[wire.HeaderSize:h.Size]); err != nil {
		return 0, ack, fmt.Errorf("its answer was cut off: %w", err)
	}
	if err := a.keys.check(&h, a.frame[:h.Size]); err != nil {
		return 0, ack, err
	}
	body := h.Body(a.frame[:h.Size])
	switch h.Type {
	case wire.TypeAck:
		if ack, why = wire.ParseAck(&h, body); why == wire.Accepted {
			return h.Source, ack, nil
		}
	case wire.TypeRefusal:
		if reason, text, why := wire.ParseRefusalBody(body); why == wire.Accepted {
			return 0, ack, &RefusedError{Reason: reason, Text: string(text), Source: h.Source, Sequence: h.Sequence}
		}
	}
	return 0, ack, errForeign
}
