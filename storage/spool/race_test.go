//go:build race

package spool

func init() { simsDefault = 30 } // the race detector makes everything ten times slower
