package emit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/lectern/lectern/wire"
)

const (
	// connectTimeout bounds the connecting, and again the wait for the first ack.
	connectTimeout = 10 * time.Second
	// silenceMax is how long frames may be in flight, and a write may wait,
	// without a word from the collector before the connection counts as dead.
	silenceMax = 30 * time.Second
	// reasonWait is how long a failed write waits for the collector's reason,
	// which may still be on its way up from the socket.
	reasonWait = time.Second

	backoffMin = 100 * time.Millisecond
	backoffMax = 10 * time.Second
)

var (
	errHungUp   = errors.New("the collector closed it; it may be full, or about to restart")
	errSilent   = fmt.Errorf("the collector acknowledged nothing for %v", silenceMax)
	errAhead    = errors.New("the collector acknowledged what was never sent")
	errSpool    = errors.New("another spool answered; what the one before has of it is not known there")
	errMoved    = errors.New("a new source begins")
	errRekeyed  = errors.New("a new key seals what follows")
	errFinished = errors.New("finished")
)

// connection is one that the collector has answered on.
type connection struct {
	net.Conn
	source  uint64
	answers answers
	first   wire.Ack
}

// link is what holds for one connection. TCP.mu protects it.
type link struct {
	live        bool
	keys        *sessionKeys
	sealed      []byte    // the frame that is being sent, where it is sealed
	cursor      mark      // of the next frame to send
	writing     uint64    // serial of the frame that the kernel is being given; 0: none
	durable     uint64    // largest that was acknowledged
	credit      uint64    // of the latest ack
	inFlight    uint64    // bytes sent and not durable
	started     bool      // a frame was sent
	begin       uint64    // its sequence
	triedBefore uint64    // tried, when the connection began
	heard       time.Time // last ack, or when something came to be in flight
	lastSent    time.Time
	beatWait    time.Duration
	progress    bool // something was acknowledged, or refused for good
}

// connect makes a connection, says hello and waits for the answer.
func (t *TCP) connect(ctx context.Context) (*connection, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("emit: cannot connect to %s: %w; is a collector listening there?", t.url, err)
	}
	source, hello, keys := t.hello()
	c := &connection{Conn: conn, source: source}
	c.answers.from, c.answers.keys = conn, keys
	cut := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer cut()
	_ = conn.SetDeadline(time.Now().Add(connectTimeout))
	_, err = conn.Write(hello)
	var from uint64
	if err == nil {
		from, c.first, err = c.answers.next()
	}
	if err == nil && from != source {
		err = errForeign
	}
	if err != nil {
		_ = conn.Close()
		return nil, t.unwelcome(ctx, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return c, nil
}

// hello is what begins a connection, and what its keys will be made from.
func (t *TCP) hello() (source uint64, hello []byte, keys *sessionKeys) {
	t.mu.Lock()
	defer t.mu.Unlock()
	source = t.queue.source
	if t.sealer == nil {
		return source, wire.AppendHello(nil, t.options.Stream, source, time.Now().UnixMilli()), nil
	}
	t.look(time.Now())
	hello, keys = t.sealer.hello(source)
	return source, hello, keys
}

// look takes the key anew if its file has changed.
func (t *TCP) look(now time.Time) {
	if t.sealer != nil {
		t.sealer.look(now)
		t.stats.KeyErrors = t.sealer.failures
	}
}

// rekeyed says that another key than this connection's is to seal what follows.
func (t *TCP) rekeyed() bool { return t.link.keys != nil && *t.link.keys.secret != *t.sealer.secret }

// unwelcome says why a hello was not answered with an ack.
func (t *TCP) unwelcome(ctx context.Context, err error) error {
	var refused *RefusedError
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &refused) && refused.Reason == wire.RefusedUnexpected:
		return fmt.Errorf("emit: the collector at %s does not acknowledge, so nothing can be sent to it safely: %w; use one that does, or udp://", t.url, err)
	case errors.As(err, &refused):
		return err
	case err == io.EOF:
		err = errHungUp
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("it did not answer a hello within %v; check the address", connectTimeout)
	}
	return fmt.Errorf("emit: no session with %s: %w", t.url, err)
}

// run makes connections and uses them until Close.
func (t *TCP) run(c *connection) {
	defer close(t.ended)
	tries := 0
	for first := true; ; first = false {
		var err error
		if c == nil {
			c, err = t.connect(t.context)
		}
		if c != nil {
			err = t.use(c, first)
			c = nil
		}
		var ended *SourceEndedError
		if errors.As(err, &ended); ended != nil && t.options.SourceEnded != nil {
			t.options.SourceEnded(ended)
		}
		if err == errFinished || t.context.Err() != nil {
			return
		}
		t.mu.Lock()
		t.trouble = err
		progress := t.link.progress
		t.link.progress = false
		t.mu.Unlock()
		if progress {
			tries = 0
			if err == errMoved || err == errRekeyed || ended != nil {
				continue
			}
		}
		pause(t.context, backoff(tries))
		tries++
	}
}

// backoff is how long to wait after tries failures in a row: up to twice as long each
// time, drawn so that many clients of one collector do not come back at once.
func backoff(tries int) time.Duration {
	most := min(backoffMin<<min(tries, 10), backoffMax)
	return most/2 + rand.N(most/2) + 1
}

// use sends over one connection until it ends, and returns why it did.
func (t *TCP) use(c *connection, first bool) error {
	cut := context.AfterFunc(t.context, func() { _ = c.Close() })
	defer cut()
	heard := make(chan error, 1)
	err := t.open(c, first)
	if err == nil {
		go func() { heard <- t.listen(c) }()
		err = t.send(c, heard)
	}
	_ = c.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.link.live = false
	t.link.writing = 0
	return t.judge(c, err)
}

// open begins a connection with the first ack.
func (t *TCP) open(c *connection, first bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	q := t.queue
	t.link = link{live: true, cursor: q.head, triedBefore: q.tried(), heard: now, lastSent: now, beatWait: beatWaitMin}
	t.trouble = nil
	if !first {
		t.stats.Reconnects++
	}
	t.link.keys = c.answers.keys
	return t.acknowledge(c.first)
}

// listen takes the collector's acks until it says no more, and closes the
// connection, so that a write that waits ends.
func (t *TCP) listen(c *connection) error {
	defer c.Close()
	for {
		source, ack, err := c.answers.next()
		if err == io.EOF {
			return errHungUp
		}
		if err == nil && source != c.source {
			err = errForeign
		}
		if err != nil {
			return err
		}
		t.mu.Lock()
		err = t.acknowledge(ack)
		t.mu.Unlock()
		if err != nil {
			return err
		}
		t.signal()
	}
}

// send sends what is there and may be sent, until the connection ends.
func (t *TCP) send(c *connection, heard chan error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		frame, wait, err := t.due(c.source)
		if err == nil && frame != nil {
			_ = c.SetWriteDeadline(time.Now().Add(silenceMax))
			_, err = c.Write(frame)
			t.written(len(frame), err)
			if err != nil {
				// The reader may hold the collector's reason.
				_ = c.SetReadDeadline(time.Now().Add(reasonWait))
				return reason(<-heard, err)
			}
			continue
		}
		if err != nil {
			_ = c.Close()
			return reason(<-heard, err)
		}
		timer.Reset(wait)
		select {
		case <-t.wake:
		case <-timer.C:
		case err := <-heard:
			return err
		case <-t.context.Done():
			_ = c.Close()
			<-heard
			return errFinished
		}
	}
}

// reason prefers what the collector said to how the connection ended here.
func reason(said, met error) error {
	var refused *RefusedError
	if errors.As(said, &refused) || errors.Is(said, errForeign) || errors.Is(said, errUnproved) || errors.Is(said, errAhead) || errors.Is(said, errSpool) {
		return said
	}
	return met
}

// due returns the next frame to send, or nil and how long there is nothing to
// do unless something happens. The error is why to leave the connection.
func (t *TCP) due(source uint64) (frame []byte, wait time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queue.source != source {
		t.link.progress = true
		return nil, 0, errMoved
	}
	now := time.Now()
	t.look(now)
	k := &t.link
	if t.rekeyed() && k.inFlight == 0 {
		k.progress = true
		return nil, 0, errRekeyed
	}
	if frame := t.nextFrame(); frame != nil {
		return frame, 0, nil
	}
	if k.inFlight > 0 {
		if wait = k.heard.Add(silenceMax).Sub(now); wait <= 0 {
			return nil, 0, errSilent
		}
		return nil, wait, nil
	}
	if !t.queue.empty() || t.closing || t.queue.fenced {
		return nil, silenceMax, nil // without credit, or almost done
	}
	if wait = k.lastSent.Add(k.beatWait).Sub(now); wait > 0 {
		return nil, wait, nil
	}
	k.lastSent = now
	wait, k.beatWait = k.beatWait, min(2*k.beatWait, beatWaitMax)
	if t.queue.opened() == 0 && t.queue.finish(now.UnixMilli()) {
		t.stats.Frames++
		return t.nextFrame(), wait, nil
	}
	return nil, wait, nil
}

// nextFrame returns the next frame that credit allows, nil without one. A single
// frame may go beyond the credit, so that a small credit does not end all.
func (t *TCP) nextFrame() []byte {
	q, k := t.queue, &t.link
	if t.rekeyed() {
		return nil // until what is in flight is acknowledged
	}
	for k.cursor.serial != q.next.serial {
		m := q.follow(k.cursor)
		after := q.behind(m)
		if q.refused(m) {
			k.cursor = after
			continue
		}
		frame := q.frame(m)
		size := k.size(frame)
		if k.credit == 0 || k.inFlight > 0 && (k.inFlight+size > k.credit || k.inFlight+size < size) {
			return nil
		}
		if k.inFlight == 0 {
			k.heard = time.Now()
		}
		if !k.started {
			k.started, k.begin = true, frameSequence(frame)
		}
		k.inFlight += size
		k.cursor, k.writing = after, m.serial
		q.setTried(after.sequence)
		return k.seal(frame)
	}
	return nil
}

// seal is a frame of the queue as it goes over this connection. In the queue frames
// have no tags: they are sent again over connections with other keys.
func (k *link) seal(frame []byte) []byte {
	if k.keys == nil {
		return frame
	}
	k.sealed = k.keys.up.Seal(append(k.sealed[:0], frame...), 0)
	return k.sealed
}

// size is how many bytes a frame of the queue has on this connection.
func (k *link) size(frame []byte) uint64 {
	if k.keys == nil {
		return uint64(len(frame))
	}
	return uint64(len(frame) + wire.TagSize)
}

// written takes note that a frame was given to the kernel, or was not.
func (t *TCP) written(size int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.link.writing = 0
	t.link.lastSent = time.Now()
	if err == nil {
		t.stats.Bytes += uint64(size)
	}
	t.releaseAcked() // what was acknowledged meanwhile
}

// acknowledge takes an ack. One that is lower than before says nothing new but
// its credit.
func (t *TCP) acknowledge(a wire.Ack) error {
	k := &t.link
	if same, err := t.queue.belong(a.Spool); err != nil {
		return err
	} else if !same {
		return errSpool
	}
	if a.Durable > t.queue.tried() && !t.queue.fenced {
		return fmt.Errorf("%w: frames before %d, of which %d were sent", errAhead, a.Durable, t.queue.tried())
	}
	k.credit = a.Credit
	k.heard = time.Now()
	k.durable = max(k.durable, a.Durable)
	if a.Final {
		// What is not durable was not taken: it is as if it had never been sent. But
		// a collector that says less than was acknowledged knows nothing of the source,
		// and another may have counted what was sent.
		k.credit = 0
		if a.Durable >= t.queue.head.sequence {
			t.queue.untry(k.durable)
		}
	}
	t.releaseAcked()
	return nil
}

// releaseAcked releases the frames that are durable or refused, but for one
// that is still being read by the kernel.
func (t *TCP) releaseAcked() {
	q, k := t.queue, &t.link
	before := q.head.serial
	for !q.empty() && q.head.serial != k.writing {
		m := q.follow(q.head)
		frame := q.frame(m)
		refused := q.refused(m)
		if !refused && frameSequence(frame) >= k.durable {
			break
		}
		if m.serial < k.cursor.serial && !refused {
			k.inFlight -= k.size(frame)
		}
		if !refused {
			t.stats.Acked += uint64(frameCount(frame))
			t.stats.Buffered -= uint64(frameCount(frame))
		}
		q.release()
	}
	if q.head.serial == before {
		return
	}
	k.progress = true
	if k.cursor.serial <= q.head.serial {
		k.cursor = q.head
	}
	q.saveHead()
	t.renewIfEmpty()
	t.settle()
}

// renewIfEmpty begins a new source where the old one may give no more numbers.
func (t *TCP) renewIfEmpty() {
	q := t.queue
	if !q.empty() {
		return
	}
	if q.fenced {
		q.unfence()
	} else if q.next.position >= renumberAfter || q.next.sequence >= renumberAfter {
		q.renew()
	}
	t.link.cursor = q.head
}

// judge draws the consequences of the end of a connection.
func (t *TCP) judge(c *connection, err error) error {
	if t.queue.source != c.source {
		return err
	}
	if errors.Is(err, errAhead) {
		// What was never sent from here was not counted under these numbers. What
		// lay in the queue may have been sent by another process, from another copy.
		tried := t.queue.tried()
		return t.endSource(err, func(m mark, sequence uint64) bool { return sequence < tried || m.serial < t.recovered })
	}
	if errors.Is(err, errSpool) {
		// The one before may have stored all that was sent, and lost only the ack.
		tried := t.queue.tried()
		return t.endSource(err, func(_ mark, sequence uint64) bool { return sequence < tried })
	}
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Reason == wire.RefusedType {
		t.giveUpNames() // of which the collector cannot say which
	}
	if !errors.As(err, &refused) || refused.Source != c.source || !t.link.started {
		return err
	}
	switch refused.Reason {
	case wire.RefusedSources, wire.RefusedConnections, wire.RefusedIdle, wire.RefusedCredit, wire.RefusedUnexpected, wire.RefusedSealed, wire.RefusedUnsealed:
		return err // of the moment, and not of the frame
	case wire.RefusedForgotten:
		// Of this connection the collector has taken no frame.
		if before := t.link.triedBefore; t.link.begin > 0 {
			return t.endSource(err, func(_ mark, sequence uint64) bool { return sequence < before })
		}
		return err
	case wire.RefusedPosition:
		// Somebody else numbers under this source. The frame itself was not taken,
		// nor was any behind it on this connection.
		if before := max(t.link.triedBefore, refused.Sequence); refused.Sequence > 0 {
			return t.endSource(err, func(_ mark, sequence uint64) bool { return sequence < before })
		}
	}
	q := t.queue
	for m := q.head; m.serial < t.link.cursor.serial; m = q.behind(m) {
		m = q.follow(m)
		frame := q.frame(m)
		if frameSequence(frame) != refused.Sequence || q.refused(m) {
			continue
		}
		q.refuse(m)
		n := uint64(frameCount(frame))
		t.stats.Refused += n
		t.stats.Buffered -= n
		t.link.inFlight -= t.link.size(frame)
		t.link.progress = true
		t.releaseAcked()
		break
	}
	return err
}
