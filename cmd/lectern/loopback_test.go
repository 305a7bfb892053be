package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
)

var loopbacks atomic.Uint32

// loopback returns an address at which nobody listens, and nobody else will: any of
// 127.0.0.0/8 is this machine on Linux, and its port is none that the kernel gives away.
// A port of 127.0.0.1 that was free a moment ago may be another process's by now, for TCP
// or for UDP. Elsewhere than on Linux it is such a one.
func loopback(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := "127.0.0.1:0"
		if n := loopbacks.Add(1); runtime.GOOS == "linux" {
			address = fmt.Sprintf("127.%d.%d.%d:8420", 1+os.Getpid()%250, 1+n/200, 1+n%200)
		}
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no loopback address is free")
	return ""
}
