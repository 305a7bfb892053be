//go:build !amd64 && !arm64

package collector

import "unsafe"

// prefetch does nothing where there is no instruction for it that we know.
func prefetch(unsafe.Pointer, int) {}

// prefetchEach likewise.
func prefetchEach(*uintptr, int) {}
