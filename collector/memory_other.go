//go:build !linux

package collector

// preferHuge asks for large pages behind a slice, on systems that take advice.
func preferHuge[T any](s []T) []T { return s }
