package main

import (
	"context"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/readers"
	"github.com/lectern/lectern/emit"
)

// emitPresent sends what made-up readers do who are there at once, as it happens.
type emitPresent struct {
	emitCrowd
	present *readers.Present
}

func newEmitPresent(o *emitOptions) *emitPresent {
	return &emitPresent{emitCrowd{events: uint64(o.events)}, readers.NewPresent(uint64(o.readers), uint64(o.contents), uint64(o.seed))}
}

func (p *emitPresent) run(ctx context.Context, out emitter, _ *emitPace) error {
	began := time.Now()
	beganMS := began.UnixMilli()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var e emit.Event
	var passed time.Duration
	for range p.events {
		after := p.present.Next(&e)
		for after > passed {
			// What is due within a step goes out at once.
			timer.Reset(max(after-passed, paceStep))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
			passed = time.Since(began)
		}
		e.Time = beganMS + after.Milliseconds()
		if err := out.Add(e); err != nil {
			return err
		}
	}
	return nil
}
