package emit

import (
	"errors"
	"fmt"
	"io"

	"github.com/lectern/lectern/wire"
)

// RefusedError is a collector's refusal on a stream. It has closed the
// connection; frames before Sequence were read.
type RefusedError struct {
	Reason   wire.Refusal // its word
	Text     string       // more for people, perhaps empty
	Sequence uint64       // of the refused frame; 0 too where there is none to name
}

func (e *RefusedError) Error() string {
	s := "emit: the collector refused the connection or a frame: " + e.Reason.String()
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// errForeign is for an answer that no collector gives.
var errForeign = errors.New("it does not answer like a collector; check the address")

// readAnswers reads the collector's frames until its end of the stream, for
// which it returns nil, or a refusal.
func readAnswers(r io.Reader) error {
	frame := make([]byte, wire.HeaderSize+1+255+wire.RefusalTextMax+wire.TagSize)
	for {
		if _, err := io.ReadFull(r, frame[:wire.HeaderSize]); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		h, why := wire.ParseHeader(frame[:wire.HeaderSize])
		// A refusal repeats the numbers of the refused frame, and they may be
		// what it was refused for.
		if why != wire.Accepted && why != wire.RefusedStream && why != wire.RefusedNumber || h.Size > len(frame) {
			return errForeign
		}
		if _, err := io.ReadFull(r, frame[wire.HeaderSize:h.Size]); err != nil {
			return fmt.Errorf("its answer was cut off: %w", err)
		}
		if h.Type != wire.TypeRefusal {
			continue // nothing that a sender without acknowledgements waits for
		}
		reason, text, why := wire.ParseRefusalBody(h.Body(frame[:h.Size]))
		if why != wire.Accepted {
			return errForeign
		}
		return &RefusedError{Reason: reason, Text: string(text), Sequence: h.Sequence}
	}
}
