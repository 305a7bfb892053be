package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/lectern/lectern/storage/clickhouse/clickhousetest"
)

// millionResult is a line of the table.
type millionResult struct {
	name, dir, profile string
	sent, least        uint64 // events, and rows that they must be
	lost               int64
	rows, stored       uint64 // rows, and bytes on the disk
	sender             time.Duration
	acks               time.Duration // 99th percentile
	probes             int           // that it is of
	engine             int           // process of the store, 0: none
	engineCPU          time.Duration

	pid     int
	before  procUse
	mu      sync.Mutex // protects last
	last    procUse
	written uint64
	wrote   uint64
	cpu     time.Duration
	stop    chan struct{}
	stopped chan struct{}
}

// acksWanted is the default ack_interval, and 50 ms.
const acksWanted = time.Second + 50*time.Millisecond

// procUse is what /proc says of a process.
type procUse struct {
	cpu     time.Duration
	written uint64 // bytes of pages that are to be brought to a disk
	wrote   uint64 // bytes given to write(2) and its kin
	peak    uint64 // bytes
	engine  time.Duration
}

// useOf reads what a process has used so far; false when it is gone.
func useOf(pid int) (u procUse, ok bool) {
	var bytes [3]string
	for i, name := range []string{"stat", "io", "status"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil || len(text) == 0 {
			return u, false
		}
		bytes[i] = string(text)
	}
	fields := strings.Fields(bytes[0][strings.LastIndexByte(bytes[0], ')')+1:])
	for _, f := range fields[11:13] { // user and system, of 10 ms: proc(5)
		n, _ := strconv.Atoi(f)
		u.cpu += time.Duration(n) * 10 * time.Millisecond
	}
	u.written, u.wrote = procNumber(bytes[1], "write_bytes:"), procNumber(bytes[1], "wchar:")
	u.peak = procNumber(bytes[2], "VmHWM:") << 10
	return u, u.peak > 0
}

func procNumber(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// cpuOfSelf is what this process has used.
func cpuOfSelf() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// watch looks at a process from now on until it has ended.
func (r *millionResult) watch(pid int) {
	r.pid = pid
	r.before, _ = r.use()
	r.last = r.before
	r.stop, r.stopped = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(r.stopped)
		for {
			select {
			case <-r.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if u, ok := r.use(); ok {
				r.mu.Lock()
				r.last = u
				r.mu.Unlock()
			}
		}
	}()
}

func (r *millionResult) use() (procUse, bool) {
	u, ok := useOf(r.pid)
	if r.engine != 0 && ok {
		of, _ := useOf(r.engine)
		u.engine = of.cpu
	}
	return u, ok
}

// ended takes what a process has used that is no more.
func (r *millionResult) ended(state *os.ProcessState) {
	close(r.stop)
	<-r.stopped
	r.cpu = state.UserTime() + state.SystemTime() - r.before.cpu
	r.written, r.wrote = r.last.written-r.before.written, r.last.wrote-r.before.wrote
	r.engineCPU = r.last.engine - r.before.engine
}

// books wants every event to be stored, or known to be lost.
func (r *millionResult) books(t *testing.T, of *build, config string) {
	var books struct{ Streams []bookLine }
	out := of.run(t, "books", "--json", "--config", config)
	if err := json.Unmarshal(out, &books); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, b := range books.Streams {
		if b.Stream != "1" {
			continue
		}
		r.lost = b.Lost
		if b.Sent != r.sent || !b.AddsUp || b.Accepted != b.Stored || int64(b.Stored)+b.Lost+b.Open+int64(b.Shed) != int64(r.sent) {
			t.Fatalf("%s: of %d events sent the books say %+v", r.name, r.sent, b)
		}
		return
	}
	t.Fatalf("%s: the books have nothing of what was sent: %s", r.name, out)
}

// ofParquet counts the rows and the bytes in the store's directory.
func (r *millionResult) ofParquet(t *testing.T) {
	err := filepath.WalkDir(r.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		r.stored += uint64(info.Size())
		if !strings.HasPrefix(path, filepath.Join(r.dir, "reads")) || filepath.Ext(path) != ".parquet" {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		p, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		if err == nil {
			r.rows += uint64(p.NumRows())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ofEngine asks the engine for the rows and for their bytes.
func (r *millionResult) ofEngine(s *clickhousetest.Server) {
	number := func(sql string) uint64 {
		n, _ := strconv.ParseUint(s.Query(sql)[0][0], 10, 64)
		return n
	}
	r.rows = number("SELECT count() FROM lectern.reads WHERE stream = 1")
	r.stored = number("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'lectern'")
}

// an is a figure of an event.
func (r *millionResult) an(n float64) float64 { return n / float64(max(1, r.sent)) }

func (r *millionResult) String() string {
	acks := "-"
	if r.acks > 0 {
		acks = fmt.Sprint(r.acks.Milliseconds())
	}
	store := "-"
	if r.engine != 0 {
		store = fmt.Sprintf("%.0f", r.an(float64(r.engineCPU)))
	}
	f := func(x float64) string { return fmt.Sprintf("%.1f", x) }
	rows, stored := "-", "-"
	if r.rows > 0 {
		rows, stored = fmt.Sprintf("%.3f", r.an(float64(r.rows))), f(r.an(float64(r.stored)))
	}
	line := fmt.Sprintf(millionHead, r.name, fmt.Sprint(r.sent), rows, fmt.Sprintf("%.3f", r.an(float64(r.least))), fmt.Sprintf("%.0f", r.an(float64(r.cpu))),
		f(r.an(float64(r.written))), f(r.an(float64(r.wrote))), stored, fmt.Sprint(r.last.peak>>20), store, acks)
	line += fmt.Sprintf("    the sender took %.0f ns an event\n", r.an(float64(r.sender)))
	if r.acks > 0 {
		is := "as is wanted"
		if r.acks > acksWanted {
			is = "which is TOO LONG"
		}
		line += fmt.Sprintf("    acks took %d ms at the 99th percentile of %d, %s: at most ack_interval and 50 ms are %d\n",
			r.acks.Milliseconds(), r.probes, is, acksWanted.Milliseconds())
	}
	if r.lost != 0 {
		line += fmt.Sprintf("    of which %d events (%.2f %%) were lost on their way: the socket's buffer was full\n", r.lost, 100*r.an(float64(r.lost)))
	}
	return line
}
