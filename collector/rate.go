package collector

import (
	"sync/atomic"
	"time"
)

// pace bounds how many come, by the generic cell rate algorithm (ITU-T I.371): it says
// when what came would have come, had it come evenly, in nanoseconds. Loops share it.
type pace struct{ due atomic.Int64 }

// allow says whether what takes so long at an even pace may come now, in milliseconds,
// where as much as takes burst may come at once, and counts it if it may.
func (p *pace) allow(now int64, takes, burst time.Duration) bool {
	now *= int64(time.Millisecond)
	for {
		due := p.due.Load()
		next := max(due, now) + int64(takes)
		if next > now+int64(burst) {
			return false
		}
		if p.due.CompareAndSwap(due, next) {
			return true
		}
	}
}

// allowOne says whether one more may come, where aMinute may come in a minute, all of
// them at once.
func (p *pace) allowOne(now, aMinute int64) bool {
	return p.allow(now, time.Minute/time.Duration(aMinute), time.Minute)
}

// rateBurst is how far ahead of its rate a stream may be: events come in datagrams,
// and senders make up for pauses.
const rateBurst = time.Second

// rate limits the events a second of a stream.
type rate struct {
	each time.Duration // for an event; 0: no limit
	pace pace
}

// set limits to so many events a second; 0 is no limit.
func (r *rate) set(most int) {
	if most > 0 {
		r.each = max(1, time.Second/time.Duration(most))
	}
}

// allows says whether n events are within the rate now, in Unix milliseconds, and
// counts them if they are.
func (r *rate) allows(n int, now int64) bool {
	return r.each == 0 || r.pace.allow(now, time.Duration(n)*r.each, rateBurst)
}
