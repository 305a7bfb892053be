//go:build race

package edge

// Under the race detector a sync.Pool forgets what it is given, at random.
func init() { poolForgets = true }
