package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/lectern/lectern/cmd/lectern/internal/config"
	"github.com/lectern/lectern/storage/pages"
)

// memoryShare is how much of a container's memory Go may use before it collects
// harder, in percent. The rest is for what it does not count: the sockets'
// buffers, and the pages of files that are being written.
const memoryShare = 80

// programBytes is what the process has in memory besides what Go counts: the
// program's own pages, and what Go has not given back yet.
const programBytes = 64 << 20

// limitMemory sets Go's soft limit where GOMEMLIMIT does not: to what the
// configuration adds up to, which garbage would exceed otherwise, and to its
// share of the process's own limit where there is one. It says so where the
// configuration may need more than that. The result is the limit, 0 where it is not
// ours.
func limitMemory(c *config.Config, environ []string, root string, logger *slog.Logger) int64 {
	// The receive buffers are the kernel's.
	return limitTo(c.Memory(), 2*int64(c.Loops())*int64(c.Listen.ReceiveBuffer), environ, root, logger)
}

// limitEdgeMemory does the same for an edge, of which queues and journals are files.
func limitEdgeMemory(c *config.Config, environ []string, root string, logger *slog.Logger) int64 {
	all := c.EdgeMemory()
	return limitTo(all, all[0].Bytes+all[1].Bytes, environ, root, logger)
}

// limitTo sets the limit for parts of which outside is not Go's.
func limitTo(parts []config.Memory, outside int64, environ []string, root string, logger *slog.Logger) int64 {
	most, limited := memoryLimit(root)
	var need int64
	for _, m := range parts {
		need += m.Bytes
	}
	if limited && need > most {
		logger.Warn("the limits of the configuration add up to more memory than the process may have; `lectern check` says what takes it",
			"need_bytes", need, "limit_bytes", most)
	}
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, "GOMEMLIMIT="); ok && value != "" {
			return 0 // Go has read it
		}
	}
	soft := need - outside - programBytes
	if limited {
		soft = min(soft, most/100*memoryShare)
	}
	limitHeap(soft)
	return soft
}

// limitHeap sets Go's soft limit to what is left of one beside mapped memory, which
// Go does not count: with the limit for itself, garbage would take that a second time.
func limitHeap(soft int64) { debug.SetMemoryLimit(soft - min(pages.Mapped(), soft/8*7)) }

// keepHeap goes on with limitHeap until ctx ends.
func keepHeap(ctx context.Context, soft int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for mapped := pages.Mapped(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := pages.Mapped(); now != mapped {
			mapped = now
			limitHeap(soft)
		}
	}
}

// memoryLimit is the least limit of the process's control groups, of either
// version; root is "/" but in tests. A container sees its own group as the
// topmost one.
func memoryLimit(root string) (least int64, ok bool) {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		base, file := "", ""
		switch {
		case fields[0] == "0" && fields[1] == "":
			base, file = "sys/fs/cgroup", "memory.max"
		case fields[1] == "memory":
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for group := filepath.Join("/", fields[2]); ; group = filepath.Dir(group) {
			if n, found := readLimit(filepath.Join(root, base, group, file)); found && (!ok || n < least) {
				least, ok = n, true
			}
			if group == "/" {
				break
			}
		}
	}
	return least, ok
}

// unlimited is above every machine's memory. Version 1 writes "no limit" as the
// largest multiple of a page.
const unlimited = 1 << 60

func readLimit(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil && n > 0 && n < unlimited
}
