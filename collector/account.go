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

// miss books events as lost, or, below 0, as many of those that were lost as found.
// They are two counters, so that what Prometheus adds up over a restart of the daemon
// is right.
func miss(k *storage.Book, events int64) {
	if events >= 0 {
		k.Counts[storage.Lost] += uint64(events)
	} else {
		k.Counts[storage.Found] += uint64(-events)
	}
}

// closed is the sum of the books of all windows that have ended, so that the loops
// write each number once, into the book of the running one.
type closed struct {
	mu  sync.Mutex // protects sum; held from before a cut takes the books until they are in it
	sum storage.Book
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

// total is what all loops have counted since they started. Of each loop it is of one
// instant, so that in the sum, too, every event sent is accounted for.
func (c *cutter) total() storage.Book {
	c.closed.mu.Lock()
	defer c.closed.mu.Unlock()
	sum := c.closed.sum
	for _, s := range c.shards {
		s.Lock()
		for _, b := range s.books {
			sum.Add(b)
		}
		s.Unlock()
	}
	return sum
}
