package main

import (
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

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
// configuration adds up to, which garbage would exceed otherwise, and to its share
// of the limit of the process's control group where there is one. It says so where
// the configuration may need more than that. The result is the limit, 0 where it is
// not ours.
func limitMemory(c *config.Config, environ []string, ofGroup memlimit.Provider, logger *slog.Logger) int64 {
	// The receive buffers are the kernel's.
	return limitTo(c.Memory(), 2*int64(c.Loops())*int64(c.Listen.ReceiveBuffer), environ, ofGroup, logger)
}

// limitEdgeMemory does the same for an edge, of which queues and journals are files.
func limitEdgeMemory(c *config.Config, environ []string, ofGroup memlimit.Provider, logger *slog.Logger) int64 {
	all := c.EdgeMemory()
	return limitTo(all, all[0].Bytes+all[1].Bytes, environ, ofGroup, logger)
}

// limitTo sets the limit for parts of which outside is not Go's.
func limitTo(parts []config.Memory, outside int64, environ []string, ofGroup memlimit.Provider, logger *slog.Logger) int64 {
	most := groupLimit(ofGroup)
	limited := most > 0
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

// groupLimit is the limit of the process's control group, 0 where it has none.
func groupLimit(ofGroup memlimit.Provider) int64 {
	if n, err := ofGroup(); err == nil && n <= math.MaxInt64 {
		return int64(n)
	}
	return 0
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
