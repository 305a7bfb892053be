//go:build amd64 || arm64

package collector

import "unsafe"

// prefetch asks for so many lines of the cache, at least 1, from p on, and does
// not wait for them. Any address is harmless.
//
//go:noescape
func prefetch(p unsafe.Pointer, lines int)
