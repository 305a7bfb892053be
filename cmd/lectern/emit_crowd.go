package main

import (
	"context"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/readers"
	"github.com/lectern/lectern/emit"
)

// clockEvery is how many events share one look at the clock at full speed: a
// few microseconds' worth.
const clockEvery = 64

// emitCrowd sends what made-up readers do.
type emitCrowd struct {
	crowd  *readers.Crowd
	events uint64
}

func newEmitCrowd(o *emitOptions) *emitCrowd {
	return &emitCrowd{crowd: readers.New(uint64(o.events), uint64(o.users), uint64(o.contents), uint64(o.seed)), events: uint64(o.events)}
}

func (c *emitCrowd) run(ctx context.Context, out emitter, pace *emitPace) error {
	// The clock may be set back meanwhile; the time that passes is not.
	began := time.Now()
	beganMS := began.UnixMilli()
	var e emit.Event
	for n := uint64(0); n < c.events; n++ {
		paused := pace.wait(ctx)
		if paused || n%clockEvery == 0 {
			if ctx.Err() != nil {
				return nil
			}
			e.Time = beganMS + time.Since(began).Milliseconds()
		}
		c.crowd.Next(&e)
		if err := out.Add(e); err != nil {
			return err
		}
	}
	return nil
}

func (c *emitCrowd) done(sent uint64) float64 {
	if c.events == 0 {
		return 1
	}
	return float64(sent) / float64(c.events)
}

func (c *emitCrowd) skipped() int64 { return 0 }
