//go:build amd64 || arm64

package pages

// Prefetch asks for the line of the cache at each of n addresses, at least
// 1, of which p is the first, and does not wait for them. Any address is
// harmless.
//
//go:noescape
func Prefetch(p *uintptr, n int)
