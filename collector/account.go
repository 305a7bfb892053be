package collector

import (
	"sync"

	"github.com/lectern/lectern/storage"
)

// books are the accounts of one loop since the last cut.
type books map[storage.Account]*storage.Book

func (b books) of(a storage.Account) *storage.Book {
	k, ok := b[a]
	if !ok {
		k = &storage.Book{Stream: a.Stream, Class: a.Class}
		b[a] = k
	}
	return k
}

// sent books that a source's positions grew by grown events, and that the frame
// brought some of them: the others are lost. A frame that brought more than grown has
// found as many of those that were lost. These are two counters, so that what Prometheus adds up over a restart of
// the daemon is right. What forged numbers say is lost beyond all reason stays out of
// the sum.
func (s *shard) sent(k *storage.Book, grown, brought uint64) {
	switch lost := int64(grown) - int64(brought); {
	case lost <= 0:
		k.Counts[storage.Found] += uint64(-lost)
	case uint64(lost) <= s.losses[k.Class]:
		s.losses[k.Class] -= uint64(lost)
		k.Counts[storage.Lost] += uint64(lost)
	default:
		k.Counts.Add(storage.Saturated, uint64(lost))
		grown = brought
	}
	k.Counts[storage.Sent] += grown
}

// lossesOf is how much each of the loops may count as lost.
func lossesOf(loops int) (all [storage.Classes]uint64) {
	for class := range all {
		all[class] = storage.LostMax / uint64(max(1, loops))
	}
	return all
}

// tellSaturated has the log say once that something is lost and in no sum.
func (c *Collector) tellSaturated() {
	if c.saturatedTold {
		return
	}
	if sum := c.cuts.total(); sum.Counts[storage.Saturated] > 0 {
		c.saturatedTold = true
		c.options.Logger.Warn("sources say that they lost more events than can be counted, which forged numbers do: lectern_events_saturated_total has them, and no more are booked as lost in this run. "+
			"Let only who should reach the port, or have streams sealed", "events", sum.Counts[storage.Saturated])
	}
}

// closed is the sum of the books of all windows that have ended, so that the loops
// write each number once, into the book of the running one.
type closed struct {
	mu sync.Mutex                    // protects of; held from before a cut takes the books until they are in it
	of [storage.Classes]storage.Book // all streams
}

// addAll adds up the accounts of all loops, a book an account.
func addAll(parts []part) []storage.Book {
	total := make(books)
	for _, p := range parts {
		for a, b := range p.books {
			if t, ok := total[a]; ok {
				t.Add(b)
			} else {
				total[a] = b
			}
		}
	}
	list := make([]storage.Book, 0, len(total))
	for _, b := range total {
		list = append(list, *b)
	}
	return list
}

// totals are what all loops have counted since they started, by class. Of each loop
// it is of one instant, so that in the sum, too, every event sent is accounted for.
func (c *cutter) totals() [storage.Classes]storage.Book {
	c.closed.mu.Lock()
	defer c.closed.mu.Unlock()
	of := c.closed.of
	for _, s := range c.shards {
		s.Lock()
		for a, b := range s.books {
			of[a.Class].Add(b)
		}
		s.Unlock()
	}
	return of
}

// total is the sum of totals.
func (c *cutter) total() (sum storage.Book) {
	of := c.totals()
	for class := range of {
		sum.Add(&of[class])
	}
	return sum
}
