package pipeline

import (
	"context"
	"math/rand/v2"
	"time"
)

// ShipLeftover makes blocks of what a process that runs no more had sealed, and
// brings all that its spool holds to the store, however long that takes. o.Store
// is for the collector of that spool. It returns nil when the spool has no block
// left, and ctx's error when that ends first: blocks that the store will not take
// are tried again when the spool has a token for Wait. Where the store's numbers
// do not fit the spool's it returns the error that says so: that takes a person,
// who can do nothing while this process has the spool. It does not close the store.
func ShipLeftover(ctx context.Context, o GathererOptions) error {
	g := &Gatherer{o: o, due: make(chan struct{}, 1)}
	g.register(o.Metrics)
	g.recover()
	defer g.doubts.clear()
	wait := retryFirst
	// Before there are new blocks: their numbers would be those of others, and the
	// next process would take them for the spool's own.
	if err := g.checkStore(ctx); g.refused {
		return err
	}
	for {
		// A disk without room for what is flushed has some when a block is stored.
		failed := g.flushAll()
		if failed != nil {
			g.meters.flushFailures.Inc()
			o.Logger.Error("what another process had sealed could not be written as blocks; it stays in the log, and it will be tried again", "error", failed)
		}
		done, err := true, error(nil)
		for done {
			if done, err = g.shipNext(ctx); done {
				wait = retryFirst
			}
		}
		if g.refused {
			return err
		}
		var again <-chan time.Time
		var retry <-chan struct{}
		switch {
		case failed != nil || err != nil:
			again = time.After(wait/2 + rand.N(wait/2))
			wait = min(2*wait, retryLast)
		case o.Spool.Blocks() == 0:
			return nil
		default:
			again, retry = g.doubts.due(), o.Spool.Wait()
		}
		select {
		case <-again:
		case <-retry:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
