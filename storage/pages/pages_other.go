//go:build !linux

package pages

func mapped(int) []byte { return nil }

func remapped([]byte, int) []byte { return nil }

func unmap([]byte) {}

// PreferHuge asks for large pages behind a slice, on systems that take advice.
func PreferHuge[T any](s []T) []T { return s }
