package collector

import (
	"cmp"
	"slices"
)

// SourceState is what is known of one source. Numbers are events since this
// process, or a former one whose spool it has, met the source; Duplicate, Stale
// and Reordered since this process met it.
type SourceState struct {
	Source    uint64 `json:"source,string"`
	Stream    uint16 `json:"stream"`
	Sent      uint64 `json:"sent"`
	Lost      uint64 `json:"lost"`
	Duplicate uint64 `json:"duplicate"`
	Stale     uint64 `json:"stale"`
	Reordered uint64 `json:"reordered"`
	Middle    bool   `json:"middle"`       // it was met in the middle of its numbering: what it sent before is not known
	Session   bool   `json:"session"`      // it is acknowledged
	LastSeen  int64  `json:"last_seen_ms"` // Unix milliseconds
}

// SourceOrders are the words by which WorstSources can sort.
var SourceOrders = []string{"lost", "duplicate", "stale", "reordered", "sent"}

// by is the number of that word.
func (s *SourceState) by(order string) uint64 {
	switch order {
	case "duplicate":
		return s.Duplicate
	case "stale":
		return s.Stale
	case "reordered":
		return s.Reordered
	case "sent":
		return s.Sent
	}
	return s.Lost
}

// WorstSources returns the at most n sources with the largest number of this
// order, a word of SourceOrders, largest first; those with none are left out. A
// metric for each source would be without bound; this is the place to look when
// a sum has grown. It takes memory for 2n sources, and keeps a loop that wants
// one of them waiting for the time that reading a sixty-fourth of all takes.
func (c *Collector) WorstSources(n int, order string) []SourceState {
	wall, steady := c.clocks.now()
	var worst []SourceState
	trim := func() {
		slices.SortFunc(worst, func(a, b SourceState) int {
			return cmp.Or(cmp.Compare(b.by(order), a.by(order)), cmp.Compare(a.Source, b.Source))
		})
		worst = worst[:min(n, len(worst))]
	}
	for i := range c.sources.stripe {
		st := &c.sources.stripe[i]
		st.Lock()
		for src := range st.all() {
			x := src.report(wall - steady)
			if x.by(order) == 0 {
				continue
			}
			if worst = append(worst, x); len(worst) >= 2*n {
				trim()
			}
		}
		st.Unlock()
	}
	trim()
	return worst
}

// report copies what others may know. The wall clock is ahead milliseconds ahead of
// the running time. The stripe is locked.
func (s *source) report(ahead int64) SourceState {
	return SourceState{
		Source: s.id, Stream: s.stream, Sent: s.end - s.base, Lost: s.lost,
		Duplicate: uint64(s.duplicate), Stale: uint64(s.stale), Reordered: uint64(s.reordered),
		Middle: s.base > 0, Session: s.session, LastSeen: ahead + s.lastSeen,
	}
}
