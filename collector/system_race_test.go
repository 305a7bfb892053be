//go:build race

package collector

// The race detector makes everything ten times slower.
func init() { systemRounds /= 20 }
