//go:build amd64 || arm64

package collector

import "unsafe"

// prefetch asks for so many lines of the cache, at least 1, from p on, and does
// not wait for them. Any address is harmless.
//
//go:noescape
func prefetch(p unsafe.Pointer, lines int)

// prefetchEach asks for the line of the cache at each of n addresses, at
// least 1, of which p is the first.
//
//go:noescape
func prefetchEach(p *uintptr, n int)
