package main

import (
	"context"
	"time"
)

// paceStep is how far apart the clock is looked at: events go out in bursts of
// at most so long, or one by one where they are further apart.
const paceStep = time.Millisecond

// paceBehindMax is how much of a pause (a busy machine, a slow collector) is
// made up for. More would be a burst that a socket buffer may not hold.
const paceBehindMax = 20 * time.Millisecond

// emitPace is a token bucket: it lets rate events through a second.
type emitPace struct {
	rate  float64 // events a second; 0 is without limit
	step  float64 // events that become due in one step, at least 1
	ready float64 // events that may go at once
	at    time.Time
}

// newEmitPace returns a pace of rate events a second, 0 for no limit.
func newEmitPace(rate int64) *emitPace {
	r := float64(rate)
	return &emitPace{rate: r, step: max(1, r*paceStep.Seconds()), at: time.Now()}
}

// wait returns when the next event is due, or ctx has ended, and reports whether
// that took a look at the clock.
func (p *emitPace) wait(ctx context.Context) (paused bool) {
	if p.rate == 0 {
		return false
	}
	for p.ready < 1 {
		paused = true
		p.refill()
		if p.ready >= p.step {
			break
		}
		timer := time.NewTimer(time.Duration((p.step-p.ready)/p.rate*1e9) + 1) // rounded up
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return true
		}
		p.refill()
	}
	p.ready--
	return paused
}

// refill adds what has become due since the last time.
func (p *emitPace) refill() {
	now := time.Now()
	due := p.rate * now.Sub(p.at).Seconds()
	p.ready = min(p.ready+due, p.step+p.rate*paceBehindMax.Seconds())
	p.at = now
}
