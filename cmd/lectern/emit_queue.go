package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lectern/lectern/emit"
)

// emitQueueWait is how long the end of a run waits for a collector that
// acknowledges nothing, where a queue keeps what is left. Tests wait less.
var emitQueueWait = 10 * time.Second

// errEmitKept is why that wait ends.
var errEmitKept = errors.New("nothing was acknowledged")

// emitQueue is a way to the collector that leaves to the next run what this one
// cannot bring.
type emitQueue struct {
	*emit.TCP
	kept error // says what Close left in the queue; nil if it left nothing
}

// Close waits as long as the collector acknowledges. That events are left in the
// queue is no error of its.
func (q *emitQueue) Close(ctx context.Context) error {
	closing, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { q.watch(closing, end) })
	err := q.TCP.Close(closing)
	end(nil)
	watching.Wait()
	if errors.Is(err, errEmitKept) {
		q.kept, err = err, nil
	}
	return err
}

// watch ends the wait when nothing has come of it for emitQueueWait.
func (q *emitQueue) watch(ctx context.Context, end context.CancelCauseFunc) {
	ticker := time.NewTicker(emitQueueWait / 10)
	defer ticker.Stop()
	buffered, since := q.Stats().Buffered, time.Now()
	for {
		select {
		case now := <-ticker.C:
			if n := q.Stats().Buffered; n != buffered {
				buffered, since = n, now
			} else if now.Sub(since) >= emitQueueWait {
				end(fmt.Errorf("%w for %v", errEmitKept, emitQueueWait))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
