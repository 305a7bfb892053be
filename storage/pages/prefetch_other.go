//go:build !amd64 && !arm64

package pages

// Prefetch does nothing where there is no instruction for it that we know.
func Prefetch(*uintptr, int) {}
