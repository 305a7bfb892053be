package emit

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"time"
	"unsafe"

	"github.com/lectern/lectern/wire"
)

// The attributes of a content that Describe says; see wire.Attribute.
const (
	Title     = wire.AttributeTitle
	Section   = wire.AttributeSection
	Author    = wire.AttributeAuthor
	Published = wire.AttributePublished // Unix milliseconds, in decimal
	Words     = wire.AttributeWords     // how many it has, in decimal
)

// ErrName says that a text is not one that a collector takes for a name. Errors that
// say why wrap it.
var ErrName = errors.New("emit: not a name that a collector takes")

// checkName says what is wrong with a name, for which a frame has room bytes; nil if
// nothing is.
func checkName(n *wire.Name, room int) error {
	switch {
	case !n.Good():
		return fmt.Errorf("%w: a %s of %d bytes; it is UTF-8 of at most %d bytes, a name at least one, and a time or number is decimal", ErrName, n.Attribute, len(n.Text), wire.NameTextMax)
	case n.Size() > room:
		return fmt.Errorf("%w: it takes %d bytes, and a frame has room for %d: take larger ones", ErrName, n.Size(), room)
	}
	return nil
}

// How long an emitter does not say again what it said. Over UDP nobody answers, so
// that what was lost is said again sooner.
const (
	saidForTCP = 24 * time.Hour
	saidForUDP = time.Hour
)

// saidMax is how many names are remembered at the most, in groups of saidGroup: what
// is forgotten is said again, which does no harm.
const (
	saidMax   = 1 << 16
	saidGroup = 4
)

// said remembers names that were said. The zero value has said nothing.
type said struct {
	seed   maphash.Seed
	began  time.Time
	groups [][saidGroup]saidName // made with the first name
}

type saidName struct {
	key  uint64 // 0: the slot is free
	text uint32
	at   uint32 // seconds, from 1 on
}

// has says whether a name was said within so long, and where it is remembered, or is
// to be: as what.
func (s *said) has(n *wire.Name, within time.Duration) (slot *saidName, fresh saidName, known bool) {
	if s.groups == nil {
		s.seed, s.began, s.groups = maphash.MakeSeed(), time.Now(), make([][saidGroup]saidName, saidMax/saidGroup)
	}
	hi, lo := bits.Mul64(n.Content^uint64(n.Attribute)<<56, 0x9E3779B97F4A7C15)
	fresh = saidName{key: hi ^ lo | 1, text: uint32(maphash.Bytes(s.seed, n.Text)), at: uint32(time.Since(s.began)/time.Second) + 1}
	group := &s.groups[fresh.key>>1%uint64(len(s.groups))]
	slot = &group[0]
	for i := range group {
		o := &group[i]
		if o.key == fresh.key {
			return o, fresh, o.text == fresh.text && time.Duration(fresh.at-o.at)*time.Second < within
		}
		if o.at < slot.at { // of free ones it is 0
			slot = o
		}
	}
	return slot, fresh, false
}

// nameOf is a name of the wire with this text, which is only read, and not kept.
func nameOf(content uint64, what wire.Attribute, text string) wire.Name {
	return wire.Name{Content: content, Attribute: what, Text: unsafe.Slice(unsafe.StringData(text), len(text))}
}

// Name says what a content is called: the text of which its id is the hash (ID). Call
// it with each event of the content, or once: it is sent once an hour. It never waits.
// An error wraps ErrName, for a text that no collector would take, or is ErrClosed.
func (u *UDP) Name(text string) error {
	n := nameOf(wire.ID(text), wire.AttributeName, text)
	return u.sender.name(&n)
}

// Describe says more of a content: its title, section, author, when it was published
// or how many words it has. The last text counts, and an empty one takes it back. It
// is sent when it changes, and once an hour.
func (u *UDP) Describe(content uint64, what wire.Attribute, text string) error {
	n := nameOf(content, what, text)
	return u.sender.name(&n)
}

// name takes one name. It is sent with what waits.
func (m *sender) name(n *wire.Name) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	slot, fresh, known := m.said.has(n, saidForUDP)
	if known {
		return nil
	}
	room := m.packer.sizeMax() - wire.HeaderSize
	if err := checkName(n, room); err != nil {
		return err
	}
	if len(m.names)+n.Size() > room {
		m.flushNames()
	}
	if m.packer.Len() == 0 && len(m.names) == 0 {
		m.wait()
	}
	m.names = wire.AppendName(m.names, n)
	*slot = fresh
	return nil
}

// flushNames sends the names that wait, in a frame and datagram of their own.
func (m *sender) flushNames() {
	if len(m.names) == 0 {
		return
	}
	m.frame = m.packer.appendNames(m.frame[:0], m.names, time.Now().UnixMilli())
	m.names = m.names[:0]
	m.beatWait = beatWaitMin
	m.send(0)
}

// appendNames appends a frame of these names, which uses a sequence up and no position.
func (p *Packer) appendNames(dst, names []byte, timeMS int64) []byte {
	start := len(dst)
	dst = wire.AppendHeader(dst, wire.Header{
		Type: wire.TypeNames, Size: wire.HeaderSize + len(names), Stream: p.stream, Time: timeMS,
		Source: p.source, Sequence: p.sequence, Position: p.position,
	})
	p.sequence++
	return p.sealed(append(dst, names...), start)
}

// Name says what a content is called: the text of which its id is the hash (ID). Call
// it with each event of the content, or once: it is sent once a day, and then kept
// until it is acknowledged. While the buffer is full it does what Options.OnFull says;
// what is dropped is sent with the next call. An error wraps ErrName, for a text that
// no collector would take; the others are ErrFull and ErrClosed.
func (t *TCP) Name(text string) error {
	n := nameOf(wire.ID(text), wire.AttributeName, text)
	return t.name(&n)
}

// Describe says more of a content: its title, section, author, when it was published
// or how many words it has. The last text counts, and an empty one takes it back. It
// is sent when it changes, and once a day.
func (t *TCP) Describe(content uint64, what wire.Attribute, text string) error {
	n := nameOf(content, what, text)
	return t.name(&n)
}

func (t *TCP) name(n *wire.Name) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if t.closing {
			return ErrClosed
		}
		// Asked anew behind each wait: others name meanwhile.
		slot, fresh, known := t.said.has(n, saidForTCP)
		if known || t.nameless {
			return nil
		}
		if err := checkName(n, t.options.FrameSize-wire.HeaderSize); err != nil {
			return err
		}
		if t.takeName(n) {
			*slot = fresh
			return nil
		}
		switch t.options.OnFull {
		case Fail:
			return ErrFull
		case Drop:
			return nil
		}
		room := t.wanted()
		t.mu.Unlock()
		<-room
		t.mu.Lock()
	}
}

// takeName has a name wait for its frame, false where there is no room.
func (t *TCP) takeName(n *wire.Name) bool {
	most := t.options.FrameSize - wire.HeaderSize
	if t.queue.fenced || len(t.names)+n.Size() > most && !t.finish() {
		return false
	}
	t.names = wire.AppendName(t.names, n)
	if !t.armed {
		t.began, t.armed = time.Now(), true
		t.timer.Reset(t.options.FlushAge)
	}
	return true
}

// putNames puts a frame of names into the ring, false where there is no room. Nothing
// may be in the open frame.
func (q *queue) putNames(names []byte, timeMS int64) bool {
	size := wire.HeaderSize + len(names)
	offset, ok := q.place(roundUp(slotHeader+size+encodeSlack, slotHeader))
	if !ok {
		return false
	}
	frame := wire.AppendHeader(q.ring[offset+slotHeader:offset+slotHeader], wire.Header{
		Type: wire.TypeNames, Size: size, Stream: q.stream, Time: timeMS,
	})
	q.publish(offset, append(frame, names...))
	return true
}

// giveUpNames is for a collector that does not know names: those in the queue are not
// sent to it again, and no others are.
func (t *TCP) giveUpNames() {
	q := t.queue
	t.nameless, t.names = true, nil
	for m := q.head; m.serial != q.next.serial; m = q.behind(m) {
		if m = q.follow(m); isNames(q.frame(m)) && !q.refused(m) {
			q.refuse(m)
			t.link.progress = true
		}
	}
	t.releaseAcked()
}

func isNames(frame []byte) bool { return wire.Type(frame[2]&15) == wire.TypeNames }
