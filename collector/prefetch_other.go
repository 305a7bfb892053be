//go:build !amd64 && !arm64

package collector

// prefetchEach does nothing where there is no instruction for it that we know.
func prefetchEach(*uintptr, int) {}
