package collector

import "context"

// Cut has all that was received before the call sealed, and returns when the sink has it.
func (c *Collector) Cut(ctx context.Context) error {
	// The first may have begun before the call, the second has all of it, and when the
	// third begins, the second is sealed.
	for range 3 {
		select {
		case <-c.cuts.request(causeAsked):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
