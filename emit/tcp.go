package emit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lectern/lectern/wire"
)

// TCP sends events over acknowledged connections, one at a time. It keeps them
// until the collector has sealed them; when a connection ends, it makes another,
// after 100 ms to 10 s, and sends again what is not acknowledged.
type TCP struct {
	address string
	url     string // the address as messages have it
	options Options
	dial    func(context.Context) (net.Conn, error)
	context context.Context // ends with the last connection
	stop    context.CancelFunc
	wake    chan struct{} // something is there to send, or to end
	drained chan struct{} // closed when everything is acknowledged after Close
	ended   chan struct{} // closed when run has returned
	file    *queueFile    // nil without Options.Queue

	closeOnce sync.Once
	closed    chan struct{} // closed when Close is done
	result    error         // of Close; valid once closed is

	mu       sync.Mutex // protects all that follows
	queue    *queue
	sealer   *sealer // nil: nothing is sealed
	stats    Stats
	closing  bool
	over     bool          // the queue is gone
	room     chan struct{} // closed when there may be room; nil if no Add waits
	said     said
	names    []byte      // that wait for their frame
	nameless bool        // the collector does not know what names are
	overdue  bool        // the open frame is to be finished as soon as there is room
	timer    *time.Timer // finishes the open frame
	armed    bool        // timer runs
	began    time.Time   // of the open frame
	trouble  error       // why there is no connection; nil with one
	link     link
	// recovered is the serial behind the frames that a former emitter left in
	// the queue, which another process may have sent from a copy of it.
	recovered uint64
}

// DialTCP connects to the collector at addr ("host:port"), says who sends, and
// waits for the first acknowledgement; it fails where that does not come, since
// then the address may be wrong. From then on, and with Options.Background from
// the beginning, connecting is tried for as long as it takes: see Err. ctx
// bounds the first connection and nothing else.
//
// A collector that does not acknowledge is not one to use TCP with: use UDP.
func DialTCP(ctx context.Context, addr string, o Options) (*TCP, error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "tcp", addr)
	}
	return dialTCP(ctx, addr, dial, o)
}

func dialTCP(ctx context.Context, addr string, dial func(context.Context) (net.Conn, error), o Options) (*TCP, error) {
	return dialBy(ctx, "tcp", addr, dial, o)
}

// dialBy is dialTCP by a way that messages call scheme.
func dialBy(ctx context.Context, scheme, addr string, dial func(context.Context) (net.Conn, error), o Options) (*TCP, error) {
	o, err := o.forTCP()
	if err != nil {
		return nil, err
	}
	if o.Stream == wire.StreamReserved {
		return nil, errStreamReserved
	}
	sealer, err := newSealer(&o)
	if err != nil {
		return nil, err
	}
	o.FrameSize -= sealer.tagSize() // of what the queue keeps
	t := &TCP{
		address: addr, url: scheme + "://" + addr, options: o, dial: dial, sealer: sealer,
		wake: make(chan struct{}, 1), drained: make(chan struct{}), ended: make(chan struct{}), closed: make(chan struct{}),
	}
	if o.Queue == "" {
		t.queue = newQueue(o.Stream, o.FrameSize, o.BufferSize)
	} else {
		if t.file, err = openQueueFile(o.Queue, addr, o.Stream, o.FrameSize, o.BufferSize); err != nil {
			return nil, err
		}
		t.queue = t.file.queue
		t.recover()
	}
	var conn *connection
	if !o.Background {
		if conn, err = t.connect(ctx); err != nil {
			if t.file != nil {
				_ = t.file.close() // the first error says more
			}
			return nil, err
		}
	}
	t.context, t.stop = context.WithCancel(context.Background())
	t.mu.Lock() // with a small FlushAge the timer may be due already
	t.timer = time.AfterFunc(o.FlushAge, t.tick)
	t.armed, t.began = true, time.Now()
	t.mu.Unlock()
	go t.run(conn)
	return t, nil
}

// recover counts what a former emitter left in the queue.
func (t *TCP) recover() {
	q := t.queue
	n := uint64(q.opened())
	for m := q.head; m.serial != q.next.serial; m = q.behind(m) {
		if m = q.follow(m); !q.refused(m) {
			n += uint64(frameCount(q.frame(m)))
		}
	}
	t.stats.Recovered, t.stats.Buffered = n, n
	if !q.fenced {
		// No event of this process joins those of the former.
		if t.recovered = q.next.serial; !t.finish() {
			t.recovered++
		}
		t.recovered = max(t.recovered, q.next.serial)
		return
	}
	// The machine ended: the file may be older than what was sent last. The
	// frames are good, and the collector tells which it has. The open frame may
	// have become one that the file knows nothing of.
	t.stats.Unsure, t.stats.Buffered = uint64(q.opened()), n-uint64(q.opened())
	q.resetOpen()
	q.setTried(q.next.sequence)
	if q.empty() {
		q.unfence()
	}
}

// Source returns the number under which the collector knows this emitter. It
// changes when a source had to end (SourceEndedError).
func (t *TCP) Source() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.queue.source
}

// SetKey has the next connection sealed with another key, in place of the one that
// Options.Key gave, and makes one when what is in flight is acknowledged. Its epoch
// may be the same or another.
func (t *TCP) SetKey(key *wire.Secret) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.sealer.setKey(key)
	if err == nil {
		t.signal()
	}
	return err
}

// Err returns why there is no connection now, nil while there is one. It needs
// no action: connecting goes on.
func (t *TCP) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trouble
}

// Add takes one event. It is sent when its frame is full or Options.FlushAge
// old, and kept until it is acknowledged. While the buffer is full Add does what
// Options.OnFull says: by default it waits. An error that wraps ErrEvent says
// that no collector would take the event; the others are ErrFull and ErrClosed.
// With any of them the event is not taken.
func (t *TCP) Add(e Event) error { return t.add(context.Background(), &e) }

// AddContext is Add, and waits no longer than ctx, whose error it then returns.
func (t *TCP) AddContext(ctx context.Context, e Event) error { return t.add(ctx, &e) }

func (t *TCP) add(ctx context.Context, e *Event) error {
	if err := e.prepare(); err != nil {
		return err
	}
	t.mu.Lock()
	for !t.closing && !t.take(e) {
		switch t.options.OnFull {
		case Fail:
			t.mu.Unlock()
			return ErrFull
		case Drop:
			t.drop(1)
			t.mu.Unlock()
			return nil
		}
		room := t.wanted()
		t.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
		t.mu.Lock()
	}
	closing := t.closing
	t.mu.Unlock()
	if closing {
		return ErrClosed
	}
	return nil
}

// wanted is closed when there may be room, or never will be.
func (t *TCP) wanted() <-chan struct{} {
	if t.room == nil {
		t.room = make(chan struct{})
	}
	return t.room
}

// Skip numbers events that nobody gives to this emitter any more: it knows that
// they were, and the collector's books show them as lost. They count as dropped. It
// never waits; the error is ErrClosed or nil.
func (t *TCP) Skip(events uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return ErrClosed
	}
	if events > 0 {
		t.drop(events)
		if !t.armed {
			t.began, t.armed = time.Now(), true
			t.timer.Reset(t.options.FlushAge)
		}
	}
	return nil
}

// drop numbers events that are not kept. A source cannot begin with them: its first
// frame is what is there, or a beat.
func (t *TCP) drop(events uint64) {
	if q := t.queue; q.next.sequence == 0 && q.skipped() == 0 && q.finish(time.Now().UnixMilli()) {
		t.stats.Frames++
		t.signal()
	}
	t.queue.skip(events)
	t.overdue = true
	t.stats.Events += events
	t.stats.Dropped += events
}

// take puts e into the open frame, or into the one after it, false where there
// is no room.
func (t *TCP) take(e *Event) bool {
	q := t.queue
	if q.fenced {
		return false
	}
	if !q.add(e) && (!t.finish() || !q.add(e)) {
		return false
	}
	t.stats.Events++
	t.stats.Buffered++
	if q.opened() == 1 && !t.armed {
		t.began, t.armed = time.Now(), true
		t.timer.Reset(t.options.FlushAge)
	} else if q.opened() == 1 {
		t.began = time.Now()
	}
	return true
}

// finish numbers the open frame, if it holds or stands for anything, and behind it the
// names that wait, and has them sent. Where there is no room it says false, and tries
// again when there is.
func (t *TCP) finish() bool {
	q := t.queue
	if q.opened() > 0 || q.skipped() > 0 {
		if t.overdue = !q.finish(time.Now().UnixMilli()); t.overdue {
			return false
		}
		t.finished()
	}
	if len(t.names) > 0 {
		if t.overdue = !q.putNames(t.names, time.Now().UnixMilli()); t.overdue {
			return false
		}
		t.names = t.names[:0]
		t.finished()
	}
	t.overdue = false
	return true
}

// finished has a frame sent that is in the queue now.
func (t *TCP) finished() {
	t.stats.Frames++
	t.link.beatWait = beatWaitMin
	t.signal()
}

// waits says that something waits for its frame to be finished.
func (t *TCP) waits() bool {
	return t.queue.opened() > 0 || t.queue.skipped() > 0 || len(t.names) > 0
}

// signal wakes the goroutine that sends.
func (t *TCP) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// tick finishes the open frame when it is old enough.
func (t *TCP) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = false
	if t.over || !t.waits() {
		return
	}
	if wait := t.options.FlushAge - time.Since(t.began); wait > 0 {
		t.armed = true
		t.timer.Reset(wait)
		return
	}
	t.finish()
}

// Flush has the events sent that wait for others. It does not wait for the
// acknowledgement: Close does. The error is ErrClosed or nil.
func (t *TCP) Flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return ErrClosed
	}
	t.finish()
	return nil
}

// Stats returns what has been done so far.
func (t *TCP) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Close ends every Add that waits, sends what is there, and waits until all of
// it is acknowledged: only then it returns nil. Refused and unsure events are not
// waited for: see Stats. When ctx ends first, the error says how many events are
// not acknowledged; with Options.Queue the next emitter with that directory
// sends them. Calling it again returns the same.
func (t *TCP) Close(ctx context.Context) error {
	t.closeOnce.Do(func() {
		t.mu.Lock()
		t.closing = true
		t.finish()
		t.settle()
		t.mu.Unlock()
		var err error
		select {
		case <-t.drained:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		t.stop()
		<-t.ended
		t.result = t.end(err)
		close(t.closed)
	})
	<-t.closed
	return t.result
}

// end releases the queue. why is why the waiting for it ended, nil if it is
// empty.
func (t *TCP) end(why error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.timer.Stop()
	if why != nil {
		why = t.unfinished(why)
	}
	if t.file != nil {
		// Source is still asked for.
		t.queue = &queue{source: t.queue.source}
		why = errors.Join(why, t.file.close())
	}
	return why
}

// unfinished is the error of a Close that could not wait for all.
func (t *TCP) unfinished(why error) error {
	left := "they are lost unless it has sealed them"
	if t.file != nil {
		left = "the next emitter with the queue " + t.options.Queue + " sends them"
	}
	if t.trouble != nil && !errors.Is(t.trouble, context.Canceled) {
		why = fmt.Errorf("%w (%w)", why, t.trouble)
	}
	return fmt.Errorf("emit: %s has not acknowledged %d events: %w; %s", t.url, t.stats.Buffered, why, left)
}

// settle tells everyone who waits what there is to tell: that there is room, or
// that all is done.
func (t *TCP) settle() {
	if t.overdue {
		t.finish()
	}
	if t.room != nil {
		close(t.room)
		t.room = nil
	}
	if t.closing && t.queue.empty() && !t.waits() {
		select {
		case <-t.drained:
		default:
			close(t.drained)
		}
	}
}
