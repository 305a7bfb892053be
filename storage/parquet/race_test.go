//go:build race

package parquet

// The race detector makes everything ten times slower.
func init() { everyByte = 16 }
