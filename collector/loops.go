package collector

// LoopState is what an event loop has in hand.
type LoopState struct {
	Keys        int    `json:"keys"`         // counted since the last cut
	Slots       int    `json:"slots"`        // of its table, of which a cut comes at three quarters
	Connections int    `json:"connections"`  // of TCP
	Datagrams   uint64 `json:"datagrams"`    // read since the start
	Wakeups     uint64 `json:"wakeups"`      // times that it was woken by something to read
	KernelDrops uint64 `json:"kernel_drops"` // buffers that its socket had no room for
}

// Loops returns the state of each event loop. It waits for a loop that hangs.
func (c *Collector) Loops() []LoopState {
	all := make([]LoopState, 0, len(c.shards))
	for _, s := range c.shards {
		s.Lock()
		all = append(all, LoopState{
			Keys: s.table.used, Slots: s.table.most, Connections: len(s.conns.list),
			Datagrams: s.tally[readDatagrams], Wakeups: s.tally[wakeups], KernelDrops: s.udp.dropped(),
		})
		s.Unlock()
	}
	return all
}
