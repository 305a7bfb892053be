//go:build !unix

package chdb

// lock is not needed where there is no engine to fetch.
func lock(path string) (unlock func(), err error) { return func() {}, nil }
