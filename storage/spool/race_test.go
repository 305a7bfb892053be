//go:build race

package spool

// The race detector makes everything ten times slower.
func init() { simsDefault, crashSeeds = 30, 1 }
