package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBenchEdge says what a beacon of one event costs an edge, beside a plain
// net/http handler that answers 204, by the CPU of the whole process, in turns.
// LECTERN_TEST_BENCH_EDGE says for how many seconds each.
func TestBenchEdge(t *testing.T) {
	seconds, err := strconv.Atoi(os.Getenv("LECTERN_TEST_BENCH_EDGE"))
	if err != nil {
		t.Skip("LECTERN_TEST_BENCH_EDGE says for how many seconds: make bench-edge")
	}
	h, url := edgeHome(t)
	// The readers of a benchmark have one address.
	appendTo(t, h.config, "edge.budget_rate = 1000000\nedge.budget_burst = 10000000\n")
	serveOn(t, h.config)
	e := edgeOn(t, h.config)
	plain, plainAddress := startPlainHandler(t)
	for round := range 3 {
		edgeCost, n := beaconCost(t, e.command.Process.Pid, strings.TrimPrefix(url, "http://"), time.Duration(seconds)*time.Second, round)
		plainCost, m := beaconCost(t, plain.Process.Pid, plainAddress, time.Duration(seconds)*time.Second, round)
		t.Logf("round %d: an edge takes %.1f µs a beacon (%d; %.0f a core-second), a plain handler %.1f µs (%d): %.2f times",
			round+1, edgeCost*1e6, n, 1/edgeCost, plainCost*1e6, m, edgeCost/plainCost)
	}
}

// beaconCost sends beacons over kept connections for a while, and returns the
// CPU-seconds of one, and how many there were.
func beaconCost(t *testing.T, pid int, address string, d time.Duration, round int) (cost float64, n int) {
	t.Helper()
	before := cpuOf(t, pid)
	var all sync.WaitGroup
	counts := make([]int, 64)
	end := time.Now().Add(d)
	for i := range counts {
		all.Go(func() {
			var err error
			if counts[i], err = sendBeacons(address, uint64(round*len(counts)+i+1), end); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, c := range counts {
		n += c
	}
	return (cpuOf(t, pid) - before).Seconds() / float64(n), n
}

func sendBeacons(address string, page uint64, end time.Time) (n int, err error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	var body, request []byte
	for time.Now().Before(end) {
		body = fmt.Appendf(body[:0], `{"stream":"site","page":"%016x","first":%d,"events":[{"kind":"read","content":"/a/story","age":0,"dwell":15000,"progress":40}]}`, page, n)
		request = fmt.Appendf(request[:0], "POST /v1/read HTTP/1.1\r\nHost: edge.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"+
			"Origin: https://news.example\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if _, err := c.Write(request); err != nil {
			return n, err
		}
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return n, err
		}
		if !bytes.Contains(line, []byte(" 204 ")) {
			return n, fmt.Errorf("answered with %s", line)
		}
		for len(bytes.TrimSpace(line)) > 0 {
			if line, err = answers.ReadSlice('\n'); err != nil {
				return n, err
			}
		}
		n++
	}
	return n, nil
}

// startPlainHandler starts this test's binary as a server that reads and answers.
func startPlainHandler(t *testing.T) (*exec.Cmd, string) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run", "^TestPlainHandler$")
	c.Env = append(os.Environ(), "LECTERN_TEST_PLAIN_HANDLER=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return c, strings.TrimSpace(line)
}

// TestPlainHandler is the server of startPlainHandler.
func TestPlainHandler(t *testing.T) {
	if os.Getenv("LECTERN_TEST_PLAIN_HANDLER") == "" {
		t.Skip("it is a server for TestBenchEdge")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(l.Addr())
	t.Fatal(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	})))
}
