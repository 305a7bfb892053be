package storage

import (
	"context"
	"math/rand/v2"
	"time"
)

// ShipLeftover makes blocks of what a process that runs no more had sealed, and
// brings all that its spool holds to the store, however long that takes. o.Store
// is for the collector of that spool. It returns nil when the spool has no block
// left but those that the store will never take, and ctx's error when that ends
// first. It does not close the store.
func ShipLeftover(ctx context.Context, o GathererOptions) error {
	g := &Gatherer{o: o, books: make(map[uint16]*Book), due: make(chan struct{}, 1)}
	g.register(o.Metrics)
	g.take(&o.Recovered, o.Through)
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		err := g.freeze()
		if err != nil {
			g.meters.freezeFailures.Inc()
			o.Logger.Error("what another process had sealed could not be written as blocks; it stays in the log, and it will be tried again", "error", err)
		}
		for done := err == nil; done; {
			if done, err = g.shipOldest(ctx); done {
				wait = retryFirst
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
