package live

import (
	"unsafe"

	"github.com/lectern/lectern/storage/pages"
)

// secondOf is the second of a reader's last event.
func (r *Readers) secondOf(s *slot) uint32 { return r.now - uint32(int16(uint16(r.now)-s.last)) }

// dueOf is the second in which the reader of a slot leaves the last minute, or else the last
// five, if he has no more events.
func (r *Readers) dueOf(s *slot) uint32 {
	if s.is(recent) {
		return r.secondOf(s) + minuteSeconds
	}
	return r.secondOf(s) + allSeconds
}

// due has a slot looked at in a second of the minute that is running. One that is due
// later is found when its minute begins.
func (r *Readers) due(at int, second uint32) {
	if second < r.minute+minuteSeconds {
		r.wheel.put(second, at)
	}
}

// fill fills the wheel.
func (r *Readers) fill() {
	r.wheel.clear(r.table.used)
	for at := range r.table.slots {
		s := &r.table.slots[at]
		if s.print == 0 || s.is(gone) {
			continue
		}
		r.due(at, r.dueOf(s))
	}
}

// setNow goes on to a second.
func (r *Readers) setNow(second uint32) { r.now, r.minute = second, minuteOf(second) }

// minuteOf is the second with which a minute begins.
func minuteOf(second uint32) uint32 { return second / minuteSeconds * minuteSeconds }

// advance looks at all slots that are due up to a second.
func (r *Readers) advance(to uint32) {
	for r.now < to {
		r.setNow(r.now + 1)
		if r.now == r.minute {
			r.table.sweep()
			r.tidy()
			r.fill()
		}
		due := &r.wheel[r.now%minuteSeconds]
		r.lookAtAll(*due)
		*due = (*due)[:0]
	}
}

// lookAtAll looks at slots that are due.
func (r *Readers) lookAtAll(due []uint32) {
	for len(due) > 0 {
		n := min(len(due), ahead)
		for i, at := range due[:n] {
			r.lines[i] = uintptr(unsafe.Pointer(&r.table.slots[at]))
		}
		pages.Prefetch(&r.lines[0], n)
		silent := r.silent[:0]
		for _, at := range due[:n] {
			if !r.stays(int(at)) {
				silent = append(silent, at)
			}
		}
		if len(silent) > 0 {
			r.depart(silent)
		}
		due = due[n:]
	}
}

// stays says that nothing changes with a slot that may be due now.
func (r *Readers) stays(at int) bool {
	s := &r.table.slots[at]
	if s.is(gone) {
		return true
	}
	due := r.dueOf(s)
	if due <= r.now {
		return false
	}
	r.due(at, due)
	return true
}

// depart takes readers out of the last minute who have been silent for one, and out of the
// last five after five.
func (r *Readers) depart(silent []uint32) {
	lines := r.lines[:0]
	for _, at := range silent {
		lines = append(lines, uintptr(unsafe.Pointer(&r.table.users[at])))
		if s := &r.table.slots[at]; !s.is(nameless) {
			lines = append(lines, uintptr(unsafe.Pointer(&r.contents.list[s.what])))
		}
	}
	pages.Prefetch(&lines[0], len(lines))
	for i, at := range silent {
		r.lines[i] = r.wholes.line(r.streamOf(&r.table.slots[at]), r.table.users[at])
	}
	pages.Prefetch(&r.lines[0], len(silent))
	for _, at := range silent {
		at := int(at)
		s := &r.table.slots[at]
		if s.is(recent) {
			r.leaves(at)
		}
		if due := r.dueOf(s); due > r.now {
			r.due(at, due)
		} else {
			r.goes(at)
		}
	}
}

// tidy gives back what has not been needed for some time.
func (r *Readers) tidy() {
	now := r.now
	r.contents.sweep(func(s *series) bool { return s.idle(now) }, r.contentLeaves)
	r.streams.sweep(now)
	if n := len(r.table.slots); n > slotsFirst && r.table.used < n/16 {
		r.table.shrink(max(slotsFirst, n/4))
	}
	if n := len(r.wholes.list); n > slotsFirst && r.wholes.used < n/16 {
		r.wholes.shrink(max(slotsFirst, n/4))
	}
}
