package collector

import "github.com/lectern/lectern/storage"

// books are those of several accounts: all of one loop since the last cut, say.
type books map[storage.Account]*storage.Book

func (b books) of(a storage.Account) *storage.Book {
	k, ok := b[a]
	if !ok {
		k = &storage.Book{Stream: a.Stream, Class: a.Class}
		b[a] = k
	}
	return k
}

// add adds others, which are not theirs any more who had them.
func (b books) add(o books) {
	for a, k := range o {
		if sum, ok := b[a]; ok {
			sum.Add(k)
		} else {
			b[a] = k
		}
	}
}

func (b books) list() []storage.Book {
	list := make([]storage.Book, 0, len(b))
	for _, k := range b {
		list = append(list, *k)
	}
	return list
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
