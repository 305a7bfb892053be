//go:build unix

package conform

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/lectern/lectern/wire"
)

// expect waits for what a line says has to come: first it looks at what is
// there, then time passes as the line allows, and then it waits in real time, as
// an emitter with threads of its own may need.
func (p *play) expect(l *line) error {
	within, err := l.value("within", 0)
	if err != nil {
		return err
	}
	step, err := l.value("step", stepDefault)
	if err != nil {
		return err
	}
	want := map[string]func(*line) (bool, error){
		"beats": p.beats, "events": p.eventsCame, "names": p.namesCame, "again": p.againCame, "hello": p.helloCame, "end": p.endCame, "closed": p.closedCame, "nothing": p.nothingCame, "any": p.anyCame,
	}[l.word(0)]
	if want == nil {
		return fmt.Errorf("%q is nothing that can come", l.word(0))
	}
	for waited, left := 0, int64(within); ; {
		done, err := want(l)
		if done || err != nil {
			return err
		}
		if left > 0 {
			left -= int64(step)
			if err := p.pass(int64(step), int64(step)); err != nil {
				return err
			}
			continue
		}
		if waited >= patience {
			return fmt.Errorf("it does not come: %s", p.there(l))
		}
		p.sockets.wait(20)
		waited += 20
		if err := p.ask("poll", nil); err != nil {
			return err
		}
	}
}

// there says what is there in place of what is missing.
func (p *play) there(l *line) string {
	switch {
	case l.word(0) == "hello" || l.word(0) == "end" || l.word(0) == "closed":
		return "no " + l.word(0)
	case len(p.waiting) == 0:
		return "nothing came"
	}
	return fmt.Sprintf("only %s came", describe(p.waiting[len(p.waiting)-1]))
}

// skipBeats passes over the beats of a session, which may come in any silence.
func (p *play) skipBeats() {
	kept := p.waiting[:0]
	for _, f := range p.waiting {
		if f.conn == 0 && p.judge.udp || !f.beat() {
			kept = append(kept, f)
		}
	}
	p.waiting = kept
}

// takes checks a frame against what all lines may say of one.
func (p *play) takes(l *line, f *frame) error {
	if by, ok := l.keys["by"]; ok && by != f.by {
		return broken(f, "it went %s, and the name leads %s", f.by, by)
	}
	if err := p.named(l, f.header.Source, f.bytes); err != nil {
		return err
	}
	if _, ok := l.keys["position"]; ok {
		if position, err := l.value("position", 0); err != nil || position != f.header.Position {
			return broken(f, "its position is %d, want %s", f.header.Position, l.keys["position"])
		}
	}
	if _, ok := l.keys["gap"]; ok {
		gap, err := l.value("gap", 0)
		if d := f.gap - int64(gap); err != nil || d < -20 || d > 20 {
			return broken(f, "it comes %d ms after the frame before, want %s", f.gap, l.keys["gap"])
		}
	}
	return nil
}

// named holds a source against the name that a line gives it: a new name is
// that of a source that had none.
func (p *play) named(l *line, id uint64, b []byte) error {
	name, ok := l.keys["source"]
	if !ok {
		return nil
	}
	bound, known := p.names[name]
	if !known {
		for other, has := range p.names {
			if has == id {
				return &brokenRule{fmt.Sprintf("source %d goes on, which is %s; want a new one", id, other), b}
			}
		}
		p.names[name] = id
		return nil
	}
	if bound != id {
		return &brokenRule{fmt.Sprintf("source %d; want %s, which is %d", id, name, bound), b}
	}
	return nil
}

// brokenRule is what is wrong, and the bytes that show it.
type brokenRule struct {
	reason string
	bytes  []byte
}

func (b *brokenRule) Error() string { return b.reason }

func broken(f *frame, format string, args ...any) error {
	return &brokenRule{fmt.Sprintf(format, args...) + ": " + describe(f), f.bytes}
}

func count(l *line) (n int, err error) {
	if len(l.words) > 1 {
		_, err = fmt.Sscan(l.words[1], &n)
	}
	return n, err
}

// front takes the line's number of frames, each of which has to be as is says; wrong is
// what is said of another.
func (p *play) front(l *line, is func(*frame) bool, wrong string) (bool, error) {
	n, err := count(l)
	if err != nil || len(p.waiting) < n {
		return false, err
	}
	for _, f := range p.waiting[:n] {
		if !is(f) {
			return false, broken(f, "%s", wrong)
		}
		if err := p.takes(l, f); err != nil {
			return false, err
		}
	}
	p.waiting = p.waiting[n:]
	return true, nil
}

// beats are the line's number of beats, and nothing between them.
func (p *play) beats(l *line) (bool, error) { return p.front(l, (*frame).beat, "no beat") }

// eventsCame are the line's number of events, in frames that had not come before.
func (p *play) eventsCame(l *line) (bool, error) {
	p.skipBeats()
	n, err := count(l)
	if err != nil {
		return false, err
	}
	had := 0
	for i, f := range p.waiting {
		switch {
		case f.header.Count == 0:
			return false, broken(f, "not events")
		case f.again:
			return false, broken(f, "a frame that came before")
		}
		if err := p.takes(l, f); err != nil {
			return false, err
		}
		if had += f.header.Count; had > n {
			return false, broken(f, "%d events came, want %d", had, n)
		}
		if frames, _ := l.value("frames", 0); had == n && frames > 0 && int(frames) != i+1 {
			return false, broken(f, "%d events came in %d frames, want %d", n, i+1, frames)
		}
		if had == n {
			p.waiting = p.waiting[i+1:]
			return true, nil
		}
	}
	return false, nil
}

// namesCame is a frame with the line's number of names that had not come before.
func (p *play) namesCame(l *line) (bool, error) {
	p.skipBeats()
	n, err := count(l)
	if err != nil || len(p.waiting) == 0 {
		return false, err
	}
	f := p.waiting[0]
	if f.names != n || f.again {
		return false, broken(f, "not %d new names", n)
	}
	if body, ok := l.keys["body"]; ok && body != hex.EncodeToString(f.header.Body(f.bytes)) {
		return false, broken(f, "its body is %x, want %s", f.header.Body(f.bytes), body)
	}
	p.waiting = p.waiting[1:]
	return true, p.takes(l, f)
}

// againCame are the line's number of frames with events that had come before.
func (p *play) againCame(l *line) (bool, error) {
	p.skipBeats()
	return p.front(l, func(f *frame) bool { return f.again }, "a new frame, and not one that is sent again")
}

// helloCame is a new connection with its hello, which lines speak of from then on.
func (p *play) helloCame(l *line) (bool, error) {
	for i, c := range p.fresh {
		if c.judged.hello == nil {
			continue
		}
		if by, ok := l.keys["by"]; ok && by != c.by {
			return false, fmt.Errorf("a connection to the collector %s, and the name leads %s", c.by, by)
		}
		if err := p.named(l, c.judged.hello.id, nil); err != nil {
			return false, err
		}
		p.fresh = p.fresh[i+1:]
		p.conn = c
		return true, nil
	}
	return false, nil
}

// endCame is the emitter's end of the connection.
func (p *play) endCame(*line) (bool, error) {
	if p.conn == nil {
		return false, errors.New("there is no connection")
	}
	if p.conn.ended {
		p.conn.close()
		p.sockets.forget()
	}
	return p.conn.ended, nil
}

// closedCame is the end of the emitter. With "acked" the collector makes durable
// what comes meanwhile.
func (p *play) closedCame(l *line) (bool, error) {
	if l.word(1) == "acked" && !p.closed && p.conn != nil && !p.conn.ended {
		if err := p.ack(&line{}); err != nil {
			return false, err
		}
	}
	return p.closed, nil
}

// nothingCame is that no frame waits, nor a connection.
func (p *play) nothingCame(*line) (bool, error) {
	p.skipBeats()
	if len(p.waiting) > 0 {
		return false, broken(p.waiting[0], "nothing was to come")
	}
	if len(p.fresh) > 0 && p.fresh[0].judged.hello != nil {
		return false, errors.New("a connection was made, and nothing was to come")
	}
	return true, nil
}

// anyCame is whatever came: the rules have judged it.
func (p *play) anyCame(*line) (bool, error) {
	p.waiting = nil
	return true, nil
}

// act is what the collector does.
func (p *play) act(l *line) error {
	switch l.word(0) {
	case "vanish", "appear":
		at := p.sockets.place(l.word(1))
		if at == nil {
			return fmt.Errorf("%q is neither here nor there", l.word(1))
		}
		if l.word(0) == "appear" {
			return p.sockets.reopen(at)
		}
		p.away = true
		at.vanish()
		return nil
	case "kill":
		return p.restart()
	case "use":
		return p.use(l.word(1))
	}
	if p.conn == nil {
		return errors.New("there is no connection")
	}
	if p.conn.judged.hello == nil {
		return errors.New("no hello came on the connection")
	}
	switch l.word(0) {
	case "ack":
		return p.ack(l)
	case "refuse":
		return p.refuse(l)
	case "bytes":
		var b []byte
		if _, err := fmt.Sscanf(l.word(1), "%x", &b); err != nil {
			return err
		}
		return p.conn.write(b)
	case "end":
		p.conn.half()
	case "reset":
		p.conn.reset()
		p.sockets.forget()
	case "deaf", "hear":
		p.conn.deaf = l.word(0) == "deaf"
	case "cut":
		n, err := count(l)
		p.conn.left = n
		return err
	default:
		return fmt.Errorf("%q is nothing that a collector does", l.word(0))
	}
	return nil
}

// use has the lines that follow speak of the newest connection of a source.
func (p *play) use(name string) error {
	p.conn = nil
	for _, c := range p.sockets.conns {
		if hello := c.judged.hello; hello != nil && hello.id == p.names[name] {
			p.conn = c
		}
	}
	if p.conn == nil {
		return fmt.Errorf("no connection of source %s is open", name)
	}
	return nil
}

// ack sends an ack on the connection, in as many pieces as the line says.
func (p *play) ack(l *line) error {
	s := p.conn.judged.hello
	a := wire.Ack{Final: l.has("final"), Durable: s.durable, Spool: 1}
	var err error
	switch l.keys["durable"] {
	case "", "all":
		if len(s.frames) > 0 {
			a.Durable = s.newest + 1
		}
	default:
		a.Durable, err = l.value("durable", 0)
	}
	credit, err2 := l.value("credit", 1<<20)
	spool, err3 := l.value("spool", 1)
	pieces, err4 := l.value("pieces", 1)
	if err = errors.Join(err, err2, err3, err4); err != nil {
		return err
	}
	a.Credit, a.Spool = credit, spool
	b, believed := p.ackBytes(l, &a)
	p.trace(fmt.Sprintf("! ack durable=%d credit=%d spool=%d", a.Durable, a.Credit, a.Spool))
	for i := range pieces {
		from, to := uint64(len(b))*i/pieces, uint64(len(b))*(i+1)/pieces
		if i+1 == pieces && believed {
			p.judge.ack(&p.conn.judged, a)
		}
		if err := p.conn.write(b[from:to]); err != nil {
			return err
		}
		if err := p.ask("poll", nil); err != nil {
			return err
		}
	}
	return nil
}

// ackBytes is an ack as a line wants it sealed, and whether an emitter believes it.
func (p *play) ackBytes(l *line, a *wire.Ack) (b []byte, believed bool) {
	k := &p.conn.judged
	if k.down == nil || l.has("bare") {
		return wire.AppendAck(nil, p.judge.stream, k.hello.id, epoch+p.now, *a), k.down == nil
	}
	a.Random = k.session.Collector
	b = wire.AppendSealedAck(nil, p.judge.stream, k.hello.id, epoch+p.now, *a, k.down)
	if l.has("forged") {
		b[len(b)-1] ^= 1
	}
	return b, !l.has("forged")
}

// refuse sends a refusal, of the newest frame on the connection unless the line
// says otherwise, and ends the collector's half.
func (p *play) refuse(l *line) error {
	why, known := wire.ParseRefusal(l.word(1))
	if !known {
		return fmt.Errorf("%q is not on the list of refusals", l.word(1))
	}
	k := &p.conn.judged
	var h wire.Header
	bare := k.down == nil || l.has("bare")
	if !l.has("connection") {
		sequence, err := l.value("sequence", k.next-1)
		if err != nil {
			return err
		}
		h = wire.Header{Stream: p.judge.stream, Source: k.hello.id, Sequence: sequence}
		if bare == (k.down == nil) {
			p.judge.refuse(p.conn, why, sequence)
		}
	} else if why == wire.RefusedType {
		p.judge.nameless(k.hello)
	}
	b := wire.AppendRefusal(nil, h, epoch+p.now, why, "the dialogue says so")
	if !bare {
		b = wire.AppendSealedRefusal(nil, h, epoch+p.now, why, "the dialogue says so", k.down)
	}
	if err := p.conn.write(b); err != nil {
		return err
	}
	p.conn.half()
	return p.ask("poll", nil)
}

// restart kills the driver and starts another.
func (p *play) restart() error {
	p.driver.kill()
	p.drain()
	p.judge.gone[p.judge.process] = true
	p.children++
	p.judge.process = 1 + p.children
	p.judge.emitter = p.judge.process << 16
	p.now, p.judge.now = 0, 0
	p.closed, p.dialled = false, false
	return p.begin()
}

// begin starts a driver.
func (p *play) begin() error {
	d, err := start(p.args, p.environ, p.trace)
	if err != nil {
		return err
	}
	p.driver = d
	if p.driver.has["resolve"] {
		return p.ask("resolve "+hostName+" 127.0.0.1", nil)
	}
	return nil
}
