package pipeline

import (
	"context"
	"fmt"
	"time"
)

// bringLook is the time between two looks at what is not stored yet.
const bringLook = 20 * time.Millisecond

// Bring brings all that was received before the call to the store, minutes that go on as
// well, and returns when the store has it and nothing of it is in memory or in the spool
// any more. cut has what was received sealed. With an error it is on its way all the same.
func (g *Gatherer) Bring(ctx context.Context, cut func(context.Context) error) error {
	if err := cut(ctx); err != nil {
		return fmt.Errorf("what was received last is not sealed yet: %w", err)
	}
	// What is sealed from here on is in a file of its own, and does not keep those of
	// before. The second cut is behind all that those have.
	log, err := g.o.Spool.NextLog()
	if err != nil {
		return err
	}
	if err := cut(ctx); err != nil {
		return fmt.Errorf("what was received last is not sealed yet: %w", err)
	}
	if err := g.flushAll(); err != nil {
		return err
	}
	last := g.o.Spool.LastNumber()
	for tried := false; ; tried = true {
		blocks, files := g.o.Spool.Before(log, last)
		switch {
		case files == 0:
			return nil
		case blocks == 0 && tried:
			g.o.Spool.Tidy() // nothing may come that would
		}
		select {
		case <-time.After(bringLook):
		case <-ctx.Done():
			return fmt.Errorf("%d blocks in %d files of the spool are not in the store yet: %w", blocks, files, ctx.Err())
		}
	}
}
