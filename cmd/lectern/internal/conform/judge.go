//go:build unix

package conform

import (
	"bytes"
	"fmt"

	"github.com/lectern/lectern/wire"
)

// epoch is where the emitter's clocks stand when a driver starts.
const epoch = 1767225600000

// frame is one that came.
type frame struct {
	bytes  []byte
	header wire.Header
	events []wire.Event
	names  int   // that it has
	now    int64 // when it came: milliseconds of the dialogue
	by     string
	conn   int  // serial of the connection that it came on first; 0: none, or it is as if it had never been sent
	again  bool // it came before
	gap    int64
}

// beat says that it has neither events nor names.
func (f *frame) beat() bool { return f.header.Type == wire.TypeEvents && f.header.Count == 0 }

// source is a numbering, as the collector sees it.
type source struct {
	id      uint64
	process int    // whose it is
	emitter int    // which dial
	from    string // the socket, over UDP
	by      string
	udp     bool
	frames  map[uint64]*frame
	refused map[uint64]bool
	newest  uint64
	end     uint64 // position behind the newest
	lastAt  int64
	beatAt  int64 // when its newest beat came
	durable uint64
	spool   uint64
	spoolOK bool
	over    string // why it must not go on; empty: it may
}

// connected is what holds on one connection.
type connected struct {
	hello  *source
	acked  bool
	credit uint64
	began  bool
	next   uint64 // smallest sequence that may come
	flight map[uint64]int

	// Of a sealed session.
	secret  *wire.Secret
	session wire.Session
	up      *wire.EventsKey
	down    *wire.ControlKey
}

// event is what was added, by what tells it from others.
type event struct {
	content, user uint64
	kind          wire.Kind
}

// added is an event that the emitter was given.
type added struct {
	at       int64
	dwell    uint32
	progress int // -1: none
	emitter  int
	source   uint64 // under which it came; valid if came
	came     bool
	barred   string // why it must not come again, under another source
}

// saying is what an emitter was given to say of a content.
type saying struct {
	content   uint64
	attribute wire.Attribute
	text      string
}

// judge keeps what came and finds what must not be.
type judge struct {
	stream     uint16
	secret     *wire.Secret // nil: nothing is sealed
	audience   string
	frameKey   *wire.EventsKey
	datagram   int
	udp        bool
	process    int
	gone       map[int]bool // processes that have ended: their ports are anybody's
	emitter    int
	sources    map[uint64]*source
	order      []*source
	events     map[event]*added
	said       map[saying]bool                // names and attributes that the emitter was given
	randoms    map[[wire.RandomSize]byte]bool // of hellos
	now        int64
	closing    bool // an emitter that sleeps inside close is ahead of the dialogue
	jammed     bool // datagrams were not taken by the emitter's kernel
	violations []violation
}

// violation is one broken rule, and the bytes that broke it.
type violation struct {
	reason string
	bytes  []byte
}

func newJudge() *judge {
	return &judge{sources: map[uint64]*source{}, events: map[event]*added{}, said: map[saying]bool{}, randoms: map[[wire.RandomSize]byte]bool{}, process: 1, gone: map[int]bool{}}
}

// seal has frames judged by this key from now on.
func (j *judge) seal(secret *wire.Secret, audience string) (err error) {
	j.secret, j.audience, j.frameKey = secret, audience, nil
	if secret != nil {
		j.frameKey, err = secret.FrameKey(j.stream, audience)
	}
	return err
}

func (j *judge) violate(b []byte, format string, args ...any) {
	j.violations = append(j.violations, violation{fmt.Sprintf(format, args...), b})
}

// took judges a datagram and returns its frames.
func (j *judge) took(d datagram) (frames []*frame) {
	if !j.udp {
		j.violate(d.bytes, "a datagram of an emitter that was dialled over TCP")
		return nil
	}
	if len(d.bytes) > j.datagram {
		j.violate(d.bytes, "a datagram of %d bytes: at most %d may be sent", len(d.bytes), j.datagram)
	}
	rest := d.bytes
	for first := true; first || len(rest) > 0; first = false {
		f, ok := j.parse(rest)
		if !ok {
			return frames
		}
		rest = rest[f.header.Size:]
		f.by = d.by
		if !f.header.Type.Numbered() {
			j.violate(f.bytes, "a frame of type %d in a datagram: a collector takes events and names there, and nothing else", f.header.Type)
			continue
		}
		if f.header.Type == wire.TypeNames && len(rest) > 0 {
			j.violate(f.bytes, "names in front of another frame in a datagram: a collector that does not know them cannot tell where they end")
		}
		if j.secret != nil && (f.header.Epoch() != j.secret.Epoch() || !j.frameKey.Opens(f.bytes)) {
			j.violate(f.bytes, "its tag is not that of the frame key of epoch %d", j.secret.Epoch())
		}
		s := j.source(f, true)
		if s.from == "" {
			s.from, s.by = d.from, d.by
			if f.header.Position != 0 && !j.jammed {
				j.violate(f.bytes, "the first frame of source %d has position %d: a source opens with beats at position 0", s.id, f.header.Position)
			}
			for _, other := range j.order {
				if other != s && other.from == d.from && other.by == d.by && other.process != s.process && !j.gone[other.process] {
					j.violate(f.bytes, "the child sends over its parent's socket")
				}
			}
		}
		if s.from != d.from || s.by != d.by {
			j.violate(f.bytes, "source %d came from %s to %s, and now from %s to %s: over UDP a source belongs to one socket and one address", s.id, s.from, s.by, d.from, d.by)
		}
		j.datagramFrame(s, f)
		frames = append(frames, f)
	}
	return frames
}

// parse reads the frame at the start of b and judges what its bytes alone show.
func (j *judge) parse(b []byte) (*frame, bool) {
	h, why := wire.ParseHeader(b)
	if why == wire.Accepted && h.Size > len(b) {
		why = wire.RefusedSize
	}
	if why != wire.Accepted {
		j.violate(b, "a frame that every collector refuses as %s", why)
		return nil, false
	}
	f := &frame{bytes: b[:h.Size:h.Size], header: h, now: j.now}
	switch {
	case j.secret == nil && h.Sealed():
		j.violate(f.bytes, "a sealed frame of an emitter that was given no key")
	case j.secret != nil && !h.Sealed():
		j.violate(f.bytes, "a frame without a tag of an emitter that was given a key")
		return f, false
	}
	if !h.Type.Numbered() {
		return f, true
	}
	if h.Stream != j.stream {
		j.violate(f.bytes, "stream %d, and %d was dialled", h.Stream, j.stream)
	}
	if h.Type == wire.TypeNames {
		j.names(f)
		return f, true
	}
	if f.events, why = wire.DecodeEvents(make([]wire.Event, h.Count), h.Body(f.bytes), h.Count); why != wire.Accepted {
		j.violate(f.bytes, "a frame that every collector refuses as %s", why)
		return f, true
	}
	j.minimal(f)
	return f, true
}

// names judges a frame of names against what was said.
func (j *judge) names(f *frame) {
	for body := f.header.Body(f.bytes); len(body) > 0 || f.names == 0; f.names++ {
		var n wire.Name
		var why wire.Refusal
		if n, body, why = wire.ReadName(body); why != wire.Accepted {
			j.violate(f.bytes, "a frame that every collector refuses as %s", why)
			return
		}
		if !j.said[saying{n.Content, n.Attribute, string(n.Text)}] {
			j.violate(f.bytes, "a %s of content %d that nobody said: %q", n.Attribute, n.Content, n.Text)
		}
	}
}

// minimal judges whether a frame is what an encoder writes.
func (j *judge) minimal(f *frame) {
	var body []byte
	var before *wire.Event
	oldest := uint32(wire.AtMax)
	for i := range f.events {
		body = wire.AppendEvent(body, &f.events[i], before)
		before = &f.events[i]
		oldest = min(oldest, f.events[i].At)
	}
	if !bytes.Equal(body, f.header.Body(f.bytes)) {
		j.violate(f.bytes, "the events take fewer bytes: an encoder writes %x", body)
	}
	if len(f.events) > 0 && oldest > 0 {
		j.violate(f.bytes, "no event is of the frame's own time: that is its oldest's, so that some at is 0")
	}
}

// source finds whose a frame is.
func (j *judge) source(f *frame, udp bool) *source {
	s := j.sources[f.header.Source]
	if s == nil {
		s = &source{id: f.header.Source, process: j.process, emitter: j.emitter, udp: udp, frames: map[uint64]*frame{}, refused: map[uint64]bool{}, lastAt: -1, beatAt: j.now}
		j.sources[s.id] = s
		j.order = append(j.order, s)
		if s.id == 0 {
			j.violate(f.bytes, "source 0: a source is drawn at random")
		}
	}
	if s.process != j.process {
		j.violate(f.bytes, "source %d belongs to process %d of this dialogue, and process %d sends under it: whoever forks draws a new one", s.id, s.process, j.process)
	} else if s.emitter != j.emitter {
		j.violate(f.bytes, "source %d belongs to an emitter that was dialled before: whoever starts draws a new one", s.id)
	}
	if s.over != "" {
		j.violate(f.bytes, "source %d goes on, but has ended: %s", s.id, s.over)
	}
	return s
}

// datagramFrame judges a frame's numbers over UDP.
func (j *judge) datagramFrame(s *source, f *frame) {
	h := &f.header
	if before := s.frames[h.Sequence]; before != nil {
		f.again = true
		if bytes.Equal(before.bytes, f.bytes) {
			j.violate(f.bytes, "frame %d of source %d is sent again: over UDP nothing is", h.Sequence, s.id)
		} else {
			j.violate(f.bytes, "sequence %d of source %d is used twice, at first in\n%x", h.Sequence, s.id, before.bytes)
		}
		return
	}
	j.number(s, f)
	if f.beat() {
		s.beatAt = j.now
	} else if j.secret != nil && j.now-s.beatAt > 16500 {
		j.violate(f.bytes, "no beat for %d ms: where frames are sealed one goes out every 16 s, also among events", j.now-s.beatAt)
	}
	if off := h.Time - (epoch + j.now); f.beat() && (off < -20 || off > 20) && !j.closing {
		j.violate(f.bytes, "the time of a beat is %d ms off", off)
	}
}

// number takes a frame that is new, and judges its numbers.
func (j *judge) number(s *source, f *frame) {
	h := &f.header
	next := uint64(0)
	if len(s.frames) > 0 {
		next = s.newest + 1
	}
	switch {
	case h.Sequence < next:
		j.violate(f.bytes, "sequence %d of source %d comes behind %d", h.Sequence, s.id, s.newest)
	case h.Sequence == next && h.Position != s.end:
		j.violate(f.bytes, "position %d of frame %d of source %d: it is %d, the number of events in the frames before", h.Position, h.Sequence, s.id, s.end)
	case h.Position < s.end:
		j.violate(f.bytes, "position %d of frame %d of source %d goes back from %d", h.Position, h.Sequence, s.id, s.end)
	}
	s.frames[h.Sequence] = f
	if s.lastAt >= 0 {
		f.gap = f.now - s.lastAt
	}
	s.newest, s.end, s.lastAt = h.Sequence, h.Position+uint64(h.Count), f.now
	for i := range f.events {
		j.event(s, f, &f.events[i])
	}
}

// event judges one event against what was added.
func (j *judge) event(s *source, f *frame, e *wire.Event) {
	a := j.events[event{e.Content, e.User, e.Kind}]
	if a == nil {
		j.violate(f.bytes, "an event that nobody added: %s of content %d by user %d", e.Kind, e.Content, e.User)
		return
	}
	switch {
	case a.came && a.source == s.id:
		j.violate(f.bytes, "the event of user %d is in two frames of source %d", e.User, s.id)
	case a.came && s.udp:
		j.violate(f.bytes, "the event of user %d was sent before, under source %d: over UDP nothing is sent again", e.User, a.source)
	case a.came && a.barred != "":
		j.violate(f.bytes, "the event of user %d was sent before, under source %d, and %s: sent again it may count twice", e.User, a.source, a.barred)
	}
	if a.emitter != j.emitter {
		j.violate(f.bytes, "the event of user %d was added to another emitter, before a fork or a dial: whoever forks leaves it to the parent", e.User)
	}
	if at := f.header.Time + int64(e.At); at != a.at {
		j.violate(f.bytes, "the event of user %d is of %d, %d ms off", e.User, at, at-a.at)
	}
	progress := -1
	if e.HasProgress {
		progress = int(e.Progress)
	}
	if e.Dwell != a.dwell || progress != a.progress {
		j.violate(f.bytes, "the event of user %d has a dwell of %d and a progress of %d, and was added with %d and %d (-1: none)", e.User, e.Dwell, progress, a.dwell, a.progress)
	}
	a.came, a.source = true, s.id
}

// farewell says whether the newest frames of a source are the beats of its end:
// three, each less than half a second behind the one before.
func (s *source) farewell() bool {
	if s.newest < 3 { // the first three open it
		return false
	}
	after := int64(0)
	for n := range uint64(3) {
		f := s.frames[s.newest-n]
		if f == nil || !f.beat() || n > 0 && after-f.header.Time >= 500 {
			return false
		}
		after = f.header.Time
	}
	return true
}

// placed is how many events of a source came.
func (s *source) placed() (n uint64) {
	for _, f := range s.frames {
		n += uint64(f.header.Count)
	}
	return n
}
