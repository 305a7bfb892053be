package edge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/lectern/lectern/emit"
	"github.com/lectern/lectern/wire"
)

// relayed is one event that a short-lived process handed over, or what it says of a
// content: wire/SPEC.md, section 15, has its bytes and its text.
type relayed struct {
	naming  bool   // there is no event
	stream  string // name, or number in decimal
	user    string // text, of which the id is the hash; then event.User is 0
	dropped uint64 // events that the sender dropped before
	event   emit.Event
	content string                  // text, of which event.Content is the hash; empty where only that is known
	about   [wire.Attributes]string // what else is said of the content
	says    [wire.Attributes]bool   // which of it is
}

const (
	relayedSizeMax   = 2048
	relayedBytes     = 0x01
	relayedHeader    = 11
	relayedFieldsMax = 20
	relayedNaming    = "name" // in the place of a kind
)

// parse reads a datagram.
func (e *relayed) parse(b []byte) (Reason, error) {
	b = trimEnd(b)
	switch {
	case len(b) > relayedSizeMax:
		return TooLarge, nil
	case len(b) == 0:
		return Malformed, errors.New("an empty datagram")
	case b[0] == relayedBytes:
		return e.parseBytes(b)
	case b[0] >= 'a' && b[0] <= 'z':
		return e.parseText(string(b))
	}
	return Malformed, fmt.Errorf("a datagram begins with byte 0x%02x, which is neither 0x01 nor a small letter", b[0])
}

// trimEnd leaves out a zero behind the last byte. A text cannot have one, and no
// event ends with one that its lengths do not claim: see parseBytes.
func trimEnd(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == 0 && b[0] != relayedBytes {
		return b[:n-1]
	}
	return b
}

func (e *relayed) parseBytes(b []byte) (Reason, error) {
	if len(b) < relayedHeader+wire.EventSizeMin {
		return Malformed, fmt.Errorf("%d bytes are no event", len(b))
	}
	var time [8]byte
	copy(time[:6], b[5:])
	e.dropped = uint64(binary.LittleEndian.Uint16(b[1:]))
	e.stream = strconv.Itoa(int(binary.LittleEndian.Uint16(b[3:])))
	var one [1]wire.Event
	events, why := wire.DecodeEvents(one[:], b[relayedHeader:], 1)
	if why == wire.RefusedCount && b[len(b)-1] == 0 {
		events, why = wire.DecodeEvents(one[:], b[relayedHeader:len(b)-1], 1)
	}
	if why != wire.Accepted {
		return Malformed, fmt.Errorf("the event is refused: %v", why)
	}
	w := &events[0]
	if w.At != 0 {
		return Malformed, errors.New("the event has an at")
	}
	e.event = eventOf(w, int64(binary.LittleEndian.Uint64(time[:])))
	return Taken, nil
}

// parseText reads a line.
func (e *relayed) parseText(line string) (Reason, error) {
	line = strings.TrimSuffix(line, "\n")
	for _, c := range []byte(line) {
		if c < ' ' || c > '~' {
			return Malformed, fmt.Errorf("byte 0x%02x is to be written as %%%02X", c, c)
		}
	}
	words := strings.SplitN(line, " ", relayedFieldsMax)
	kind, ok := kindsOf[words[0]]
	if e.naming = words[0] == relayedNaming; !ok && !e.naming {
		return Malformed, fmt.Errorf("there is no kind %.20q", words[0])
	}
	e.event.Kind = kind
	seen := make(map[string]bool, len(words))
	for _, word := range words[1:] {
		key, raw, ok := strings.Cut(word, "=")
		if !ok || seen[key] {
			return Malformed, fmt.Errorf("%.40q is not key=value, each key once, with one space between them", word)
		}
		seen[key] = true
		value, err := unescape(raw)
		if err == nil {
			err = e.field(key, value)
		}
		if err != nil {
			why := Malformed
			if errors.Is(err, strconv.ErrRange) || errors.Is(err, errRange) {
				why = OutOfRange
			}
			return why, fmt.Errorf("%.20s: %w", key, err)
		}
	}
	switch {
	case !seen["stream"]:
		return Malformed, errors.New("there is no stream")
	case seen["content"] == seen["content_id"]:
		return Malformed, errors.New("one of content and content_id is wanted")
	case seen["user"] && seen["user_id"]:
		return Malformed, errors.New("user and user_id are both given")
	case e.naming:
		return e.checkNaming(seen)
	case kind.OfHeadline() && (seen["dwell"] || seen["progress"]):
		return Malformed, fmt.Errorf("dwell and progress are of reading, and %s is of a headline", words[0])
	case seen["variant"] && !kind.OfHeadline():
		return Malformed, fmt.Errorf("a variant is of a headline, and %s is of reading", words[0])
	}
	return Taken, nil
}

// checkNaming looks for what is said of the content, and for what belongs to an event.
func (e *relayed) checkNaming(seen map[string]bool) (Reason, error) {
	for _, key := range [...]string{"user", "user_id", "at", "dwell", "progress", "variant", "dropped"} {
		if seen[key] {
			return Malformed, fmt.Errorf("%s is of an event, and %s is none", key, relayedNaming)
		}
	}
	if e.content == "" && e.says == [wire.Attributes]bool{} {
		return Malformed, errors.New("it says nothing of the content")
	}
	return Taken, nil
}

var errRange = errors.New("it is out of range")

// field takes one key of a line.
func (e *relayed) field(key, value string) (err error) {
	number := func(most uint64) (n uint64) {
		if n, err = strconv.ParseUint(value, 10, 64); err == nil && n > most {
			err = errRange
		}
		return n
	}
	within := func(most int) string {
		if len(value) < 1 || len(value) > most {
			err = errRange
		}
		return value
	}
	switch key {
	case "stream":
		e.stream = within(contentSizeMax)
	case "content":
		e.content = within(contentSizeMax)
		e.event.Content = emit.ID(e.content)
	case "content_id":
		e.event.Content = number(1<<64 - 1)
	case "user":
		e.user = within(userSizeMax)
	case "user_id":
		e.event.User = number(1<<64 - 1)
	case "at":
		e.event.Time = int64(number(wire.TimeMax))
	case "dwell":
		e.event.Dwell = uint32(number(wire.DwellMax))
	case "progress":
		e.event.Progress = emit.Percent(uint8(number(wire.ProgressMax)))
	case "variant":
		if e.event.Variant = uint8(number(wire.VariantMax)); err == nil && e.event.Variant == 0 {
			err = errRange
		}
	case "dropped":
		e.dropped = number(1<<16 - 1)
	default:
		attribute, ok := wire.AttributeNamed(key)
		if !ok || attribute == wire.AttributeName {
			return errUnknown
		}
		n := wire.Name{Attribute: attribute, Text: []byte(value)}
		if !n.Good() {
			return fmt.Errorf("%w: it is no %s", errRange, attribute)
		}
		e.about[attribute], e.says[attribute] = value, true
	}
	return err
}

// unescape puts bytes for what is written as % and two hexadecimal digits.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errors.New("a % wants two hexadecimal digits")
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errors.New("a % wants two hexadecimal digits")
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), nil
}

// relay is the door for short-lived processes: a Unix datagram socket.
type relay struct {
	edge *Edge
	door *door
	conn *unixgram
}

// listenRelay makes the socket.
func (e *Edge) listenRelay(path string) (*relay, error) {
	conn, err := listenUnixgram(path)
	if err != nil {
		return nil, fmt.Errorf("listen for local processes; check edge.relay: %w", err)
	}
	return &relay{edge: e, door: e.newDoor("relay"), conn: conn}, nil
}

// serve takes datagrams until the socket is closed.
func (r *relay) serve() {
	b := make([]byte, relayedSizeMax+2)
	for {
		n, err := r.conn.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.edge.fail(fmt.Errorf("read from local processes: %w", err))
			return
		}
		r.take(b[:n], r.edge.options.Now())
	}
}

// take brings one datagram to its queue.
func (r *relay) take(b []byte, now time.Time) {
	var one relayed
	why, err := one.parse(b)
	events := 0
	if why == Taken {
		if !one.naming {
			events = 1
		}
		why, err = r.edge.takeRelayed(&one, now)
	}
	r.edge.count(r.door, why, events, err)
}

// takeRelayed adds an event, if there is one, and books what its sender had dropped.
func (e *Edge) takeRelayed(one *relayed, now time.Time) (Reason, error) {
	s := e.stream(one.stream)
	if s == nil {
		return NoStream, nil
	}
	if one.event.Time == 0 {
		one.event.Time = now.UnixMilli()
	}
	one.event.User = e.readers.given(&s.Stream, one.user, one.event.User, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.dropped > 0 {
		if err := s.queue.Skip(one.dropped); err != nil {
			return Full, nil
		}
		s.missing += one.dropped
	}
	if one.content != "" {
		s.name(one.content)
	}
	for attribute, said := range one.says {
		if said {
			_ = s.queue.Describe(one.event.Content, wire.Attribute(attribute), one.about[attribute]) // as name
		}
	}
	if one.naming {
		return Taken, nil
	}
	return s.addAll([]emit.Event{one.event})
}

func (r *relay) close() error { return r.conn.Close() }
