package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// An edge holds as many connections as edge.connections_max says, each of which sends
// now and then: its memory stays within what `lectern check` says, and does not grow
// with time. One more is told so. LECTERN_TEST_EDGE_CONNECTIONS says how many.
func TestEdgeConnections(t *testing.T) {
	most := 2000
	if text := os.Getenv("LECTERN_TEST_EDGE_CONNECTIONS"); text != "" {
		var err error
		if most, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	mayOpen(t, most+100)
	h, url := edgeHome(t)
	appendTo(t, h.config, fmt.Sprintf("edge.connections_max = %d\nedge.budget_rate = 1000000\nedge.budget_burst = 10000000\nedge.pages_max = 100000\nlimits.rows_waiting_max = 3000000\n", most))
	said := succeed(t, "check", "--config", h.config)
	_, said, _ = strings.Cut(said, "Memory of an edge")
	m := regexp.MustCompile(`together +([0-9.]+) MiB`).FindStringSubmatch(said)
	if m == nil {
		t.Fatal(said)
	}
	promised, _ := strconv.ParseFloat(m[1], 64)
	d, e := serveOn(t, h.config), edgeOn(t, h.config)
	at := strings.TrimPrefix(url, "http://")
	idle := memoryOf(t, e.command.Process.Pid, "VmRSS")

	pages := make([]openPage, most)
	const rounds = 8
	var took [rounds]float64
	for round := range rounds {
		var all sync.WaitGroup
		for part := range 16 {
			all.Go(func() {
				for i := part; i < most; i += 16 {
					if err := pages[i].send(at, i+1, round); err != nil {
						t.Errorf("connection %d, round %d: %v", i, round, err)
						return
					}
				}
			})
		}
		all.Wait()
		took[round] = memoryOf(t, e.command.Process.Pid, "VmRSS")
		if t.Failed() {
			return
		}
	}
	if n := metricOf(e, "lectern_edge_connections"); n != float64(most) {
		t.Errorf("%.0f connections are open, want %d", n, most)
	}
	var more openPage
	if err := more.send(at, most+1, 0); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "connections") {
		t.Errorf("one connection too many: %v", err)
	}
	if n := e.metrics()[`lectern_edge_requests_total{door="http",outcome="connections"}`]; n != 1 {
		t.Errorf("%.0f were told so", n)
	}
	_ = pages[0].conn.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		more = openPage{}
		if err := more.send(at, most+1, 0); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("where one has gone: %v", err)
		}
	}
	highest := memoryOf(t, e.command.Process.Pid, "VmHWM")
	t.Logf("%d connections: %.0f MiB before them, %.0f after each round, %.0f at the most; %.1f KiB a connection; check says %.0f MiB",
		most, idle, took, highest, (took[rounds-1]-idle)*1024/float64(most), promised)
	if highest > promised {
		t.Errorf("at most %.0f MiB in memory, and check promises %.0f:\n%s", highest, promised, said)
	}
	// Go lets garbage come to as much as there is else before it collects: from then on
	// memory is flat, but for the journal of pages, which is written to its end.
	if grown := took[rounds-1] - took[rounds/2]; grown > took[rounds/2]/10+16 {
		t.Errorf("memory grew by %.0f MiB from round %d to the last", grown, rounds/2+1)
	}
	for i := range pages {
		_ = pages[i].conn.Close()
	}
	_ = more.conn.Close()
	e.stop()
	d.stop()
	checkBooks(t, h.config, h.spool)
	sum := 0
	for _, n := range storedEvents(t, h.parquet)[7] {
		sum += n
	}
	if sum != rounds*most+1 {
		t.Errorf("%d events are stored, want %d", sum, rounds*most+1)
	}
}

// mayOpen sees to it that this process and those that it starts may have so many
// descriptors.
func mayOpen(t *testing.T, n int) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= uint64(n) {
		return
	}
	before := limit
	limit.Cur, limit.Max = uint64(n), max(limit.Max, uint64(n))
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Skipf("DID NOT RUN: this process may not have %d descriptors: %v", n, err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) })
}

// openPage is a page in a browser that keeps its connection. It holds no buffer
// meanwhile.
type openPage struct{ conn net.Conn }

// send sends one event and hears the answer.
func (p *openPage) send(at string, page, n int) (err error) {
	if p.conn == nil {
		if p.conn, err = net.Dial("tcp", at); err != nil {
			return err
		}
	}
	body := fmt.Sprintf(`{"stream":"site","page":"%016x","first":%d,"events":[{"kind":"read","content":"/a/%d","dwell":15000,"progress":40}]}`, page, n, page%500)
	_, err = fmt.Fprintf(p.conn, "POST /v1/read HTTP/1.1\r\nHost: edge.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"+
		"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		return err
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	answer, err := http.ReadResponse(bufio.NewReaderSize(p.conn, 1<<10), nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s %s", answer.Status, text)
	}
	return err
}
