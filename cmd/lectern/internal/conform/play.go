//go:build unix

package conform

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lectern/lectern/wire"
)

const (
	// stepDefault is how many milliseconds pass at once.
	stepDefault = 10
	// patience is how long the runner waits in real time for what has to come.
	patience = 2000
	// hostName is where the collector is, for an emitter that resolves names.
	hostName = "collector.test"
)

// play is one dialogue that runs.
type play struct {
	environ  []string
	args     []string
	driver   *driver
	sockets  *sockets
	judge    *judge
	now      int64
	parents  []parent
	names    map[string]uint64
	waiting  []*frame // came, and no line has spoken of them
	fresh    []*conn  // made, and no line has spoken of them
	conn     *conn    // that lines speak of
	last     answer   // of the driver
	closed   bool
	away     bool // somewhere nobody listened, so that datagrams are gone
	children int
	late     uint64 // events that were added when the emitter was closed
	dialled  bool
	trace    func(string)
}

// parent is what a process leaves behind while its child acts.
type parent struct {
	process, emitter int
	now              int64
	closed, dialled  bool
}

// perform does one line.
func (p *play) perform(l *line, next *line) error {
	switch l.sign {
	case '>':
		return p.tell(l, next)
	case '<':
		return p.expect(l)
	case '!':
		return p.act(l)
	}
	return p.hold(l)
}

// tell has the driver do something.
func (p *play) tell(l, next *line) error {
	command := l.text[2:]
	switch l.word(0) {
	case "dial":
		return p.dial(l, next)
	case "clock":
		ms, err := strconv.ParseInt(l.word(1), 10, 64)
		step, err2 := l.value("step", stepDefault)
		if err = errors.Join(err, err2); err != nil {
			return err
		}
		return p.pass(ms, int64(step))
	case "add":
		if err := p.add(l, next); err != nil {
			return err
		}
	case "name":
		text, err := hex.DecodeString(l.word(1))
		if err != nil {
			return err
		}
		p.judge.said[saying{wire.ID(text), wire.AttributeName, string(text)}] = true
	case "describe":
		if err := p.describe(l); err != nil {
			return err
		}
	case "resolve":
		at := p.sockets.place(l.word(1))
		if at == nil {
			return fmt.Errorf("%q is neither here nor there", l.word(1))
		}
		command = fmt.Sprintf("resolve %s %d.%d.%d.%d", hostName, at.ip[0], at.ip[1], at.ip[2], at.ip[3])
	case "fork":
		p.parents = append(p.parents, parent{p.judge.process, p.judge.emitter, p.now, p.closed, p.dialled})
		p.children++
		p.judge.process = 1 + p.children
		p.judge.emitter = p.judge.process << 16
	case "exit":
		if len(p.parents) == 0 {
			return errors.New("no process was forked that could end")
		}
		if err := p.ask(command, next); err != nil {
			return err
		}
		last := p.parents[len(p.parents)-1]
		p.parents = p.parents[:len(p.parents)-1]
		p.judge.gone[p.judge.process] = true
		p.judge.process, p.judge.emitter, p.now = last.process, last.emitter, last.now
		p.judge.now = p.now
		p.closed, p.dialled = last.closed, last.dialled
		return nil
	case "close":
		p.judge.closing = true
	case "jam":
		p.judge.jammed = true
	case "key":
		secret, err := wire.ParseSecret(l.word(1))
		if err == nil {
			err = p.judge.seal(secret, p.judge.audience)
		}
		if err != nil {
			return err
		}
	}
	return p.ask(command, next)
}

// ask sends a command and reads what came of it. Its answer is ok, unless the
// next line says another.
func (p *play) ask(command string, next *line) error {
	a, err := p.driver.ask(command, answerWait)
	if err != nil {
		return err
	}
	p.last = a
	p.drain()
	if strings.HasPrefix(command, "dial") && a.word != "ok" {
		p.dialled = false
	}
	if next != nil && next.sign == '=' && (next.word(0) == "no" || next.word(0) == "answer") {
		return nil
	}
	if a.word != "ok" {
		return fmt.Errorf("the driver answers %q", a.text)
	}
	p.closed = p.closed || a.reason == "closed"
	return nil
}

func (p *play) dial(l, next *line) error {
	stream, err := l.value("stream", 7)
	size, err2 := l.value("datagram", wire.DatagramSizeDefault)
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	j := p.judge
	j.emitter++
	j.stream, j.datagram, j.udp, j.closing = uint16(stream), int(size), l.word(1) == "udp", false
	p.closed, p.dialled, p.late = false, true, 0
	var secret *wire.Secret
	if text, ok := l.keys["key"]; ok {
		if secret, err = wire.ParseSecret(text); err != nil {
			return err
		}
	}
	if err := j.seal(secret, l.keys["audience"]); err != nil {
		return err
	}
	host := hostName
	if !p.driver.has["resolve"] {
		host = "127.0.0.1"
	}
	words := []string{"dial", l.word(1), fmt.Sprintf("%s:%d", host, p.sockets.port), fmt.Sprintf("stream=%d", stream)}
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		if key != "stream" {
			words = append(words, key+"="+l.keys[key])
		}
	}
	return p.ask(strings.Join(words, " "), next)
}

// add takes note of what is added, and when.
func (p *play) add(l, next *line) error {
	kind := slices.Index([]string{"open", "read", "finish", "save", "share", "impression", "click"}, l.word(1))
	content, err := strconv.ParseUint(l.word(2), 10, 64)
	user, err2 := strconv.ParseUint(l.word(3), 10, 64)
	n, err3 := l.value("n", 1)
	at, err4 := l.value("at", uint64(epoch+p.now))
	dwell, err5 := l.value("dwell", 0)
	progress := -1
	var err6 error
	if text, ok := l.keys["progress"]; ok {
		progress, err6 = strconv.Atoi(text)
	}
	if err = errors.Join(err, err2, err3, err4, err5, err6); err != nil {
		return err
	}
	if next != nil && next.sign == '=' && next.word(0) == "no" {
		if next.word(1) == "closed" {
			p.late += n
		}
		return nil
	}
	if kind < 0 {
		return fmt.Errorf("%q is no kind", l.word(1))
	}
	for i := range n {
		key := event{content, user + i, wire.Kind(kind)}
		if p.judge.events[key] != nil {
			return fmt.Errorf("the dialogue adds one event twice: %s %d %d", l.word(1), content, user+i)
		}
		p.judge.events[key] = &added{at: int64(at), dwell: min(uint32(dwell), wire.DwellMax), progress: progress, emitter: p.judge.emitter}
	}
	return nil
}

// describe takes note of what is said of a content.
func (p *play) describe(l *line) error {
	content, err := strconv.ParseUint(l.word(1), 10, 64)
	text, err2 := hex.DecodeString(l.word(3))
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	attribute, ok := wire.AttributeNamed(l.word(2))
	if !ok || attribute == wire.AttributeName {
		return fmt.Errorf("%q is no attribute that is described", l.word(2))
	}
	p.judge.said[saying{content, attribute, string(text)}] = true
	return nil
}

// pass lets time pass, a step at a time.
func (p *play) pass(ms, step int64) error {
	for ms > 0 {
		d := min(ms, step)
		ms -= d
		p.now += d
		p.judge.now = p.now
		if err := p.ask(fmt.Sprintf("clock %d", d), nil); err != nil {
			return err
		}
	}
	return nil
}

// drain reads what came.
func (p *play) drain() {
	for _, at := range p.sockets.places {
		for _, d := range at.datagrams() {
			p.heard(p.judge.took(d))
		}
		p.fresh = append(p.fresh, p.sockets.accept(at)...)
	}
	for _, c := range p.sockets.conns {
		c.read()
		p.heard(p.judge.cut(c))
	}
	p.sockets.forget()
}

func (p *play) heard(frames []*frame) {
	for _, f := range frames {
		p.trace("< " + describe(f))
		if f.header.Type.Numbered() {
			p.waiting = append(p.waiting, f)
		}
	}
}

// describe is a frame in a few words.
func describe(f *frame) string {
	h := &f.header
	what := fmt.Sprintf("%d events", h.Count)
	switch {
	case h.Type == wire.TypeHello:
		return fmt.Sprintf("hello of source %d on connection %d", h.Source, f.conn)
	case f.beat():
		what = "a beat"
	case h.Count == 0:
		what = fmt.Sprintf("%d names", f.names)
	}
	again := ""
	if f.again {
		again = ", again"
	}
	return fmt.Sprintf("%s: source %d, sequence %d, position %d, %d bytes, at %d ms%s", what, h.Source, h.Sequence, h.Position, h.Size, f.now, again)
}
