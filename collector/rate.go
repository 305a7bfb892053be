package collector

import (
	"sync/atomic"
	"time"
)

// rate limits the events a second of a stream, of all loops together, by the
// generic cell rate algorithm (ITU-T I.371): due is when the events that it was
// given would have come at that rate.
type rate struct {
	each int64        // nanoseconds for an event; 0: no limit
	due  atomic.Int64 // Unix nanoseconds
}

// rateBurst is how far ahead of its rate a stream may be: events come in datagrams,
// and senders make up for pauses.
const rateBurst = int64(time.Second)

func newRate(most int) *rate {
	r := new(rate)
	if most > 0 {
		r.each = max(1, int64(time.Second)/int64(most))
	}
	return r
}

// allows says whether n events are within the rate now, in Unix milliseconds, and
// counts them if they are.
func (r *rate) allows(n int, now int64) bool {
	if r.each == 0 {
		return true
	}
	now *= int64(time.Millisecond)
	for {
		due := r.due.Load()
		next := max(due, now) + int64(n)*r.each
		if next > now+rateBurst {
			return false
		}
		if r.due.CompareAndSwap(due, next) {
			return true
		}
	}
}
