package emit

import (
	"sync"
	"time"
)

// After so long without a frame a beat goes out. While the silence lasts, each
// beat waits twice as long as the one before it: a lost tail still shows within
// a second or two, and a million idle emitters cost next to nothing.
const (
	beatWaitMin = time.Second
	beatWaitMax = 16 * time.Second
)

// sender is a packer, the clock that flushes it, and what is counted.
type sender struct {
	// write hands one frame to the kernel. Called with mu held.
	write func(frame []byte, events int) error
	// aged is told the time whenever the timer fires. Called with mu held.
	aged     func(now time.Time)
	flushAge time.Duration
	sealer   *sealer // nil: frames are not sealed; mu protects it

	mu        sync.Mutex // protects all that follows
	packer    *Packer
	frame     []byte // the frame that is being sent; made once
	stats     Stats
	lastError error // of write
	failed    error // why nothing is taken any more: ErrClosed
	began     time.Time
	lastSent  time.Time
	lastBeat  time.Time
	beatWait  time.Duration
	said      said
	names     []byte // that wait for their frame
	timer     *time.Timer
	due       time.Time // when timer fires
}

// start makes the sender ready and sends the opening beats.
func (m *sender) start(packer *Packer, flushAge time.Duration, beats int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.packer, m.flushAge = packer, flushAge
	// An id is appended eight bytes wide and then cut, hence the room behind.
	m.frame = make([]byte, 0, packer.size+SizeMin)
	m.beatWait = beatWaitMin
	m.lastSent = time.Now()
	for range beats {
		m.beat()
	}
	m.due = m.lastSent.Add(m.beatWait)
	m.timer = time.AfterFunc(m.beatWait, m.tick)
}

// add takes one event.
func (m *sender) add(e *Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	err := m.packer.Add(e)
	if err == ErrFull {
		m.flushLocked()
		err = m.packer.Add(e)
	}
	if err == nil && m.packer.Len() == 1 {
		m.wait()
	}
	return err
}

// wait has what is the first to wait sent when it is old enough. Under load the timer
// is due early enough already, so that no frame costs a reset of it.
func (m *sender) wait() {
	m.began = time.Now()
	if due := m.began.Add(m.flushAge); due.Before(m.due) {
		m.schedule(due, m.flushAge)
	}
}

// waits says that something waits for its frame to be finished.
func (m *sender) waits() bool { return m.packer.Len() > 0 || len(m.names) > 0 }

func (m *sender) flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	m.flushLocked()
	return nil
}

// flushLocked sends the unfinished frame, and the names that wait.
func (m *sender) flushLocked() {
	defer m.flushNames()
	events := m.packer.Len()
	if events == 0 {
		return
	}
	m.frame = m.packer.Finish(m.frame[:0])
	m.beatWait = beatWaitMin
	m.send(events)
}

// beat sends a frame without events.
func (m *sender) beat() {
	m.frame = m.packer.Beat(m.frame[:0], time.Now().UnixMilli())
	m.send(0)
	m.lastBeat = m.lastSent
}

// send hands m.frame to the kernel. It is numbered already: if that fails, its
// events show as lost.
func (m *sender) send(events int) {
	m.stats.Events += uint64(events)
	err := m.write(m.frame, events)
	m.lastSent = time.Now()
	m.count(m.frame, events, err)
}

// count takes note of what became of a numbered frame.
func (m *sender) count(frame []byte, events int, err error) {
	m.stats.Frames++
	if err == nil {
		m.stats.Bytes += uint64(len(frame))
		return
	}
	m.stats.SendErrors++
	m.stats.Dropped += uint64(events)
	m.lastError = err
}

// tick runs when the timer fires: what has waited for long enough is sent.
func (m *sender) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return
	}
	now := time.Now()
	m.aged(now)
	m.rekey(now)
	if m.waits() && now.Sub(m.began) >= m.flushAge {
		m.flushLocked()
	}
	if now.Sub(m.lastSent) >= m.beatWait {
		m.beat()
		m.beatWait = min(2*m.beatWait, beatWaitMax)
	}
	next := m.lastSent.Add(m.beatWait)
	if m.waits() {
		if flush := m.began.Add(m.flushAge); flush.Before(next) {
			next = flush
		}
	}
	m.schedule(next, time.Until(next))
}

// rekey looks whether there is another key, and sends the beat that goes out
// under load, too, where frames are sealed: to a collector that does not know the
// source its time says that it is no recording.
func (m *sender) rekey(now time.Time) {
	if m.sealer == nil {
		return
	}
	m.sealer.look(now)
	m.packer.Seal(m.sealer.frame)
	m.stats.KeyErrors = m.sealer.failures
	if now.Sub(m.lastBeat) >= beatWaitMax {
		m.beat()
	}
}

// schedule sets the timer.
func (m *sender) schedule(due time.Time, wait time.Duration) {
	m.due = due
	m.timer.Reset(wait)
}

func (m *sender) statistics() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}
